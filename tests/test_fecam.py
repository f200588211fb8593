"""FeCAM against its definition, and the classifiers that it reduces to."""

import numpy as np
import oracles
import pytest
from head_cases import batch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from strategies import SEEDS, samples

from edge_cl.errors import InputError
from edge_cl.heads import FeCAMOptions, NearestMeanOptions

OPTIONS = st.builds(
    FeCAMOptions,
    diagonal=st.sampled_from([0.5, 1.0, 3.0]),
    off_diagonal=st.sampled_from([0.0, 0.5]),
    times=st.sampled_from([1, 2]),
    correlation=st.booleans(),
    unit=st.booleans(),
)


def spread(seed, n=60, d=5, k=3):
    """Classes with covariances of their own; every class has samples."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(k), np.arange(k), rng.integers(0, k, n - 2 * k)])
    mixing = rng.normal(size=(k, d, d)) * rng.uniform(20, 150, (k, 1, 1))
    x = rng.uniform(-600, 600, (k, d))[y] + np.einsum(
        "nd,nde->ne", rng.normal(size=(n, d)), mixing[y]
    )
    return np.clip(np.rint(x), -2047, 2047).astype(np.int16), y


@given(SEEDS, OPTIONS)
def test_distances_are_those_of_the_definition(seed, options):
    q, y = spread(seed)
    expected = oracles.fecam_scores(
        q.astype(float),
        y,
        3,
        q[:9].astype(float),
        a1=options.diagonal + 1e-6,
        a2=options.off_diagonal,
        times=options.times,
        correlation=options.correlation,
        unit=options.unit,
    )
    assert_allclose(batch(options, q, y).scores(q[:9]), expected, rtol=1e-7, atol=1e-12)


@given(samples(max_n=5), st.booleans())
def test_with_the_identity_for_covariance_it_is_the_nearest_mean_on_the_sphere(stream, repeated):
    """One sample a class, or equal ones, have no spread: R = I."""
    q, y = stream
    q, y = q[:1].repeat(len(q), axis=0) if repeated else q, np.arange(len(q))
    if repeated:
        q, y = np.concatenate([q, q]), np.concatenate([y, y])
    means = oracles.on_the_sphere(oracles.class_means(q.astype(float), y, y.max() + 1))
    at = np.concatenate([q, -q, q[::-1] // 2])
    expected = -np.square(oracles.on_the_sphere(at.astype(float))[:, None] - means).sum(axis=2)
    assert_allclose(batch(FeCAMOptions(), q, y).scores(at), expected, atol=1e-12)


def test_a_shrinkage_without_end_is_the_nearest_mean_on_the_sphere(rng):
    q, y = spread(1)
    strong = batch(FeCAMOptions(diagonal=1e6, off_diagonal=0.0), q, y)
    at = rng.integers(-900, 900, (200, 5)).astype(np.int16)
    means = oracles.on_the_sphere(oracles.class_means(q.astype(float), y, 3))
    expected = -np.square(oracles.on_the_sphere(at.astype(float))[:, None] - means).sum(axis=2)
    assert_allclose(strong.scores(at), expected, rtol=1e-5)


@given(SEEDS)
def test_with_one_covariance_for_all_and_without_the_sphere_it_is_lda(seed):
    rng = np.random.default_rng(seed)
    deviations = rng.integers(-300, 300, (30, 4))
    deviations = np.concatenate([deviations, -deviations])
    centres = rng.integers(-900, 900, (3, 4))
    q = (centres[:, None] + deviations).reshape(-1, 4).astype(np.int16)
    y = np.repeat(np.arange(3), 60)
    x, at = q.astype(float), rng.integers(-900, 900, (50, 4)).astype(np.int16)
    options = FeCAMOptions(off_diagonal=0.0, correlation=False, unit=False)
    scores = batch(options, q, y).scores(at)
    covariance = np.cov(x[y == 0].T)
    covariance += (1 + 1e-6) * np.trace(covariance) / 4 * np.eye(4)
    expected = 2 * oracles.lda_scores(x, y, 3, covariance, at.astype(float))
    assert_allclose(scores - scores[:, :1], expected - expected[:, :1], rtol=1e-7, atol=1e-6)


@given(samples(max_n=12), st.sampled_from([1, 2]))
def test_every_matrix_is_definite_for_any_samples_and_the_strongest_off_diagonal(stream, times):
    q, y = stream
    options = FeCAMOptions(off_diagonal=1.0, times=times)
    scores = batch(options, q, y).scores(np.concatenate([q, -q]))
    assert (scores[np.isfinite(scores)] <= 0).all()


def test_only_classes_that_changed_are_solved_again():
    q, y = spread(3)
    follower = batch(FeCAMOptions(), q, y)
    follower.scores(q[:1])
    before = list(follower.head._inverses)
    follower.learn(q[y == 1][:1], np.array([1]))
    follower.scores(q[:1])
    kept = [a is b for a, b in zip(follower.head._inverses, before, strict=True)]
    assert kept == [True, False, True]
    follower.learn(q[:1], np.array([4]))
    assert [a is not None for a in follower.head._inverses] == [True] * 3 + [False] * 2


def test_memory_is_d_squared_a_class():
    q, y = spread(3)
    follower = batch(FeCAMOptions(), q, y, k=20)
    follower.scores(q[:1])
    assert follower.head.nbytes == 3 * 5 * 5 * 8


def test_the_temperature_makes_own_distances_those_of_a_gaussian(rng):
    """-2 s / T of a class's own samples is d on average, where they are close to their mean."""
    d = 6
    centre = np.full(d, 1200) * np.where(np.arange(d) % 2, 1, -1)
    q = (centre + rng.normal(0, 8, (4000, d))).round().astype(np.int16)
    y = np.arange(4000) % 2
    q[y == 1] *= -1
    follower = batch(FeCAMOptions(diagonal=0.01, off_diagonal=0.0), q, y)
    scores = follower.scores(q)
    own = scores[np.arange(len(y)), y]
    step = -own.mean() / 10
    p = follower.head.probabilities(np.array([[0.0, -step]]), q[:1])[0]
    T = step / np.log(p[0] / p[1])
    assert_allclose((-2 * own / T).mean(), d, rtol=0.2)


def test_covariances_help_where_classes_differ_in_shape(rng):
    """Two classes stretched along different axes: the mean alone errs where FeCAM does not."""
    n, d = 400, 4
    y = np.arange(2 * n) % 2
    spreads = np.array([[200, 5, 5, 5], [5, 200, 5, 5]])
    x = (
        np.array([[600, 640, 700, 700], [640, 600, 700, 700]])[y]
        + rng.normal(size=(2 * n, d)) * spreads[y]
    )
    q = np.clip(x.round(), -2047, 2047).astype(np.int16)
    options = FeCAMOptions(diagonal=0.001, off_diagonal=0.0, correlation=False)
    ours = (batch(options, q, y).scores(q).argmax(axis=1) == y).mean()
    plain = (batch(NearestMeanOptions(metric="cosine"), q, y).scores(q).argmax(axis=1) == y).mean()
    assert ours > plain + 0.1


@pytest.mark.parametrize(
    "wrong",
    [
        {"diagonal": 0.5, "off_diagonal": 0.6},
        {"off_diagonal": -0.1},
        {"diagonal": float("nan")},
        {"diagonal": float("inf")},
        {"times": 3},
    ],
)
def test_options_that_would_not_stay_definite_are_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        FeCAMOptions(**wrong)
