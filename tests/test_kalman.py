"""The Kalman filter against a dense Gaussian process, ridge, and a long double recursion."""

import math
import os

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import SEEDS

from edge_cl.errors import StateError
from edge_cl.heads.drift_rate import DriftRate, log_predictive_slope
from edge_cl.heads.kalman_filter import KalmanFilter

STEPS = 1_000_000 if os.environ.get("EDGE_CL_NIGHTLY") else 200_000

GAMMAS = st.sampled_from([1.0, 0.999, 0.97, 0.5, 0.01, 0.0])


@st.composite
def streams(draw, max_n=150):
    """Features (n, d) and values (n, K); some rows are zero, some repeat the one before."""
    rng = np.random.default_rng(draw(SEEDS))
    n, d, K = draw(st.integers(1, max_n)), draw(st.integers(1, 8)), draw(st.integers(1, 3))
    x = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-1, 2)
    x[rng.random(n) < 0.1] = 0.0
    for i in np.flatnonzero(rng.random(n) < 0.2)[1:]:
        x[i] = x[i - 1]
    return x, rng.normal(size=(n, K))


def learned(x, Y, **options):
    """A filter that has learned all samples, and the log-predictive of each before."""
    following = KalmanFilter(x.shape[1], Y.shape[1], **options)
    log_p = []
    for row, y in zip(x, Y, strict=True):
        mean, variance, noise = following.learn(row, y)
        s = noise * (1 + variance)
        log_p.append(-np.sum(np.log(2 * np.pi * s) + (y - mean) ** 2 / s) / 2 if s.all() else 0.0)
    return following, np.array(log_p)


def close(actual, expected, tolerance=1e-9):
    assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * (1 + np.abs(expected).max()))


@given(streams(), st.sampled_from([0.01, 1.0, 30.0]))
def test_without_forgetting_it_is_ridge(stream, lam):
    x, Y = stream
    following, _ = learned(x, Y, ridge=lam, forgetting=1.0)
    P = np.linalg.inv(x.T @ x + lam * np.eye(x.shape[1]))
    close(following.mean, P @ x.T @ Y)
    close(following.covariance.dense(), P)


@given(streams(), GAMMAS, st.sampled_from([0.1, 2.0]))
def test_it_is_the_dense_gaussian_process(stream, gamma, lam):
    x, Y = stream
    following, log_p = learned(x, Y, ridge=lam, forgetting=gamma, noise=0.3)
    mean, covariance, log_likelihood, _ = oracles.drifting_process(x, Y, lam, 0.3, gamma)
    close(following.mean, mean)
    close(0.3 * following.covariance.dense(), covariance)
    assert math.isclose(log_p.sum(), log_likelihood, rel_tol=1e-9, abs_tol=1e-8)


@given(streams(), GAMMAS, SEEDS)
def test_samples_learned_together_are_of_one_moment(stream, gamma, seed):
    x, Y = stream
    cuts = np.unique(np.random.default_rng(seed).integers(0, len(x), 5))
    following, t = KalmanFilter(x.shape[1], Y.shape[1], ridge=2.0, forgetting=gamma), []
    for i, part in enumerate(p for p in np.split(np.arange(len(x)), cuts) if len(p)):
        following.learn_together(x[part], Y[part])
        t += [i] * len(part)
    best = oracles.drifting_process(x, Y, 2.0, 1.0, gamma, np.array(t))
    close(following.mean, best[0])
    close(following.covariance.dense(), best[1])
    close(following.noise, np.full(Y.shape[1], best[3].mean()))


@given(streams())
def test_one_sample_together_is_one_sample(stream):
    x, Y = stream
    one, other = (KalmanFilter(x.shape[1], Y.shape[1], ridge=2.0) for _ in range(2))
    for i in range(len(x)):
        one.learn(x[i], Y[i])
        other.learn_together(x[i : i + 1], Y[i : i + 1])
    close(one.mean, other.mean, 1e-7)
    assert math.isclose(one.drift.delta, other.drift.delta, rel_tol=1e-5, abs_tol=1e-12)


@given(streams(), GAMMAS)
def test_the_noise_learned_is_the_most_likely(stream, gamma):
    x, Y = stream
    each, _ = learned(x, Y, ridge=1.0, forgetting=gamma, noise="each")
    shared, _ = learned(x, Y, ridge=1.0, forgetting=gamma, noise="shared")
    best = oracles.drifting_process(x, Y, 1.0, 1.0, gamma)[3]
    close(each.noise, best)
    close(shared.noise, np.full(len(best), best.mean()))
    close(each.mean, shared.mean)  # weights do not know the noise


@given(streams(), st.sampled_from([0.9, 0.999]))
def test_what_it_expects_is_what_it_then_learns_with(stream, gamma):
    x, Y = stream
    following = KalmanFilter(x.shape[1], Y.shape[1], ridge=0.5, forgetting=gamma)
    for row, y in zip(x, Y, strict=True):
        mean, variance = following.expected(row[None])[0], following.variance(row[None])[0]
        innovation = following.learn(row, y)
        close(mean, innovation.mean)
        close(variance, innovation.variance)


@given(streams())
def test_with_no_memory_nothing_is_ever_expected(stream):
    x, Y = stream
    following, _ = learned(x, Y, ridge=2.0, forgetting=0.0)
    assert not following.expected(x).any()
    assert_allclose(following.variance(x), np.square(x).sum(axis=1) / 2.0, rtol=1e-12)


@given(streams(), GAMMAS, st.integers(0, 200), st.integers(0, 200))
def test_silent_steps_add_up(stream, gamma, first, second):
    x, Y = stream
    one, _ = learned(x, Y, ridge=1.0, forgetting=gamma)
    other, _ = learned(x, Y, ridge=1.0, forgetting=gamma)
    one.silence(first)
    one.silence(second)
    other.silence(first + second)
    close(one.mean, other.mean)
    close(one.covariance.dense(), other.covariance.dense())
    steps = float(gamma) ** (first + second)
    before, _ = learned(x, Y, ridge=1.0, forgetting=gamma)
    close(one.mean, steps * before.mean)
    close(
        one.covariance.dense(),
        steps**2 * before.covariance.dense() + (1 - steps**2) * np.eye(x.shape[1]),
    )


@given(streams(max_n=300), st.sampled_from([1e-3, 1.0, 1e3]))
def test_the_covariance_stays_between_nothing_and_the_prior(stream, lam):
    x, Y = stream
    following = KalmanFilter(x.shape[1], Y.shape[1], ridge=lam)
    for i, (row, y) in enumerate(zip(x, Y, strict=True)):
        assert following.learn(row, y).variance >= 0.0
        if i % 37 == 0:
            P = following.covariance.dense()
            assert_allclose(P, P.T, rtol=0, atol=1e-13 / lam)
            values = np.linalg.eigvalsh(P)
            assert values[0] > 0
            assert values[-1] <= (1 + 1e-12) / lam
    assert following.covariance.repairs == 0


@given(streams(), st.floats(1e-6, 5.0), SEEDS)
def test_the_slope_is_that_of_the_log_predictive(stream, delta, seed):
    rng = np.random.default_rng(seed)
    mu0, y, noise = rng.normal(size=(3, 4))
    noise, v0, prior = np.abs(noise) + 0.1, rng.uniform(0, 2), rng.uniform(2, 4)

    def log_p(delta):
        gamma = math.exp(-delta / 2)
        s = noise * (gamma**2 * v0 + (1 - gamma**2) * prior + 1)
        return -np.sum(np.log(2 * np.pi * s) + (y - gamma * mu0) ** 2 / s) / 2

    step = 1e-5 * delta
    measured = (log_p(delta + step) - log_p(delta - step)) / (2 * step)
    slope = log_predictive_slope(math.exp(-delta / 2), mu0, v0, prior, y, noise)
    assert math.isclose(slope, measured, rel_tol=1e-4, abs_tol=1e-5 * (1 + 1 / delta))


@given(SEEDS)
def test_the_drift_is_never_negative_and_survives_any_slope(seed):
    rng = np.random.default_rng(seed)
    drift = DriftRate(None)
    for size in 10.0 ** rng.integers(-150, 140, 200):
        mu0, y = rng.normal(size=(2, 3)) * size
        drift.follow(mu0, rng.uniform(0, 1), 1.0, y, np.full(3, rng.choice([0.0, 1e-9, 1.0])))
        assert 0.0 <= drift.delta <= 100.0
        assert 0.0 <= drift.gamma <= 1.0


def permuted(rng, n, every):
    """One-hot labels of five blobs; every `every` samples, the names are permuted."""
    centres = 0.7 * rng.normal(size=(5, 20))
    y = rng.integers(0, 5, n)
    x = np.abs(rng.normal(size=(n, 20)) + centres[y])
    for start in range(every, n, every):
        y[start : start + every] = rng.permutation(5)[y[start : start + every]]
    return x, oracles.one_hot(y, 5)


def drift_of(x, Y):
    following = KalmanFilter(x.shape[1], Y.shape[1], ridge=0.3 * np.square(x).sum(axis=1).mean())
    deltas = []
    for row, y in zip(x, Y, strict=True):
        following.learn(row, y)
        deltas.append(following.drift.delta)
    return np.array(deltas)


def test_a_memory_shorter_than_allowed_is_not_learned(rng):
    """Weights that are new after a few samples, and hardly any noise."""
    shortest = 50.0
    bounded, free = (
        KalmanFilter(4, 2, ridge=0.1, noise=0.05, **o) for o in ({"shortest": shortest}, {})
    )
    W = rng.normal(size=(4, 2))
    for x in rng.normal(size=(3000, 4)):
        W = 0.8 * W + 0.6 * rng.normal(size=W.shape)
        for following in (bounded, free):
            following.learn(x, x @ W)
    assert 1 / (1 - free.drift.gamma**2) < 10
    assert 1 / (1 - bounded.drift.gamma**2) == pytest.approx(shortest)


def test_no_drift_is_found_in_a_stationary_stream(rng):
    assert np.median(drift_of(*permuted(rng, 6000, 6000))[1000:]) < 1e-4


def test_drift_is_found_after_labels_are_permuted_and_fades(rng):
    deltas = drift_of(*permuted(rng, 9000, 3000))
    for start in (3000, 6000):
        before = np.median(deltas[start - 1000 : start])
        assert deltas[start : start + 400].max() > max(1e-3, 5 * before)
    assert np.median(deltas[-500:]) < deltas[6000:6400].max() / 5


def test_with_the_noise_given_the_true_drift_is_found(rng):
    delta, d, n = 1e-3, 10, 12_000
    gamma = math.exp(-delta / 2)
    x, w, Y = rng.normal(size=(n, d)), rng.normal(size=d), np.empty((n, 1))
    for t in range(n):
        w = gamma * w + math.sqrt(1 - gamma**2) * rng.normal(size=d)
        Y[t] = x[t] @ w + rng.normal()
    following = KalmanFilter(d, 1, ridge=1.0, noise=1.0)
    found = []
    for row, y in zip(x, Y, strict=True):
        following.learn(row, y)
        found.append(following.drift.delta)
    assert delta / 2 < np.median(found[4000:]) < 2 * delta


def hard_case(rng):
    """Section 4.6 of the notes on numerics: features x 30, each row three times, tiny noise."""
    x = np.repeat(30 * rng.normal(size=(200, 16)), 3, axis=0)
    return x, x @ rng.normal(size=(16, 2)) / 30 + 0.01 * rng.normal(size=(600, 2))


def test_the_hard_case_keeps_its_digits(rng):
    x, Y = hard_case(rng)
    lam = 1e-6  # noise 1e-4 over a prior variance of 100
    following, _ = learned(x, Y, ridge=lam, forgetting=1.0)
    M = oracles.drifting_recursion(x, Y, lam, np.ones(len(x)))[0]
    assert following.covariance.repairs == 0
    assert_allclose(following.mean, M, rtol=0, atol=1e-4 * np.abs(M).max())
    assert np.linalg.eigvalsh(following.covariance.dense())[0] > 0


def test_lost_definiteness_is_repaired_and_counted(rng):
    x, Y = hard_case(rng)
    following = KalmanFilter(16, 2, ridge=1e-14, forgetting=1.0)
    for row, y in zip(x * 1e3, Y, strict=True):
        assert following.learn(row, y).variance > 0
    assert following.covariance.repairs > 0
    assert np.isfinite(following.mean).all()
    assert following.tensors()["covariance"][4] == following.covariance.repairs


@given(streams())
def test_forged_tensors_are_refused(stream):
    x, Y = stream
    following, _ = learned(x, Y, ridge=1.0)
    again = KalmanFilter(x.shape[1], Y.shape[1], ridge=1.0)
    good = following.tensors()
    again.restore(good)
    before = again.tensors()
    wrong = {
        "covariance": [(0, 0.0), (0, 2.0), (1, -1.0), (1, 2.0), (2, 0.0), (2, 2.0)]
        + [(3, 64.0), (3, 0.5), (4, -1.0), (4, 0.5)],
        "filter": [(0, 0.0), (0, 2.0), (1, -1.0), (1, 1e9)]
        + [(2, -1e-9), (2, 1e3), (3, -1.0), (4, 1e9)],
    }
    for name, changes in wrong.items():
        for i, value in changes:
            forged = good[name].copy()
            forged[i] = value
            with pytest.raises(StateError):
                again.restore({**good, name: forged})
    eye = np.eye(x.shape[1])[np.tril_indices(x.shape[1])]
    for forged in (
        {"B": good["B"] - 1e6 * eye},
        {"B": good["B"] + 1e6 * eye},
        {"energy": -1.0 - good["energy"]},
    ):
        with pytest.raises(StateError):
            again.restore({**good, **forged})
    for name, a in again.tensors().items():
        assert_array_equal(a, before[name])


def stages(rng, d, steps):
    """Weights, and rows, of a stream in stages: drift, a stalled sensor, a plane, drift."""
    plane, stalled = rng.normal(size=(2, d)), 5 * rng.normal(size=d)
    yield 3 * steps // 10, lambda n: rng.normal(size=(n, d)) * (1 + 4 * (rng.random((n, 1)) < 0.01))
    yield steps // 10, lambda n: np.tile(stalled, (n, 1))
    yield 3 * steps // 10, lambda n: rng.normal(size=(n, 2)) @ plane
    yield 3 * steps // 10, lambda n: np.abs(rng.normal(size=(n, d)))


@pytest.mark.slow
@pytest.mark.parametrize("lam", [5.0, 1e-5])
def test_very_many_steps_stay_with_a_dense_recursion_in_long_double(lam, rng):
    d = 16
    following = KalmanFilter(d, 2, ridge=lam)
    w, x, Y, gammas = rng.normal(size=(d, 2)), [], [], []
    for n, rows in stages(rng, d, STEPS):
        for row in rows(n):
            w = 0.9999 * w + 0.014 * rng.normal(size=w.shape)
            y = row @ w + rng.normal(size=2)
            innovation = following.learn(row, y)
            assert 0 <= innovation.variance < math.inf
            x.append(row)
            Y.append(y)
            gammas.append(following.drift.gamma)
        values = np.linalg.eigvalsh(following.covariance.dense())
        assert values[0] > 0
        assert values[-1] <= (1 + 1e-9) / lam
        assert np.isfinite(following.mean).all()
    M, P = oracles.drifting_recursion(np.array(x), np.array(Y), lam, gammas)
    assert following.covariance.repairs == 0
    assert_allclose(following.mean, M, rtol=0, atol=1e-8 * np.abs(M).max())
    assert_allclose(following.covariance.dense(), P, rtol=0, atol=1e-8 * np.abs(P).max())
