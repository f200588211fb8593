"""Ridge with classes weighed alike, against weighted least squares and against its own draws."""

import numpy as np
import oracles
import pytest
from head_cases import SCALE, Follower, batch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import SEEDS, samples

from edge_cl.errors import InputError
from edge_cl.heads import BalancedRidgeOptions, RidgeOptions, build_head
from edge_cl.moments import Moments

METHODS = ["air", "shared", "aef", "aef-sampled"]
every_method = pytest.mark.parametrize("method", METHODS)


def weights(options, q, y, k=0):
    return batch(options, q, y, k).head.tensors()["W"]


def lam(ridge):
    return ridge / SCALE**2


def unbalanced(seed, counts=(40, 7, 1), d=4, alike=True):
    """Classes of those sizes; with one covariance for all, or each its own."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    noise = rng.normal(0, 60, (len(y), d))
    if not alike:
        noise *= rng.uniform(0.2, 3.0, (len(counts), d))[y]
    q = rng.uniform(-500, 500, (len(counts), d))[y] + noise
    return q.round().astype(np.int16), y


@given(samples(), st.sampled_from([0.01, 1.0, 50.0]))
def test_air_is_weighted_least_squares(stream, ridge):
    q, y = stream
    expected = oracles.class_weighted_ridge(q.astype(float), y, y.max() + 1, lam(ridge))
    actual = weights(BalancedRidgeOptions(method="air", ridge=ridge), q, y)
    assert_allclose(actual, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())


@given(SEEDS)
def test_air_is_the_paper_with_its_penalty_at_another_scale(seed):
    q, y = unbalanced(seed)
    counts = np.bincount(y)
    printed = oracles.printed_air(q.astype(float), y, 3, lam(1.0))
    harmonic, mean = 3 / (1 / counts).sum(), counts.mean()
    actual = weights(BalancedRidgeOptions(method="air", ridge=mean / harmonic), q, y)
    assert_allclose(actual, printed, rtol=1e-8, atol=1e-12)


@every_method
@given(SEEDS)
def test_on_balanced_data_it_is_ridge(method, seed):
    q, y = unbalanced(seed, (9, 9, 9), alike=False)
    expected = weights(RidgeOptions(), q, y)
    actual = weights(BalancedRidgeOptions(method=method), q, y)
    assert_allclose(actual, expected, rtol=1e-12, atol=1e-16)


@every_method
def test_classes_never_seen_count_for_nothing(method):
    q, y = unbalanced(5)
    options = BalancedRidgeOptions(method=method)
    assert_array_equal(weights(options, q, y, k=9)[:, :3], weights(options, q, y))
    assert not weights(options, q, y, k=9)[:, 3:].any()


@given(SEEDS)
def test_the_shared_covariance_is_exact_where_classes_share_one(seed):
    rng = np.random.default_rng(seed)
    deviations = rng.integers(-200, 200, (6, 4))
    deviations = np.concatenate([deviations, -deviations])
    centres = rng.integers(-900, 900, (3, 4))
    q = np.concatenate(
        [np.tile(c + deviations, (n, 1)) for c, n in zip(centres, (5, 2, 1), strict=True)]
    )
    y = np.repeat(np.arange(3), (60, 24, 12))
    q = q.astype(np.int16)
    expected = weights(BalancedRidgeOptions(method="air"), q, y)
    assert_allclose(weights(BalancedRidgeOptions(method="shared"), q, y), expected, rtol=1e-8)


def test_the_shared_covariance_is_mostly_nearer_to_air_than_ridge_is():
    """It is an approximation: with spreads that differ up to fifteenfold it can be further."""
    ratios = []
    for seed in range(200):
        q, y = unbalanced(seed, (300, 30, 10), alike=False)
        air = weights(BalancedRidgeOptions(method="air"), q, y)
        shared = weights(BalancedRidgeOptions(method="shared"), q, y)
        ridge = weights(RidgeOptions(), q, y)
        ratios.append(np.linalg.norm(shared - air) / np.linalg.norm(ridge - air))
    assert np.median(ratios) < 0.5
    assert np.mean(np.array(ratios) < 1) > 0.8


@given(SEEDS)
def test_the_expectation_is_the_gram_matrix_of_the_definition(seed):
    q, y = unbalanced(seed, alike=False)
    A, B = oracles.aef_expectation(q.astype(float), y, 3)
    expected = np.linalg.solve(A + lam(0.5) * np.eye(4), B)
    actual = weights(BalancedRidgeOptions(method="aef", ridge=0.5), q, y)
    assert_allclose(actual, expected, rtol=1e-8, atol=1e-14)


def test_draws_tend_to_the_expectation():
    """Mean of A and of the targets over 400 seeds, each within five of its standard errors."""
    q, y = unbalanced(11, alike=False)
    follower = batch(BalancedRidgeOptions(method="aef"), q, y)
    A, targets = follower.head._filled()
    grams, sums = [], []
    for seed in range(400):
        drawn = build_head(
            BalancedRidgeOptions(method="aef-sampled", seed=seed),
            follower.moments,
            scale=SCALE,
            mean_square_norm=1.0,
        )
        gram, total = drawn._filled()
        grams.append(gram)
        sums.append(total)
    for found, expected in ((grams, A), (sums, targets)):
        error = np.std(found, axis=0, ddof=1) / 20
        size = 1e-12 * np.abs(expected).max()
        assert (np.abs(np.mean(found, axis=0) - expected) <= 5 * error + size).all()


def test_without_spread_draws_are_copies_of_the_mean():
    q = np.array([[100, -50]] * 6 + [[-70, 30]], np.int16)
    y = np.array([0] * 6 + [1])
    drawn = weights(BalancedRidgeOptions(method="aef-sampled"), q, y)
    copies = np.concatenate([q, q[-1:].repeat(5, axis=0)]), np.concatenate([y, [1] * 5])
    assert_allclose(drawn, weights(RidgeOptions(), *copies), rtol=1e-10)


@given(SEEDS, st.integers(0, 2**64 - 1))
def test_draws_depend_on_moments_and_seed_and_leave_the_moments_alone(seed, key):
    q, y = unbalanced(seed)
    options = BalancedRidgeOptions(method="aef-sampled", seed=key)
    follower = batch(options, q, y)
    before = follower.moments.copy()
    first = follower.head.tensors()["W"]
    follower.head.refresh()
    assert_array_equal(follower.head.tensors()["W"], first)
    assert follower.moments == before
    order = np.random.default_rng(seed).permutation(len(q))
    assert_array_equal(weights(options, q[order], y[order]), first)
    other = BalancedRidgeOptions(method="aef-sampled", seed=key ^ 1)
    assert (weights(other, q, y) != first).any()


def test_what_one_class_draws_moves_no_other():
    """Streams are a class each: with more samples in class 1, class 2 draws as before."""
    q, y = unbalanced(2, (300, 100, 50))
    options = BalancedRidgeOptions(method="aef-sampled")
    both = batch(options, q, y)
    less = batch(options, q[y != 1], y[y != 1])
    assert_array_equal(both.head._filled()[1][2], less.head._filled()[1][2])


def test_classes_draw_independently():
    """Two classes that lack as many: what they draw, standardised, is not the same."""
    q, y = unbalanced(2, (300, 50, 50))
    follower = batch(BalancedRidgeOptions(method="aef-sampled"), q, y)
    drawn = follower.head._filled()[1] - follower.moments.Q
    standardised = [
        (drawn[c] - 250 * q[y == c].mean(axis=0)) / q[y == c].std(axis=0, ddof=1) for c in (1, 2)
    ]
    assert (np.abs(standardised[0] - standardised[1]) > 1e-6).all()


def test_a_rare_class_is_recalled():
    """1000 samples against 20, close together: ridge leaves the rare class to the frequent one."""
    rng = np.random.default_rng(8)
    centres = np.array([[300, 300, 300], [300, 420, 300]])

    def draw(counts):
        y = np.repeat([0, 1], counts)
        return (centres[y] + rng.normal(0, 60, (len(y), 3))).round().astype(np.int16), y

    q, y = draw((1000, 20))
    test, truth = draw((500, 500))

    def recall(options):
        found = batch(options, q, y).scores(test).argmax(axis=1)
        return (found == truth)[truth == 1].mean()

    assert recall(RidgeOptions(ridge=1.0)) < 0.2
    for method in METHODS:
        assert recall(BalancedRidgeOptions(method=method, ridge=1.0)) > 0.5


@pytest.mark.parametrize(
    "wrong", [{"method": "smote"}, {"ridge": 0.0}, {"ridge": float("nan")}, {"seed": -1}]
)
def test_options_without_meaning_are_refused(wrong):
    with pytest.raises(InputError):
        BalancedRidgeOptions(**wrong)


@pytest.mark.parametrize("method", ["air", "aef", "aef-sampled"])
def test_moments_without_the_statistic_are_refused(method):
    with pytest.raises(InputError, match="expected moments that keep"):
        Follower(BalancedRidgeOptions(method=method), 2, Moments(2))
