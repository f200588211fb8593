import numpy as np
import oracles
import pytest
from head_cases import SCALE, Follower, batch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.covariance import ledoit_wolf, oas
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from strategies import SEEDS

from edge_cl.errors import InputError
from edge_cl.features import RandomFourier, feature_map
from edge_cl.heads import LDAOptions, build_head
from edge_cl.heads.shrinkage import fourth_about_the_mean, ledoit_wolf_shrinkage, oas_shrinkage
from edge_cl.heads.substitution import solve_spd
from edge_cl.manifest import EmbeddingSpec
from edge_cl.moments import Moments


@st.composite
def clouds(draw):
    """Correlated classes with at least two samples each, far from the origin; q, y, k."""
    d, k, n = draw(st.integers(1, 7)), draw(st.integers(2, 4)), draw(st.integers(10, 60))
    rng = np.random.default_rng(draw(SEEDS))
    y = np.concatenate([np.repeat(np.arange(k), 2), rng.integers(0, k, n)])
    mixed = rng.standard_normal((len(y), d)) @ rng.standard_normal((d, d))
    q = 300 * rng.standard_normal((k, d))[y] + 100 * mixed + 400 * rng.standard_normal(d)
    q = np.clip(q, -2047, 2047).astype(np.int16)
    assume(oracles.centred(q.astype(float), y, k).any())  # else the oracles have no inverse
    return q, y, k


def up_to_an_offset(a):
    return a - a.mean(axis=1, keepdims=True)


@given(clouds(), st.sampled_from([0.02, 0.3, 1.0]))
def test_scores_are_the_definition(cloud, rho):
    q, y, k = cloud
    x = q.astype(float)
    r, d = oracles.centred(x, y, k), x.shape[1]
    covariance = r.T @ r / (len(x) - k)
    shrunk = (1 - rho) * covariance + rho * np.trace(covariance) / d * np.eye(d)
    assert_allclose(
        batch(LDAOptions(shrinkage=rho), q, y).scores(q),
        oracles.lda_scores(x, y, k, shrunk, x),
        rtol=1e-7,
        atol=1e-7,
    )


@given(clouds(), st.sampled_from([0.01, 0.4]))
def test_scores_are_those_of_scikit_learn_up_to_an_offset_a_row(cloud, rho):
    q, y, k = cloud
    x, d = q.astype(float), q.shape[1]
    priors = np.full(k, 1 / k)
    # scikit-learn pools with weights given by the priors: hand it our pooled covariance
    r = oracles.centred(x, y, k)
    covariance = r.T @ r / (len(x) - k)
    assume(np.trace(covariance) > 1e-9 * np.square(x).sum() / len(x))  # else it is rounding
    shrunk = (1 - rho) * covariance + rho * np.trace(covariance) / d * np.eye(d)

    class Given:
        def fit(self, _):
            self.covariance_ = shrunk
            return self

    reference = LinearDiscriminantAnalysis(
        solver="lsqr", priors=priors, covariance_estimator=Given()
    ).fit(x, y)
    ours = batch(LDAOptions(shrinkage=rho), q, y)
    theirs = x @ reference.coef_.T + reference.intercept_ if k > 2 else None
    if theirs is not None:
        assert_allclose(
            up_to_an_offset(ours.scores(q)), up_to_an_offset(theirs), rtol=1e-6, atol=1e-6
        )
    assert_allclose(
        ours.head.probabilities(ours.scores(q), q), reference.predict_proba(x), atol=1e-6
    )


@given(clouds())
def test_oas_is_that_of_scikit_learn(cloud):
    q, y, k = cloud
    r = oracles.centred(q.astype(float), y, k)
    # n rows that have the pooled covariance S / (N - k) and N - k of them: rotate, drop zeros
    n = len(q) - k
    rotated = np.linalg.svd(r, full_matrices=False)
    rows = np.zeros((n, q.shape[1]))
    m = min(n, len(rotated.S))
    rows[:m] = rotated.S[:m, None] * rotated.Vh[:m]
    covariance = r.T @ r / n
    if len(r.T) > 1:
        _, rho = oas(rows, assume_centered=True)
        assert oas_shrinkage(covariance, n) == pytest.approx(rho, rel=1e-6)
    assert 0 <= oas_shrinkage(covariance, n) <= 1


@given(clouds())
def test_the_default_shrinks_by_oas(cloud):
    q, y, k = cloud
    r = oracles.centred(q.astype(float), y, k)
    rho = oas_shrinkage(r.T @ r / (len(q) - k), len(q) - k)
    assert_allclose(
        batch(LDAOptions(), q, y).scores(q),
        batch(LDAOptions(shrinkage=max(rho, 1e-6)), q, y).scores(q),
        rtol=1e-5,
        atol=1e-5,
    )


@given(clouds(), st.sampled_from([1e-6, 0.1, 1.0]), st.sampled_from([None, 1e-3, 1.0, 100.0]))
def test_total_covariance_is_that_of_all_samples_streamed_one_by_one(cloud, rho, absolute):
    q, y, k = cloud
    options = LDAOptions(shrinkage=rho, covariance="total", absolute=absolute)
    follower = Follower(options, q.shape[1])
    for i in range(len(q)):
        follower.learn(q[i : i + 1], y[i : i + 1])
    x, unit = q * SCALE, np.eye(q.shape[1])
    total = oracles.total_covariance(x)
    shrunk = (1 - rho) * total + (rho * np.trace(total) / len(unit) + (absolute or 0)) * unit
    expected = oracles.lda_scores(x, y, k, shrunk, x)
    assert_allclose(follower.scores(q), expected, rtol=1e-6, atol=1e-6)


@given(clouds(), st.sampled_from([1e-4, 1.0, 1e4]))
def test_an_absolute_floor_is_in_squared_feature_units(cloud, absolute):
    q, y, k = cloud
    x = q * SCALE
    r, unit = oracles.centred(x, y, k), np.eye(q.shape[1])
    within = r.T @ r / (len(x) - k)
    floored = 0.9 * within + (0.1 * np.trace(within) / len(unit) + absolute) * unit
    assert_allclose(
        batch(LDAOptions(shrinkage=0.1, absolute=absolute), q, y).scores(q),
        oracles.lda_scores(x, y, k, floored, x),
        rtol=1e-7,
        atol=1e-7,
    )


@given(clouds())
def test_total_shrinks_by_oas_of_the_centred_samples(cloud):
    q, y, _ = cloud
    covariance = oracles.total_covariance(q.astype(float))
    rho = oas_shrinkage(covariance, len(q) - 1)
    assert_allclose(
        batch(LDAOptions(covariance="total"), q, y).scores(q),
        batch(LDAOptions(covariance="total", shrinkage=max(rho, 1e-6)), q, y).scores(q),
        rtol=1e-5,
        atol=1e-5,
    )


@st.composite
def streams(draw):
    """Moments with norms, after learning in pieces and forgetting some; and what is left in."""
    q, y, _ = draw(clouds())
    moments = Moments(q.shape[1], statistics=("norms",))
    half, gone = len(q) // 2, draw(st.integers(0, len(q) // 3))
    moments.add(q[half:], y[half:])
    moments.add(q[:half], y[:half])
    moments.subtract(q[:gone], y[:gone])
    x = q[gone:].astype(float)
    assume(len(x) > 2 and len(x.T) > 1 and np.square(x - x.mean(axis=0)).sum() > 1)
    return moments, x


@given(streams())
def test_ledoit_wolf_is_that_of_scikit_learn_on_centred_rows(stream):
    moments, x = stream
    z = x - x.mean(axis=0)
    assert fourth_about_the_mean(moments) == pytest.approx(
        np.square(np.square(z).sum(axis=1)).sum(), rel=1e-6
    )
    _, rho = ledoit_wolf(z, assume_centered=True)
    ours = ledoit_wolf_shrinkage(z.T @ z, len(z), fourth_about_the_mean(moments))
    assert ours == pytest.approx(rho, rel=1e-6, abs=1e-9)


@given(clouds())
def test_total_shrinks_by_ledoit_wolf_of_the_centred_samples(cloud):
    q, y, _ = cloud
    assume(q.shape[1] > 1)
    _, rho = ledoit_wolf(q - q.mean(axis=0), assume_centered=True)
    assert_allclose(
        batch(LDAOptions(covariance="total", shrinkage="ledoit-wolf"), q, y).scores(q),
        batch(LDAOptions(covariance="total", shrinkage=min(1.0, max(rho, 1e-6))), q, y).scores(q),
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_sphere_stays_one_and_many_samples_are_hardly_shrunk(rng):
    assert ledoit_wolf_shrinkage(np.eye(3), 4, 1.0) == 1.0  # already a sphere
    x = rng.standard_normal((50_000, 3)) * [1, 2, 9]
    fourth = np.square(np.square(x).sum(axis=1)).sum()
    assert 0 < ledoit_wolf_shrinkage(x.T @ x, len(x), fourth) < 1e-3


@pytest.mark.parametrize("options", [{}, {"covariance": "total", "members": 2}])
def test_ledoit_wolf_is_refused_where_its_sums_are_not_kept(options):
    with pytest.raises(InputError, match="total covariance and one member"):
        LDAOptions(shrinkage="ledoit-wolf", **options)


# -- ensembles, and random features ----------------------------------------------------------


@given(clouds(), st.sampled_from([1, 2, 3]), st.sampled_from([0.05, 0.5]))
def test_an_ensemble_is_the_mean_posterior_of_the_members_alone(cloud, members, rho):
    q, y, _ = cloud
    d = q.shape[1]
    wide = np.concatenate([np.roll(q, e, axis=0) // (e + 1) for e in range(members)], axis=1)
    wide = wide.astype(np.int16)
    moments = Moments(d * members)
    moments.add(wide, y)
    options = LDAOptions(shrinkage=rho, members=members)
    head = build_head(options, moments, scale=SCALE, mean_square_norm=1.0)
    alone = [
        oracles.posterior(batch(LDAOptions(shrinkage=rho), part, y).scores(part))
        for part in np.split(wide, members, axis=1)
    ]
    mean = (sum(alone) / members).astype(float)
    scores = head.scores(wide)
    assert_allclose(head.probabilities(scores, wide), mean, atol=1e-9)
    if members > 1:
        known = mean > 1e-200
        assert np.isfinite(scores).all()
        assert_allclose(scores[known], np.log(mean[known]), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("members", [4, 5, 7])
def test_members_that_do_not_divide_the_features_are_refused(members):
    with pytest.raises(InputError, match=f"divisor of 6 features, got {members}"):
        build_head(LDAOptions(members=members), Moments(6), scale=1.0, mean_square_norm=1.0)


@pytest.mark.parametrize("members", [0, -1])
def test_no_members_are_refused(members):
    with pytest.raises(InputError, match="members >= 1"):
        LDAOptions(members=members)


def fourier_features(rng):
    """Random Fourier features of three classes; the order of samples is random."""
    y = rng.permutation(np.arange(240) % 3)
    x = 2 * rng.standard_normal((3, 5))[y] + rng.standard_normal((240, 5))
    space = EmbeddingSpec(d=5, scale=2.0**-8, signed=True, mean_square_norm=25.0)
    return feature_map(RandomFourier(m=40, gamma=0.05), space)(x.astype(np.float32)), y


@pytest.mark.parametrize("parts", [1, 3, 240])
def test_the_scatter_of_kernel_features_is_exact_over_any_batches(parts, rng):
    q, y = fourier_features(rng)
    follower = Follower(LDAOptions(shrinkage=0.01), q.shape[1])
    for part in np.array_split(np.arange(len(q)), parts):
        follower.learn(q[part], y[part])
    h = q.astype(float)
    r = oracles.centred(h, y, 3)
    covariance, unit = r.T @ r / (len(h) - 3), np.eye(h.shape[1])
    shrunk = 0.99 * covariance + 0.01 * np.trace(covariance) / len(unit) * unit
    expected = oracles.lda_scores(h, y, 3, shrunk, h)
    assert_allclose(follower.scores(q), expected, rtol=1e-6, atol=1e-6)


def test_the_published_scatter_of_kernel_features_needs_each_class_in_one_batch(rng):
    q, y = fourier_features(rng)
    h = q.astype(float)
    r = oracles.centred(h, y, 3)
    exact = r.T @ r

    def error(batches):
        S = oracles.published_klda_scatter([(h[b], y[b]) for b in batches], h.shape[1], 3)
        return np.linalg.norm(S - exact) / np.linalg.norm(exact)

    assert error([np.flatnonzero(y == c) for c in range(3)]) < 1e-12
    assert error(np.array_split(np.arange(240), 3)) > 0.003
    assert error(np.array_split(np.argsort(h[:, 0]), 3)) > 0.01  # batches that drift


@given(st.integers(1, 200), st.sampled_from([1, 2, 9, 250]), SEEDS)
def test_solving_without_an_inverse_solves(d, k, seed):
    rng = np.random.default_rng(seed)
    x, b = rng.standard_normal((d + 3, d)), rng.standard_normal((d, k))
    A = x.T @ x + 1e-3 * np.eye(d)
    kept = A.copy(), b.copy()
    residual = A @ solve_spd(A, b) - b
    assert np.abs(residual).max() <= 1e-9 * max(1.0, np.abs(solve_spd(A, b)).max() * d)
    np.testing.assert_array_equal(A, kept[0])
    np.testing.assert_array_equal(b, kept[1])


def test_an_absolute_floor_alone_is_the_euclidean_rule(rng):
    q, y = rng.integers(-900, 900, (3, 4)).astype(np.int16), np.arange(3)
    x, at = q * SCALE, rng.integers(-900, 900, (20, 4)).astype(np.int16)
    scores = batch(LDAOptions(absolute=2.0), q, y).scores(at)  # one sample a class: S = 0
    assert_allclose(scores, (at * SCALE @ x.T - np.square(x).sum(axis=1) / 2) / 2.0, rtol=1e-9)


def test_of_two_balanced_classes_total_gives_the_direction_of_within(rng):
    y = np.arange(40) % 2
    q = (300 * rng.standard_normal((2, 5))[y] + 100 * rng.standard_normal((40, 5))).astype(np.int16)
    answers = [
        batch(LDAOptions(shrinkage=1e-6, covariance=c), q, y).scores(q).argmax(axis=1)
        for c in ("within", "total")
    ]
    np.testing.assert_array_equal(*answers)


def test_the_published_streaming_recursion_is_another_rule(rng):
    k, d = 5, 8
    y = np.tile(np.arange(k), 5)
    q = (900 * rng.standard_normal((k, d))[y] + 40 * rng.standard_normal((25, d))).clip(-2047, 2047)
    x = q.astype(np.int16).astype(float)
    r = oracles.centred(x, y, k)
    exact, published = r.T @ r / len(x), oracles.published_streaming_covariance(x, y, k)
    assert np.linalg.norm(published - exact) > 3 * np.linalg.norm(exact)
    ours = batch(LDAOptions(shrinkage=1e-6), x.astype(np.int16), y).scores(x.astype(np.int16))
    theirs = oracles.lda_scores(x, y, k, published * len(x) / (len(x) - k), x)
    assert np.abs(up_to_an_offset(ours) - up_to_an_offset(theirs)).max() > 1.0


@pytest.mark.parametrize("shrinkage", [0.0, 1e-7, 1.1, -0.1, np.nan, np.inf, "lw", ""])
def test_a_shrinkage_that_leaves_no_inverse_is_refused(shrinkage):
    with pytest.raises(InputError, match="shrinkage"):
        LDAOptions(shrinkage=shrinkage)


@pytest.mark.parametrize("absolute", [0.0, -1.0, np.nan, np.inf])
def test_an_absolute_floor_that_is_not_positive_is_refused(absolute):
    with pytest.raises(InputError, match="absolute"):
        LDAOptions(absolute=absolute)


def test_an_unknown_covariance_is_refused():
    with pytest.raises(InputError, match="within or total"):
        LDAOptions(covariance="pooled")
