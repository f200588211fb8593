import inspect
import os
import subprocess
import sys

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
    assert sorted(NAMES) == sorted(set(kernels.__all__) - {"BACKEND"})


@pytest.mark.parametrize("name", NAMES)
def test_both_backends_have_the_same_signature(name):
    assert inspect.signature(python_function(compiled, name)) == inspect.signature(
        getattr(reference, name)
    )


@st.composite
def inverses(draw):
    """P symmetric (d, d), pending rows A (m, d) with their signs, how many count, and x."""
    d, m = draw(st.integers(1, 70)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(SEEDS))
    P = rng.standard_normal((d, d))
    rows = draw(st.integers(0, m))
    w = rng.choice([-1.0, 1.0], m)
    return P + P.T, rng.standard_normal((m, d)), w, rows, rng.standard_normal(d)


@given(inverses())
def test_corrected_product_is_its_definition_in_both_backends(case):
    P, A, w, rows, x = case
    A[rows:] = w[rows:] = np.nan  # rows that do not count are never read
    truth = (P - (A[:rows].T * w[:rows]) @ A[:rows]) @ x
    for a in (P, A, w, x):
        a.flags.writeable = False
    for backend in (reference, compiled):
        g = np.full(len(x), np.nan)
        total = backend.corrected_product(P, A, w, rows, x, g)
        assert_allclose(g, truth, atol=1e-10)
        assert total == pytest.approx(x @ truth, abs=1e-9)


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
m = learner._moments
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


def test_an_unknown_backend_is_named():
    _, complaint = run_lesson("cuda")
    assert "BackendError: EDGE_CL_KERNELS must be numba or numpy, got 'cuda'" in complaint


@pytest.mark.slow
def test_the_heads_hold_their_laws_on_numpy_kernels():
    here = os.path.dirname(__file__)
    files = [os.path.join(here, f"test_{n}.py") for n in ("moments", "head_contract", "ridge")]
    out = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *files],
        env={**os.environ, "EDGE_CL_KERNELS": "numpy"},
        cwd=os.path.dirname(here),
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stdout[-2000:]
