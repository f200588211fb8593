"""The architecture, as tests: what may import what, and what an import may cost."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import edge_cl

ROOT = Path(__file__).parent.parent
PACKAGES = {"edge_cl": ROOT / "edge_cl", "edge_cl_export": ROOT / "export" / "edge_cl_export"}

# Lowest first: a module imports from its own entry and from those before it.
LAYERS = [
    "errors",
    "placement",
    "results",
    "stopwatch",
    "arrays",
    "files",
    "picture_file",
    "sealed",
    "specs",
    "blas",
    "interrupts",
    "kernels",
    "labels",
    "manifest",
    "bounded_read",
    "archive",
    "onnx_file",
    "tflite_file",
    "npu_file",
    "bundle",
    "added_encoder",
    "signing",
    "shelf_folder",
    "shelf",
    "updates",
    "plausible",
    "halving",
    "statistics",
    "moments",
    "window",
    "forgetting",
    "fourier",
    "features",
    "heads",
    "presets",
    "agreement",
    "held_out",
    "device",
    "encoders",
    "tuning",
    "planning",
    "sensor",
    "history",
    "store",
    "assets",
    "verify_results",
    "verify",
    "board_report",
    "pipeline",
    "contest",
    "knowledge",
    "lessons",
    "promotion",
    "journal",
    "replay",
    "held",
    "ledger",
    "resume",
    "thumbnails",
    "state",
    "group_features",
    "learner",
    "doctor",
    "regressor",
    "smoothing",
    "autosave",
    "sources",
    "run_results",
    "watchdog",
    "run",
    "bench",
    "demo",
    "deploy",
    "cli",
    "__main__",
]

HEAVY = [
    "numba",
    "llvmlite",
    "onnxruntime",
    "ai_edge_litert",
    "tflite_runtime",
    "sklearn",
    "scipy",
    "matplotlib",
    "cv2",
    "torch",
    "typer",
    "rich",
    "PIL",
    "safetensors",
    "cryptography",
    "sqlite3",
    "http.server",
    "tuf",
    "urllib3",
    "cryptography",
]

# library -> the one file of edge_cl that may import it
HOMES = {
    "numba": "kernels/compiled.py",
    "onnxruntime": "encoders/onnx_runner.py",
    "ai_edge_litert": "encoders/litert_runner.py",
    "tflite_runtime": "encoders/litert_runner.py",
    "rknnlite": "encoders/rknn_runner.py",
    "hailo_platform": "encoders/hailo_runner.py",
}

FORBIDDEN = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}


def sources(package):
    return sorted(p for p in PACKAGES[package].rglob("*.py") if "__pycache__" not in p.parts)


def name_of(path):
    return str(path.relative_to(ROOT))


every_source = pytest.mark.parametrize(
    "path", [p for package in PACKAGES for p in sources(package)], ids=name_of
)


def nodes(path):
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def imported(path):
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{a.name}" for a in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names)


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment or None
    )


FACADE = PACKAGES["edge_cl"] / "__init__.py"  # may import anything


@pytest.mark.parametrize("path", sorted({*sources("edge_cl")} - {FACADE}), ids=name_of)
def test_imports_point_one_way(path):
    own = path.relative_to(PACKAGES["edge_cl"]).with_suffix("").parts[0]
    allowed = {"__version__", *LAYERS[: LAYERS.index(own) + 1]}
    for name in imported(path):
        package, _, rest = name.partition(".")
        if package == "edge_cl":
            assert rest.split(".")[0] in allowed, f"{own} imports {name}"
        if own != "cli":
            assert package != "edge_cl_export", f"{own} imports the exporter"


def test_every_module_has_its_layer():
    here = {p.relative_to(PACKAGES["edge_cl"]).with_suffix("").parts[0] for p in sources("edge_cl")}
    assert here - {"__init__"} == set(LAYERS)


def test_importing_the_package_is_light():
    out = python(f"import edge_cl, sys; print([m for m in {HEAVY} if m in sys.modules])")
    assert out.stdout.strip() == "[]", out.stderr


def test_the_learner_runs_on_vectors_without_an_encoder_library():
    code = (
        "import sys, edge_cl as e\n"
        "l = e.Learner.open(bundle=e.features_bundle([[1.0]])); l.learn([1.0], 'a')\n"
        "print([m for m in ('onnxruntime', 'ai_edge_litert', 'torch') if m in sys.modules])"
    )
    assert python(code).stdout.strip() == "[]"


@pytest.mark.parametrize("library", HOMES)
def test_a_foreign_library_is_imported_in_one_file(library):
    homes = {
        str(path.relative_to(PACKAGES["edge_cl"]))
        for path in sources("edge_cl")
        if any(name.split(".")[0] == library for name in imported(path))
    }
    assert homes == {HOMES[library]}


@every_source
def test_nothing_is_unpickled_or_evaluated(path):
    assert not FORBIDDEN & {name.split(".")[0] for name in imported(path)}
    called = {
        n.func.id for n in nodes(path) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    assert not called & {"eval", "exec", "compile", "__import__"}
    if "edge_cl_export" not in path.parts:  # what vanishes under -O guards nothing
        assert not any(isinstance(n, ast.Assert) for n in nodes(path))


def test_every_package_folder_is_installed():
    settings = msgspec.toml.decode((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(settings["tool"]["setuptools"]["packages"])
    found = {
        ".".join((package, *p.parent.relative_to(root).parts))
        for package, root in PACKAGES.items()
        for p in root.rglob("__init__.py")
    }
    assert found <= listed
    assert listed - found <= {"edge_cl.device_profiles"}  # data only


def test_the_facade_lists_what_is_there():
    assert edge_cl.__all__ == sorted(edge_cl.__all__)
    for name in edge_cl.__all__:
        assert getattr(edge_cl, name) is not None
    assert set(edge_cl.__all__) == set(dir(edge_cl))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = edge_cl.nonsense


MODULES_WITH_ALL = [
    ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for p in sources("edge_cl")
    if "__all__ =" in p.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES_WITH_ALL)
def test_what_a_module_lists_is_there(name):
    module = importlib.import_module(name)
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    assert all(hasattr(module, n) for n in module.__all__)


def test_every_error_is_ours_and_a_builtin_too():
    from edge_cl import errors

    ours = [e for e in vars(errors).values() if isinstance(e, type)]
    for error in ours:
        assert issubclass(error, errors.EdgeCLError)
        if error is not errors.EdgeCLError:
            assert issubclass(error, ValueError | OSError | RuntimeError)
