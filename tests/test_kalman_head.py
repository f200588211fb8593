"""What only the Kalman head promises: ridge where nothing drifts, drift followed, calibration."""

import math

import numpy as np
import oracles
import pytest
from head_cases import SCALE, Follower, batch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import SEEDS, samples

from edge_cl.errors import ForgetError, InputError
from edge_cl.heads import KalmanOptions, RidgeOptions

STILL = KalmanOptions(forgetting=1.0)


def blobs(rng, n, d=12, k=4, spread=1.0):
    """Grid features of k classes that overlap."""
    centres = 300 * rng.normal(size=(k, d))
    y = rng.integers(0, k, n)
    q = centres[y] + 500 * spread * rng.normal(size=(n, d))
    return np.clip(q, -2047, 2047).astype(np.int16), y


def one_by_one(follower, q, y):
    """Learn in order; return the probability of each label just before, NaN for a new class."""
    found = np.full(len(q), np.nan)
    for i in range(len(q)):
        row = q[i : i + 1]
        if y[i] < follower.moments.k and follower.moments.n[y[i]]:
            found[i] = follower.head.probabilities(follower.scores(row), row)[0, y[i]]
        follower.learn(row, y[i : i + 1])
    return found


def with_alpha(options, follower, alpha):
    """The same head with another calibration."""
    other = Follower(options, follower.moments.d, follower.moments.copy())
    calibration = np.array([math.log(alpha), 1.0])
    other.head.restore({**follower.head.tensors(), "calibration": calibration})
    return other


def nll(follower, q, y):
    p = follower.head.probabilities(follower.scores(q), q)
    return -np.log(p[np.arange(len(y)), y]).mean()


@given(samples(max_n=100), st.sampled_from([0.5, 50.0]))
def test_without_forgetting_scores_are_those_of_ridge(stream, ridge):
    q, y = stream
    follower = Follower(KalmanOptions(forgetting=1.0, ridge=ridge), q.shape[1])
    for i in range(len(q)):
        follower.learn(q[i : i + 1], y[i : i + 1])
    expected = batch(RidgeOptions(ridge=ridge), q, y).scores(q)
    seen = follower.moments.n > 0
    assert_allclose(follower.scores(q)[:, seen], expected[:, seen], atol=1e-7)


@given(samples(max_n=60), st.sampled_from([0.999, 0.9, 0.3]))
def test_scores_and_probabilities_are_those_of_the_dense_process(stream, gamma):
    q, y = stream
    k = int(y.max()) + 1
    options = KalmanOptions(forgetting=gamma, ridge=2.0, noise=0.2)
    follower = Follower(options, q.shape[1])
    follower.learn(q, y)
    x = q * SCALE
    mean, covariance, _, _ = oracles.drifting_process(x, oracles.one_hot(y, k), 2.0, 0.2, gamma)
    prior = 0.2 / 2.0 * np.eye(q.shape[1])
    mean, covariance = gamma * mean, gamma**2 * covariance + (1 - gamma**2) * prior
    seen = follower.moments.n > 0
    scores = follower.scores(q)
    assert_allclose(scores[:, seen], (x @ mean)[:, seen], atol=1e-8)
    alpha = follower.head.alpha
    v = np.einsum("nd,de,ne->n", x, covariance, x)
    logits = alpha * (x @ mean)[:, seen] / np.sqrt(1 + math.pi * alpha**2 * v / 8)[:, None]
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = follower.head.probabilities(scores, q)
    assert_allclose(p[:, seen], e / e.sum(axis=1, keepdims=True), atol=1e-7)


@given(samples(), st.floats(1e-3, 1e3))
def test_the_answer_does_not_depend_on_the_calibration(stream, alpha):
    q, y = stream
    options = KalmanOptions()
    follower = Follower(options, q.shape[1])
    follower.learn(q, y)
    other = with_alpha(options, follower, alpha)
    scores = follower.scores(q)
    assert_array_equal(other.scores(q), scores)
    p = other.head.probabilities(scores, q)
    best = scores.argmax(axis=1)
    assert_array_equal(p[np.arange(len(p)), best], p.max(axis=1))


def test_with_no_memory_every_class_is_as_likely_as_the_next(rng):
    q, y = blobs(rng, 50)
    follower = Follower(KalmanOptions(forgetting=0.0), 12)
    follower.learn(q, y)
    assert_allclose(follower.head.probabilities(follower.scores(q), q), 0.25)


@pytest.mark.parametrize("ridge", [0.1, 10.0, 1000.0])
def test_calibration_is_learned(ridge, rng):
    """A strong λ makes scores small, a weak one does not: α must follow."""
    q, y = blobs(rng, 3000)
    options = KalmanOptions(forgetting=1.0, ridge=ridge)
    follower = Follower(options, 12)
    follower.learn(q[:2000], y[:2000])
    held_out = q[2000:], y[2000:]
    learned = nll(follower, *held_out)
    at = {a: nll(with_alpha(options, follower, a), *held_out) for a in np.geomspace(0.5, 500, 40)}
    assert learned < min(at.values()) + 0.01
    assert learned < max(at[a] for a in at if a < 1) - 0.05


def test_calibration_learned_lowers_the_loss_on_the_way(rng):
    q, y = blobs(rng, 1500)
    options = KalmanOptions(ridge=1e5)
    follower = Follower(options, 12)
    follower.learn(q[:500], y[:500])
    losses = []
    for row, label in zip(q[500:, None], y[500:, None], strict=True):
        losses.append([nll(f, row, label) for f in (follower, with_alpha(options, follower, 8.0))])
        follower.learn(row, label)
    learned, left = np.mean(losses, axis=0)
    assert learned < left - 0.1


@given(samples(max_n=60))
def test_from_the_moments_it_is_the_same_posterior(stream):
    q, y = stream
    streamed = Follower(STILL, q.shape[1])
    for i in range(len(q)):
        streamed.learn(q[i : i + 1], y[i : i + 1])
    one, other = (with_alpha(STILL, f, 5.0) for f in (streamed, batch(STILL, q, y)))
    at = np.concatenate([q, -q, q // 3])
    scores = one.scores(at)
    assert_allclose(other.scores(at), scores, atol=1e-7)
    # v is given with σ², so this holds Σ e²/s = N - tr(QᵀW) too
    p, p2 = (f.head.probabilities(scores, at) for f in (one, other))
    assert_allclose(p2, p, atol=1e-6)


@given(samples(), samples(max_n=20))
def test_another_heads_state_goes_on_from_its_moments(known, later):
    d = min(known[0].shape[1], later[0].shape[1])
    (q, y), (r, z) = ((np.ascontiguousarray(part[0][:, :d]), part[1]) for part in (known, later))
    before = batch(RidgeOptions(), q, y)
    opened = Follower(KalmanOptions(), d, before.moments)
    opened.learn(r, z)
    expected = batch(KalmanOptions(), q, y)
    expected.scores(q)
    expected.learn(r, z)
    assert_allclose(
        opened.scores(r)[:, opened.moments.n > 0],
        expected.scores(r)[:, expected.moments.n > 0],
        atol=1e-9,
    )


def test_it_follows_labels_that_are_permuted_where_ridge_does_not(rng):
    q, y = blobs(rng, 4000, spread=0.7)
    y[2000:] = (y[2000:] + 1) % 4
    right = {}
    for options in (KalmanOptions(), STILL):
        follower = Follower(options, 12)
        follower.learn(q[:2500], y[:2500])
        hits = []
        for i in range(2500, 4000):
            hits.append(follower.scores(q[i : i + 1])[0].argmax() == y[i])
            follower.learn(q[i : i + 1], y[i : i + 1])
        right[options] = np.mean(hits)
    assert right[KalmanOptions()] > right[STILL] + 0.2


def test_probabilities_stay_calibrated_while_the_world_changes(rng):
    q, y = blobs(rng, 4000, spread=0.7)
    y[2000:] = (y[2000:] + 1) % 4
    loss = {
        options: -np.log(one_by_one(Follower(options, 12), q, y)[200:]).mean()
        for options in (KalmanOptions(), STILL)
    }
    assert loss[KalmanOptions()] < loss[STILL] - 0.05
    assert loss[KalmanOptions()] < math.log(4)  # better than to know nothing


def test_with_the_clock_of_calls_what_was_known_the_night_before_is_calibrated(rng):
    """Days that differ: within a day samples are alike, the next one is another."""
    days, n = 120, 40
    q, y = blobs(rng, days * n, k=2, spread=0.7)
    y = np.where(rng.random(days).repeat(n) < 0.2, 1 - y, y)  # some days are upside down
    loss = {}
    for clock in ("sample", "call"):
        follower, losses = Follower(KalmanOptions(clock=clock), 12), []
        for day in range(days):
            rows = slice(day * n, (day + 1) * n)
            if day > 30:
                losses.append(nll(follower, q[rows], y[rows]))
            follower.learn(q[rows], y[rows])
        loss[clock] = np.mean(losses)
    assert loss["call"] < loss["sample"] - 0.1
    assert loss["call"] < math.log(2) + 0.01


def test_where_a_call_is_a_sample_the_clocks_agree(rng):
    q, y = blobs(rng, 400)
    one, other = (Follower(KalmanOptions(forgetting=0.9, clock=c), 12) for c in ("sample", "call"))
    for i in range(len(q)):
        for follower in (one, other):
            follower.learn(q[i : i + 1], y[i : i + 1])
    assert_allclose(other.scores(q), one.scores(q), atol=1e-9)
    assert math.isclose(other.head.alpha, one.head.alpha, rel_tol=1e-6)
    assert one.head.alpha != 8.0


def test_a_class_that_is_absent_fades(rng):
    gamma, n = 0.98, 100
    follower = Follower(KalmanOptions(forgetting=gamma, ridge=1.0), 4)
    q = np.diag([900, 900, 900, 900]).astype(np.int16)
    follower.learn(q[:1], np.array([0]))
    before = follower.scores(q[:1])[0, 0]
    follower.learn(np.repeat(q[1:2], n, axis=0), np.ones(n, int))  # elsewhere
    assert math.isclose(follower.scores(q[:1])[0, 0], before * gamma**n, rel_tol=1e-9)


@given(SEEDS)
def test_what_is_far_from_all_that_was_learned_is_less_certain(seed):
    rng = np.random.default_rng(seed)
    q, y = blobs(rng, 300)
    q[:, 6:] = 0
    follower = Follower(KalmanOptions(), 12)
    follower.learn(q, y)
    strange = q.copy()
    strange[:, 6:] = 2000  # where no data were: scores do not move, v does
    scores = follower.scores(q)
    known, unknown = (follower.head.probabilities(scores, at).max(axis=1) for at in (q, strange))
    assert (unknown <= known + 1e-12).all()
    assert unknown.mean() < known.mean()


def test_the_way_out_is_named_when_forgetting_is_refused(rng):
    q, y = blobs(rng, 5)
    follower = Follower(KalmanOptions(), 12)
    follower.learn(q, y)
    with pytest.raises(ForgetError) as refused:
        follower.head.update(q[:1], y[:1], -1)
    assert "ridge" in refused.value.hint
    assert follower.head.repairs == 0
    assert 0.9 < follower.head.gamma <= 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"forgetting": 1.1},
        {"forgetting": -0.1},
        {"forgetting": math.nan},
        {"ridge": 0.0},
        {"ridge": math.inf},
        {"noise": 0.0},
        {"noise": math.nan},
        {"clock": "day"},
    ],
)
def test_options_that_mean_nothing_are_refused(wrong):
    with pytest.raises(InputError):
        KalmanOptions(**wrong)
