import numpy as np
import oracles
import pytest
from head_cases import Follower, batch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import samples, splits

from edge_cl.errors import InputError
from edge_cl.heads import NearestMeanOptions

METRICS = [NearestMeanOptions(metric=m) for m in ("euclidean", "cosine", "centred-cosine")]


def all_classes_present(q, y):
    return q, np.unique(y, return_inverse=True)[1]


@given(samples())
def test_euclidean_scores_rank_classes_by_distance_to_their_mean(stream):
    q, y = all_classes_present(*stream)
    x, k = q.astype(float), y.max() + 1
    M = oracles.class_means(x, y, k)
    distance = np.square(x[:, None] - M).sum(axis=2)
    scores = batch(METRICS[0], q, y).scores(q)
    square = np.square(x).sum(axis=1, keepdims=True)
    assert_allclose(square - 2 * scores, distance, rtol=1e-9, atol=1e-6)


@given(samples(), st.integers(1, 5))
def test_cosine_scores_are_cosines_whatever_the_length(stream, factor):
    q, y = all_classes_present(*stream)
    x, k = q.astype(float), y.max() + 1
    M = oracles.class_means(x, y, k)
    lengths = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(M, axis=1)
    expected = np.divide(x @ M.T, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    head = batch(METRICS[1], q, y)
    assert_allclose(head.scores(q), expected, atol=1e-12)
    small = (q // 8).astype(np.int16)
    assert_allclose(head.scores(small * np.int16(factor)), head.scores(small), atol=1e-12)


@given(samples())
def test_centred_cosine_scores_are_cosines_about_the_mean_of_all(stream):
    q, y = all_classes_present(*stream)
    exact = q.astype(np.longdouble)
    x, k = exact - exact.mean(axis=0), y.max() + 1
    M = oracles.class_means(x, y, k)
    lengths = np.linalg.norm(x.astype(float), axis=1)[:, None] * np.linalg.norm(
        M.astype(float), axis=1
    )
    known = (
        lengths > 1e-9 * max(1.0, float(np.abs(q).max())) ** 2
    )  # else x or M is the mean, but rounded
    expected = np.divide((x @ M.T).astype(float), lengths, out=np.zeros(lengths.shape), where=known)
    assert_allclose(batch(METRICS[2], q, y).scores(q), expected, atol=1e-9)


@given(samples(largest=900), st.integers(-1000, 1000))
def test_centred_cosines_ignore_what_all_samples_have_in_common(stream, shift):
    q, y = stream
    moved = (q + np.int16(shift)).astype(np.int16)
    assert_array_equal(batch(METRICS[2], moved, y).scores(moved), batch(METRICS[2], q, y).scores(q))


def test_what_equals_the_mean_has_no_direction():
    q = np.array([[3, 4], [5, 6], [4, 5], [3, 4], [5, 6]], np.int16)  # both classes: mean (4, 5)
    scores = batch(METRICS[2], q, np.array([0, 0, 0, 1, 1])).scores(q)
    assert_array_equal(scores, np.zeros((5, 2)))
    scores = batch(METRICS[2], q[:2], np.array([0, 1])).scores(q)
    assert_allclose(scores, [[1, -1], [-1, 1], [0, 0], [1, -1], [-1, 1]], rtol=1e-15)


def test_a_lesson_moves_every_centred_mean():
    q = np.array([[8, 0], [0, 8], [-40, -40]], np.int16)
    follower = batch(METRICS[2], q[:2], np.array([0, 1]))
    before = follower.scores(q[:1])
    follower.learn(q[2:], np.array([2]))
    assert follower.scores(q[:1])[0, 1] > before[0, 1] + 1  # of opposite signs, and now alike


@pytest.mark.parametrize("options", METRICS, ids=lambda o: o.metric)
@given(stream=samples(), data=st.data())
def test_streaming_gives_the_bits_of_the_batch(options, stream, data):
    q, y = stream
    follower = Follower(options, q.shape[1])
    for part in data.draw(splits(len(q))):
        follower.learn(q[part], y[part])
    extra = q[::-1].copy()
    follower.learn(extra, y[::-1])
    follower.forget(extra, y[::-1])
    follower.moments.grow(int(y.max()) + 1)
    assert_array_equal(follower.scores(q), batch(options, q, y).scores(q))


def test_euclidean_probabilities_are_the_spherical_gaussian_posterior(rng):
    y = np.arange(60) % 3
    q = (500 * rng.standard_normal((3, 4))[y] + 300 * rng.standard_normal((60, 4))).astype(np.int16)
    x = q.astype(float)
    M = oracles.class_means(x, y, 3)
    variance = np.square(oracles.centred(x, y, 3)).sum() / (57 * 4)
    density = np.exp(-np.square(x[:, None] - M).sum(axis=2) / (2 * variance))
    head = batch(METRICS[0], q, y)
    expected = density / density.sum(axis=1, keepdims=True)
    assert_allclose(head.head.probabilities(head.scores(q), q), expected, atol=1e-9)


def test_another_metric_is_refused():
    with pytest.raises(InputError, match="manhattan"):
        NearestMeanOptions(metric="manhattan")
