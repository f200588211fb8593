import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import SEEDS
from threadpoolctl import threadpool_limits

from edge_cl import blas
from edge_cl.blas import add_integer_products, add_outer_products, one_thread

SHAPES = st.tuples(st.sampled_from([1, 3, 64, 65, 127, 128, 129, 200, 300]), st.integers(0, 130))


@given(SHAPES, SEEDS, st.sampled_from([-1.0, 1.0, 0.3]), st.sampled_from([np.float64, np.float32]))
def test_outer_products_are_added_to_both_triangles_alike(shape, seed, weight, dtype):
    d, n = shape
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)).astype(dtype)
    G = rng.standard_normal((d, d)).astype(dtype)
    G += G.T
    truth = G.astype(np.float64) + weight * (x.T.astype(np.float64) @ x)
    add_outer_products(G, x, weight)
    assert G.dtype == dtype
    assert_array_equal(G, G.T)
    assert_allclose(G, truth, atol=1e-12 if dtype == np.float64 else 1e-4)


# In float32 a sum of squares above 2^24 rounds: 4 rows at the rail, or 64 of 512
@pytest.mark.parametrize("largest", [3, 300, 511, 512, 900, 2047])
@pytest.mark.parametrize("n", [1, 3, 5, 48, 64, 65, 200, 1024])
@pytest.mark.parametrize("dtype", [np.int16, np.float64])
def test_integer_products_are_exact(largest, n, dtype, rng):
    d = 130
    q = rng.integers(-largest, largest + 1, (n, d))
    q[:, :2] = largest  # as large as they come; odd sums, so that any rounding shows
    start = rng.integers(-(2**50), 2**50, (d, d))
    start += start.T
    for sign in (+1, -1):
        G = start.astype(np.float64)
        add_integer_products(G, q.astype(dtype), sign)
        assert_array_equal(G.astype(np.int64), start + sign * (q.T @ q))


def test_rows_that_are_larger_than_the_others_are_exact_too(rng):
    q = rng.integers(-30, 31, (512, 70))
    q[-16:] = 2047  # in one part: 16 · 2047² > 2^24
    G = np.zeros((70, 70))
    add_integer_products(G, q.astype(np.int16), +1)
    assert_array_equal(G, q.T @ q)


def test_float32_serves_where_it_is_exact_and_only_there(rng, monkeypatch):
    used = []
    original = blas._add_to_lower

    def spy(G, x, weight):
        used.append((x.dtype, len(x)))
        original(G, x, weight)

    monkeypatch.setattr(blas, "_add_to_lower", spy)
    q = np.full((64, 3), 511, np.int16)
    add_integer_products(np.zeros((3, 3)), q, 1)  # 64 · 511² < 2^24
    q[0, 1] = 2047
    add_integer_products(np.zeros((3, 3)), q, 1)
    add_integer_products(np.zeros((3, 3)), np.full((500, 3), 400, np.int16), 1)
    assert used[0] == (np.float32, 64)
    assert used[1] == (np.float64, 64)
    assert {dtype for dtype, _ in used[2:]} == {np.dtype(np.float32)}
    assert sum(n for _, n in used[2:]) == 500


@pytest.mark.parametrize("last", ["here", "there"])
def test_one_thread_nests_overlaps_and_is_undone_by_whoever_leaves_last(last):
    def threads():
        return [library.num_threads for library in blas._libraries()]

    before = threads()
    inside, leave = threading.Event(), threading.Event()

    def other():
        with one_thread():
            inside.set()
            leave.wait(10)

    with threadpool_limits(2, user_api="blas"):  # this thread has asked first
        wide = threads()
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
        assert set(threads()) == {1}  # although another thread asked for it
        if last == "here":
            with one_thread(), one_thread():
                leave.set()
                thread.join()
                assert set(threads()) == {1}
        else:
            with one_thread(), one_thread():
                pass
            assert set(threads()) == {1}
            leave.set()
            thread.join()
        assert threads() == wide
    assert threads() == before
