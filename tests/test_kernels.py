import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import SEEDS

from edge_cl import kernels
from edge_cl.kernels import reference

compiled = pytest.importorskip("edge_cl.kernels.compiled")
NAMES = [
    n
    for n, f in vars(reference).items()
    if inspect.isfunction(f) and f.__module__ == reference.__name__
]


def python_function(module, name):
    return getattr(getattr(module, name), "py_func", getattr(module, name))


def test_the_facade_offers_every_kernel():
    assert sorted(NAMES) == sorted(set(kernels.__all__) - {"BACKEND", "warm_up"})


@pytest.mark.parametrize("name", NAMES)
def test_both_backends_have_the_same_signature(name):
    assert inspect.signature(python_function(compiled, name)) == inspect.signature(
        getattr(reference, name)
    )


@given(st.integers(0, 9), st.integers(1, 40), st.integers(1, 4), st.sampled_from([-1, 1]), SEEDS)
def test_add_rows_is_its_definition_in_both_backends(n, d, k, sign, seed):
    rng = np.random.default_rng(seed)
    q, y = rng.integers(-2047, 2048, (n, d)).astype(np.int16), rng.integers(0, k, n)
    before = rng.integers(-(2**40), 2**40, (k, d))
    truth = before.copy()
    np.add.at(truth, y, sign * q.astype(np.int64))
    q.flags.writeable = y.flags.writeable = False
    for backend in (reference, compiled):
        Q = before.astype(np.float64)
        backend.add_rows(q, y, sign, Q)
        assert_array_equal(Q, truth)


@st.composite
def inverses(draw):
    """P symmetric (d, d), pending rows A (m, d) with their signs, how many count, and x."""
    d, m = draw(st.integers(1, 70)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(SEEDS))
    P = rng.standard_normal((d, d))
    rows = draw(st.integers(0, m))
    w = rng.choice([-1.0, 1.0], m)
    return P + P.T, rng.standard_normal((m, d)), w, rows, rng.standard_normal(d)


@given(inverses(), st.booleans())
def test_corrected_product_is_its_definition_in_both_backends(case, single):
    P, A, w, rows, x = case
    P = P.astype(np.float32) if single else P
    A[rows:] = w[rows:] = np.nan  # rows that do not count are never read
    truth = (P - (A[:rows].T * w[:rows]) @ A[:rows]) @ x
    for a in (P, A, w, x):
        a.flags.writeable = False
    for backend in (reference, compiled):
        g = np.full(len(x), np.nan)
        total = backend.corrected_product(P, A, w, rows, x, g)
        # float32 is summed in float64, except where NumPy leaves it to BLAS
        tolerance = 1e-3 if single and backend is reference else 1e-9
        assert_allclose(g, truth, atol=tolerance)
        assert total == pytest.approx(x @ truth, abs=30 * tolerance)


def test_the_compiled_product_reads_the_lower_triangle_only(rng):
    P, x, g = rng.standard_normal((23, 23)), rng.standard_normal(23), np.empty(23)
    P += P.T
    truth = P @ x
    P[np.triu_indices(23, 1)] = np.nan
    compiled.corrected_product(P, np.zeros((1, 23)), np.zeros(1), 0, x, g)
    assert_allclose(g, truth, atol=1e-12)


@given(inverses(), st.integers(1, 9), st.sampled_from([-1.0, 1.0]), st.booleans())
def test_follow_is_its_definition_in_both_backends(case, k, sign, single):
    P, A, w, rows, x = case
    A, w = np.concatenate([A, A[:1] * np.nan]), np.append(w, np.nan)
    A[rows:] = w[rows:] = np.nan
    P = P.astype(np.float32) if single else P
    W, label = np.random.default_rng(k).standard_normal((len(x), k)), k - 1
    g = (P - (A[:rows].T * w[:rows]) @ A[:rows]) @ x
    s = 1 + sign * x @ g
    fits = bool(s > 0.5)
    truth = W + fits * sign * np.outer(g / s, np.eye(k)[label] - x @ W)
    for backend in (reference, compiled):
        tolerance = 1e-3 if single else 1e-8  # BLAS sums float32 in float32
        B, v, V, h = A.copy(), w.copy(), W.copy(), np.empty(len(x))
        found = backend.follow(P, B, v, rows, x, label, sign, 0.5, np.inf, h, V)
        assert found == pytest.approx(s, rel=tolerance, abs=30 * tolerance)
        assert_allclose(V, truth, rtol=tolerance, atol=10 * tolerance)
        assert_array_equal(B[:rows], A[:rows])
        if fits:
            assert_allclose(B[rows], g / np.sqrt(s), rtol=tolerance, atol=tolerance)
            assert v[rows] == sign
        else:
            assert_array_equal(V, W)
            assert np.isnan(B[rows:]).all()
            assert np.isnan(v[rows:]).all()


@given(st.integers(1, 40), st.integers(0, 6), SEEDS)
def test_add_outer_is_its_definition_in_both_backends(d, k, seed):
    rng = np.random.default_rng(seed)
    g, r, W = rng.standard_normal(d), rng.standard_normal(k), rng.standard_normal((d, k))
    g.flags.writeable = r.flags.writeable = False
    for backend in (reference, compiled):
        V = W.copy()
        backend.add_outer(g, r, -0.7, V)
        assert_allclose(V, W - 0.7 * np.outer(g, r), atol=1e-12)


@given(st.integers(0, 5), st.integers(1, 20), st.integers(1, 90), st.integers(0, 14), SEEDS)
def test_sign_product_is_integer_arithmetic(n, d, octets, shift, seed):
    rng = np.random.default_rng(seed)
    q = rng.integers(-2047, 2048, (n, d)).astype(np.int16)
    bits = rng.integers(0, 256, (d, octets), dtype=np.uint8)
    q.flags.writeable = bits.flags.writeable = False
    B = np.unpackbits(bits, axis=1, bitorder="little").astype(np.int64) * 2 - 1
    total = np.maximum(q.astype(np.int64) @ B, 0)
    truth = np.minimum((total + ((1 << shift) >> 1)) >> shift, 2047)
    for backend in (reference, compiled):
        h = np.full((n, octets * 8), -1, np.int16)
        backend.sign_product(q, bits, shift, h)
        assert_array_equal(h, truth)


LESSON = """
import hashlib, numpy as np
from edge_cl import Learner, features_bundle, kernels
rng = np.random.default_rng(5)
x = rng.standard_normal((300, 40)).astype(np.float32)
learner = Learner.open(bundle=features_bundle(x), feature_map="random-relu:64")
for i in range(300):
    learner.learn(x[i], str(i % 7))
    if i % 10 == 0:
        learner.predict(x[i])
learner.forget(x[3], "3")
m = learner.moments()
print(kernels.BACKEND, hashlib.sha256(m.G.tobytes() + m.Q.tobytes()).hexdigest())
print(*learner.scores(x[:20]).ravel().tolist())
"""


def run_lesson(backend):
    environment = {**os.environ, "EDGE_CL_KERNELS": backend}
    out = subprocess.run(
        [sys.executable, "-c", LESSON], capture_output=True, text=True, env=environment
    )
    return out.stdout.split("\n"), out.stderr


def test_both_backends_learn_the_same_bits_and_score_alike():
    (numba, numba_scores, _), _ = run_lesson("numba")
    (numpy, numpy_scores, _), _ = run_lesson("numpy")
    assert numba.split() == ["numba", numpy.split()[1]]
    assert numpy.split()[0] == "numpy"
    assert_allclose(
        np.array(numba_scores.split(), float), np.array(numpy_scores.split(), float), atol=1e-12
    )


def run_python(code, cwd=None, **environment):
    """Run `code` with the NumPy kernels neither asked for nor forbidden."""
    env = {k: v for k, v in os.environ.items() if k not in ("EDGE_CL_KERNELS", "NUMBA_CACHE_DIR")}
    command, env = [sys.executable, "-c", code], {**env, **environment}
    out = subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd)
    assert out.returncode == 0, out.stderr
    return out


# A finder that knows no numba is what a Python without numba has.
WITHOUT_NUMBA = """
import sys, importlib.util
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "numba":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nowhere())
original = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "numba" else original(name, *a)
"""


def test_without_numba_it_is_said_once_and_numpy_serves():
    code = WITHOUT_NUMBA + (
        "from edge_cl import kernels\nimport edge_cl.learner, edge_cl.kernels as again\n"
        "kernels.warm_up(); print(kernels.BACKEND)"
    )
    out = run_python(code)
    assert out.stdout.split() == ["numpy"]
    assert out.stderr.count("numba is not installed") == 1
    silent = run_python(code, EDGE_CL_KERNELS="numpy")
    assert silent.stdout.split() == ["numpy"]
    assert not silent.stderr


def test_where_nothing_can_be_written_the_kernels_are_compiled_all_the_same(tmp_path):
    here = Path(kernels.__file__).parent
    package = tmp_path / "edge_cl"
    shutil.copytree(here, package / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__", "arrays", "errors"):
        shutil.copy(here.parent / f"{name}.py", package)
    # A file where a folder is wanted stops even root
    blocked = package / "kernels" / "__pycache__"
    blocked.write_text("")
    out = run_python(
        "from edge_cl import kernels; kernels.warm_up(); print(kernels.BACKEND, kernels.__file__)",
        EDGE_CL_KERNELS="numba",
        cwd=tmp_path,
        HOME=str(blocked / "home"),
        XDG_CACHE_HOME=str(blocked / "cache"),
    )
    assert out.stdout.split() == ["numba", str(package / "kernels" / "__init__.py")]
    assert not [*tmp_path.rglob("*.nbi")]


WARMED = """
from edge_cl import kernels
from edge_cl.kernels import compiled
kernels.warm_up()
import numpy as np
from edge_cl import Learner, features_bundle
counts = lambda: [len(f.signatures) for f in vars(compiled).values() if hasattr(f, "signatures")]
before = counts()
x = np.random.default_rng(5).standard_normal((60, 16)).astype(np.float32)
learner = Learner.open(bundle=features_bundle(x), feature_map="random-relu:64")
for i in range(30):
    learner.learn(x[i], str(i % 3))
    learner.predict(x[i])
learner.forget(x[3], "0")
assert before and min(before) > 0 and counts() == before, (before, counts())
"""


@pytest.mark.skipif(bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="nothing is compiled")
def test_after_warm_up_a_lesson_compiles_nothing():
    run_python(WARMED, EDGE_CL_KERNELS="numba")


def test_an_unknown_backend_is_named():
    _, complaint = run_lesson("cuda")
    assert "BackendError: EDGE_CL_KERNELS must be numba or numpy, got 'cuda'" in complaint
