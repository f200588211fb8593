import warnings

import numpy as np
import oracles
import pytest
from head_cases import SCALE, Follower, batch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import SEEDS, samples

from edge_cl.errors import InputError
from edge_cl.heads import RidgeOptions
from edge_cl.heads import ridge as ridge_module
from edge_cl.heads.gcv import choose_ridge
from edge_cl.heads.masked import simplex_projection
from edge_cl.heads.ridge import _PENDING
from edge_cl.moments import Moments

EPS = np.finfo(float).eps


def assert_is_ridge(follower, q, y, lam, at):
    """Fitted values equal (1)'s, up to what the condition of G + λI costs any inverse."""
    x, k = q * SCALE, follower.moments.k
    expected = (at * SCALE) @ oracles.ridge(x, y, k, lam)
    condition = 1 + np.square(x).sum() / lam
    actual = follower.scores(at)
    seen = np.bincount(y, minlength=k) > 0
    assert_allclose(actual[:, seen], expected[:, seen], atol=1e-11 + 30 * EPS * condition)


@given(samples(), st.floats(-3, 6))
def test_after_every_sample_the_weights_are_the_batch_solution(stream, exponent):
    q, y = stream
    lam = 10.0**exponent
    follower = Follower(RidgeOptions(ridge=lam), q.shape[1])
    follower.head.tensors()  # a head that was looked at before anything was learned
    for i in range(len(q)):
        follower.learn(q[i : i + 1], y[i : i + 1])
        assert_is_ridge(follower, q[: i + 1], y[: i + 1], lam, q)


@pytest.mark.parametrize("lam", [1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("d", [3, 20])
def test_crossing_the_fold_and_the_age_changes_nothing(lam, d, rng, monkeypatch):
    age = 1000  # sooner than in earnest
    monkeypatch.setattr(ridge_module, "_AGE", age)
    n = age + 2 * _PENDING
    q, y = rng.integers(-900, 900, (n, d)).astype(np.int16), rng.integers(0, 4, n)
    follower = Follower(RidgeOptions(ridge=lam), d)
    edges = {e + s for e in (_PENDING, 2 * _PENDING, age, n - 1) for s in range(-2, 3)}
    for i in range(n):
        follower.learn(q[i : i + 1], y[i : i + 1])
        follower.scores(q[:1])
        if i in edges:
            assert_is_ridge(follower, q[: i + 1], y[: i + 1], lam, q[:20])


@given(SEEDS, st.floats(-300, -3))
def test_a_tiny_ridge_on_rank_deficient_data_still_answers(seed, exponent):
    rng = np.random.default_rng(seed)
    q = np.repeat(rng.integers(-2000, 2000, (3, 12)), 20, axis=0).astype(np.int16)
    y = np.repeat(np.arange(3), 20)
    follower = Follower(RidgeOptions(ridge=10.0**exponent), 12)
    follower.head.tensors()
    for i in rng.permutation(60):
        follower.learn(q[i : i + 1], y[i : i + 1])
        scores = follower.scores(q)
        assert np.isfinite(scores[:, follower.moments.n > 0]).all()
    # independent rows are fitted exactly, however small λ is
    assert_allclose(scores, np.eye(3)[y], atol=1e-2)
    assert_array_equal(scores.argmax(axis=1), y)


@pytest.mark.parametrize("ridge", [1e-307, 1e-100, 1e-25, 1e-12])
def test_contradicting_labels_of_one_row_average_however_small_the_ridge(ridge, rng):
    follower, row = Follower(RidgeOptions(ridge=ridge), 12), rng.integers(-900, 900, (1, 12))
    row = row.astype(np.int16)
    follower.learn(row[:, ::-1].copy(), np.array([2]))
    follower.head.tensors()
    y = np.array([0, 1, 1, 0, 0, 0])
    for i in range(len(y)):
        follower.learn(row, y[i : i + 1])
        share = np.bincount(y[: i + 1], minlength=2) / (i + 1)
        seen = share > 0
        assert_allclose(follower.scores(row)[0, :2][seen], share[seen], atol=1e-2)


@pytest.mark.parametrize("ridge", [1e-4, 1e-8])
def test_few_rows_under_a_small_ridge_are_fitted_while_they_come_and_go(ridge, rng):
    """Fewer rows than features: each has a leverage near one."""
    n, d = 120, 100
    q, y = rng.integers(-900, 900, (n, d)).astype(np.int16), np.arange(n) % 3
    follower = Follower(RidgeOptions(ridge=ridge), d)
    for i in range(n):
        follower.learn(q[i : i + 1], y[i : i + 1])
        follower.scores(q[:1])
    for i in range(n - 1, 40, -1):
        follower.forget(q[i : i + 1], y[i : i + 1])
        if i < 80:
            assert_allclose(follower.scores(q[:i]), oracles.one_hot(y[:i], 3), atol=1e-4)


@pytest.mark.parametrize("ridge", [1e-307, 1e-30, 1e30, 1e300])
def test_an_extreme_ridge_gives_numbers(ridge, rng):
    q, y = rng.integers(-900, 900, (30, 5)).astype(np.int16), np.arange(30) % 3
    follower = Follower(RidgeOptions(ridge=ridge), 5)
    follower.head.tensors()
    for i in range(30):
        follower.learn(q[i : i + 1], y[i : i + 1])
        p = follower.head.probabilities(follower.scores(q), q)
        assert_allclose(p.sum(axis=1), 1.0)


@given(SEEDS)
def test_taking_back_the_only_sample_of_a_direction_keeps_all_digits(seed):
    rng = np.random.default_rng(seed)
    d, lam = 6, 1e-6
    q = rng.integers(-3, 4, (30, d)).astype(np.int16)
    q[:, 0] = 0
    y = rng.integers(0, 3, 30)
    alone = np.zeros((1, d), np.int16)
    alone[0, 0] = 2047  # leverage above 1 - 1e-7
    follower = batch(RidgeOptions(ridge=lam), q, y, k=3)
    before = follower.scores(q)
    follower.learn(alone, np.array([0]))
    follower.scores(q)
    follower.forget(alone, np.array([0]))
    assert_allclose(follower.scores(q), before, atol=1e-12)


@given(SEEDS, st.integers(2, 6))
def test_tasks_with_reappearing_classes_are_gacil_and_the_joint_solution(seed, tasks):
    rng = np.random.default_rng(seed)
    d, k, lam = 5, 4, 2.0
    y = rng.integers(0, k, 60)
    q = (300 * rng.standard_normal((k, d))[y] + rng.normal(0, 100, (60, d))).astype(np.int16)
    parts = np.array_split(np.arange(60), tasks)
    follower = Follower(RidgeOptions(ridge=lam), d)
    for part in parts:
        follower.learn(q[part], y[part])
    stream = [(q[p] * SCALE, y[p]) for p in parts]
    assert_allclose(follower.scores(q), q * SCALE @ oracles.gacil(stream, d, k, lam), atol=1e-9)
    # negative control: without its gain for classes that reappear, the recursion is another
    lossy = q * SCALE @ oracles.gacil(stream, d, k, lam, with_gain=False)
    assert np.abs(lossy - follower.scores(q)).max() > 0.05


@given(samples(max_n=30), st.floats(-3, 5))
def test_gcv_is_that_of_the_hat_matrix(stream, exponent):
    q, y = stream
    if len(q) < 2:
        return
    moments, lam = Moments(q.shape[1]), 10.0**exponent
    moments.add(q, y)
    choice = choose_ridge(
        moments, scale=SCALE, mean_square_norm=1.0, candidates=np.array([lam, 10 * lam])
    )
    for i, candidate in enumerate(choice.candidates):
        value, df = oracles.gcv(q * SCALE, y, moments.k, candidate)
        if len(q) - df > 1e-3:  # else both are 0 / 0
            assert choice.gcv[i] == pytest.approx(value, rel=1e-4, abs=1e-9)
            if choice.ridge == candidate:
                assert choice.degrees_of_freedom == pytest.approx(df, rel=1e-6, abs=1e-9)
    assert choice.ridge in choice.candidates


def test_gcv_finds_a_ridge_that_predicts_better_than_the_ends(rng):
    truth = rng.standard_normal((40, 2))

    def draw(n):
        x = rng.standard_normal((n, 40))
        y = (x @ truth + rng.normal(0, 8, (n, 2))).argmax(axis=1)
        return (x / SCALE / 8).astype(np.int16), y

    q, y = draw(60)
    moments = Moments(40)
    moments.add(q, y)
    square = float(np.square(q * SCALE).sum(axis=1).mean())
    choice = choose_ridge(moments, scale=SCALE, mean_square_norm=square)
    test, target = draw(4000)

    def error(lam):
        fitted = test @ oracles.ridge(q * SCALE, y, 2, lam) * SCALE
        return np.square(fitted - np.eye(2)[target]).mean()

    assert len(choice.candidates) == 41
    assert error(choice.ridge) < min(error(choice.candidates[0]), error(choice.candidates[-1]))


def test_a_ridge_cannot_be_chosen_from_one_sample():
    moments = Moments(2)
    moments.add(np.ones((1, 2), np.int16), np.array([0]))
    with pytest.raises(InputError, match="two samples"):
        choose_ridge(moments, scale=1.0, mean_square_norm=1.0)


@pytest.mark.parametrize("ridge", [0.0, -1.0, np.nan, np.inf])
def test_a_ridge_that_is_not_positive_is_refused(ridge):
    with pytest.raises(InputError, match="positive"):
        RidgeOptions(ridge=ridge)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=7), st.integers(0, 3))
def test_probabilities_are_the_nearest_point_of_the_simplex(scores, unseen):
    s = np.array([scores + [-np.inf] * unseen])
    expected = [*oracles.simplex_projection(np.array(scores)), *[0.0] * unseen]
    assert_allclose(simplex_projection(s)[0], expected, atol=1e-12)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6))
def test_scores_of_any_size_give_a_distribution(scores):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "overflow", RuntimeWarning)
        p = simplex_projection(np.array([scores]))
    assert p.sum() == pytest.approx(1.0)
    assert p[0, np.argmax(scores)] == p.max()


def test_a_distribution_is_left_as_it_is():
    assert_allclose(simplex_projection(np.array([[0.2, 0.5, 0.3]])), [[0.2, 0.5, 0.3]])
