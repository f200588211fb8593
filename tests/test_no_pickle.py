"""Nothing is ever unpickled: not by our code, and not by a library on our behalf."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for folder in ("edge_cl", "export", "benchmarks", "examples", "tests", "docs")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)
PRODUCT = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in ("edge_cl", "export")]

# Modules that unpickle, and those that do so to pass objects between processes
UNPICKLERS = {
    *("pickle", "_pickle", "cPickle", "marshal", "shelve", "dbm", "copyreg"),
    *("dill", "joblib", "cloudpickle", "multiprocessing"),
}
# function -> the keyword that forbids pickles, and its value
GUARDED = {
    ("np", "load"): ("allow_pickle", False),
    ("numpy", "load"): ("allow_pickle", False),
    ("format", "read_array"): ("allow_pickle", False),
    ("torch", "load"): ("weights_only", True),
}


def name_of(path):
    return str(path.relative_to(ROOT))


def violations(text):
    """Yield what a source does that could unpickle."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            names = [module] if module else [alias.name for alias in node.names]
            yield from (n for n in names if n and n.split(".")[0] in UNPICKLERS)
            yield from (a.name for a in node.names if a.name == "ProcessPoolExecutor")
            if module in ("numpy", "torch"):  # a bare `load` would escape the check below
                yield from (f"{module}.load" for a in node.names if a.name == "load")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            owner = getattr(owner, "id", getattr(owner, "attr", ""))
            guard = GUARDED.get((owner, node.func.attr))
            given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            if guard and given.get(guard[0]) is not guard[1]:
                yield f"{owner}.{node.func.attr} without {guard[0]}={guard[1]}"
            if node.func.attr == "read_pickle":
                yield "read_pickle"
            if given.get("allow_pickle", False) is not False:
                yield "allow_pickle is not False"


@pytest.mark.parametrize("path", PRODUCT, ids=name_of)
def test_our_code_cannot_unpickle(path):
    assert not list(violations(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", sorted({*SOURCES} - {*PRODUCT}), ids=name_of)
def test_nothing_asks_for_pickled_arrays(path):
    """Beside the product: NumPy's own default will do."""
    found = violations(path.read_text(encoding="utf-8"))
    assert "allow_pickle is not False" not in found


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "import os, _pickle",
        "def f():\n    import joblib",
        "import multiprocessing.pool",
        "from concurrent.futures import ProcessPoolExecutor",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=wanted)",
        "numpy.load(path, mmap_mode='r')",
        "from numpy import load",
        "np.lib.format.read_array(stream)",
        "torch.load(path)",
        "anything(path, x).load(allow_pickle=True)",
    ],
)
def test_the_check_can_fail(text):
    assert list(violations(text))


@pytest.mark.parametrize(
    "text",
    [
        "np.load(p, allow_pickle=False)",
        "load(b)",
        "torch.load(p, weights_only=True)",
        "yaml.load(p)",
    ],
)
def test_the_check_lets_the_rest_pass(text):
    assert not list(violations(text))


@pytest.mark.parametrize("path", PRODUCT, ids=name_of)
def test_the_model_class_that_crashes_on_damaged_files_is_never_used(path):
    """LiteRT's CompiledModel ends the process on one flipped bit in ten; Interpreter does not."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            assert not any("compiled_model" in n or "CompiledModel" in n for n in names)
        assert getattr(node, "id", getattr(node, "attr", "")) != "CompiledModel"


CODE = """
import sys, traceback, pickle, _pickle

def guarded(real):
    def call(*arguments, **named):
        return forbidden(real, *arguments, **named)
    return call

def forbidden(real, *arguments, **named):
    callers = [f.f_globals.get("__name__", "") for f, _ in traceback.walk_stack(sys._getframe(1))]
    if {compiled} and any(name.startswith("numba.") for name in callers[:4]):
        return real(*arguments, **named)
    raise AssertionError(f"unpickled by {{callers[:4]}}")

for module in (pickle, _pickle):
    for name in ("load", "loads", "Unpickler", "_Unpickler", "_load", "_loads"):
        if hasattr(module, name):
            setattr(module, name, guarded(getattr(module, name)))

try:
    pickle.loads(b"N.")
except AssertionError:
    print("forbidden")

import numpy as np
from edge_cl import Learner, features_bundle, open_bundle
from edge_cl.assets import shipped_bundle

rows = np.random.default_rng(0).normal(size=(60, 6))
labels = ["a", "b", "c"] * 20
bundle = features_bundle(rows)
for head in ("ridge", "lda", "ncm", "kalman", "fecam"):
    with Learner.open(head, bundle=bundle, head=head) as learner:
        learner.learn_many(rows, labels)
        learner.learn(rows[0], "new")
        if head != "kalman":
            learner.undo(1)
    with Learner.open(head) as learner:
        learner.learn(rows[1], "b")
        print(head, learner.predict(rows[0]).label in "abc")
with Learner.open("pictures", bundle=open_bundle(shipped_bundle())) as learner:
    learner.learn(np.zeros((40, 50, 3), np.uint8), "dark")
with Learner.open("pictures") as learner:
    print(learner.predict(np.zeros((40, 50, 3), np.uint8)).label)
"""


@pytest.mark.parametrize("kernels", ["numpy", "numba"])
def test_a_learner_lives_without_unpickling(tmp_path, monkeypatch, kernels):
    """Numba keeps compiled code beside the package, pickled: its own, and the one exception."""
    monkeypatch.setenv("EDGE_CL_KERNELS", kernels)
    code = CODE.format(compiled=kernels == "numba")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    heads = [f"{head} True" for head in ("ridge", "lda", "ncm", "kalman", "fecam")]
    assert done.stdout.splitlines() == ["forbidden", *heads, "dark"], done.stderr
