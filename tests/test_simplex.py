import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import samples

from edge_cl.heads.simplex import simplex_scores, simplex_vertices


@given(st.integers(2, 40))
def test_the_vertices_are_unit_vectors_equally_far_apart_around_the_origin(k):
    T = simplex_vertices(k)
    expected = np.where(np.eye(k) > 0, 1.0, -1.0 / (k - 1))
    assert_allclose(T @ T.T, expected, atol=1e-12)
    assert_allclose(T.sum(axis=0), 0, atol=1e-12)


@given(samples(max_k=5), st.sampled_from([1e-3, 1.0, 1e3]))
def test_scores_are_those_of_ridge_solved_for_the_vertices_of_the_classes_seen(stream, lam):
    q, y = stream
    x, k = q / 256, 7  # at least two classes never come
    n = np.bincount(y, minlength=k)
    seen = np.flatnonzero(n)
    targets = simplex_vertices(len(seen))
    rows = targets[np.searchsorted(seen, y)]
    W = np.linalg.solve(x.T @ x + lam * np.eye(x.shape[1]), x.T @ rows)
    coded = simplex_scores(x @ oracles.ridge(x, y, k, lam), n)
    assert_allclose(coded[:, seen], x @ W @ targets.T, atol=1e-7)
    assert np.isneginf(np.delete(coded, seen, axis=1)).all()


@given(samples(max_k=5))
def test_no_class_changes_its_rank(stream):
    q, y = stream
    s = oracles.one_hot(y, 5)[:, :5] + np.linspace(0, 0.3, 5) + q[:, :1] / 2048
    order = np.argsort(s, axis=1)
    coded = np.take_along_axis(simplex_scores(s, np.ones(5, np.int64)), order, axis=1)
    assert (np.diff(coded, axis=1) >= 0).all()


@pytest.mark.parametrize("n", [[], [0, 0], [0, 3], [3]])
def test_with_no_two_classes_there_is_nothing_to_tell_apart(n):
    n = np.array(n, np.int64)
    coded = simplex_scores(np.full((2, len(n)), 0.7), n)
    assert_array_equal(coded, np.where(n > 0, 0.0, -np.inf) * np.ones((2, 1)))


def test_one_vertex_is_the_origin_and_of_none_there_is_none():
    assert_array_equal(simplex_vertices(1), [[0.0]])
    assert simplex_vertices(0).shape == (0, 0)
