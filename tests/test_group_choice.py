import numpy as np
import oracles
import pytest
from head_cases import SCALE
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import SEEDS, samples

from edge_cl.errors import InputError
from edge_cl.heads.gcv import choose_ridge
from edge_cl.heads.group_choice import choose_ridge_by_group
from edge_cl.moments import Moments

LAMBDAS = SCALE**2 * np.array([1e2, 1e4, 1e6, 1e9])


def by_group(q, y, group):
    return {f"g{g}": (q[group == g], y[group == g]) for g in np.unique(group).tolist()}


def choose(groups, candidates=LAMBDAS):
    return choose_ridge_by_group(groups, scale=SCALE, mean_square_norm=1.0, candidates=candidates)


def shared(y, group):
    """Whether a class has samples in two groups."""
    return any(len(set(group[y == c].tolist())) > 1 for c in set(y.tolist()))


def explicit(q, y, group, k):
    """Right answers (m, n), None where they do not count, and squared errors (m,)."""
    found = [oracles.held_out(q * SCALE, y, group, k, lam) for lam in LAMBDAS]
    return np.stack([right for right, _ in found]), np.array([error for _, error in found])


def separated(q, y, group, k):
    """Whether no answer hangs on the last digit, for any λ."""
    for g in np.unique(group):
        out = group == g
        seen = np.unique(y[~out])
        for lam in LAMBDAS:
            W = oracles.ridge(q[~out] * SCALE, y[~out], k, lam)[:, seen]
            scores = np.sort(q[out] * SCALE @ W, axis=1)
            size = np.abs(scores).max(initial=1e-12)
            if len(seen) > 1 and (np.diff(scores, axis=1)[:, -1] < 1e-6 * size).any():
                return False
    return True


@given(samples(), st.integers(2, 4), SEEDS)
def test_the_accuracy_is_that_of_explicit_fits_without_the_group(stream, groups, seed):
    q, y = stream
    group, k = np.random.default_rng(seed).integers(0, groups, len(q)), int(y.max()) + 1
    assume(shared(y, group) and separated(q, y, group, k))
    choice = choose(by_group(q, y, group))
    right, error = explicit(q, y, group, k)
    known = right[0] != None  # noqa: E711
    assert_allclose(choice.accuracy, right[:, known].mean(axis=1).astype(float))
    assert_allclose(choice.error * known.sum(), error, rtol=1e-6, atol=1e-6)
    for name, accuracy in choice.accuracy_of_group.items():
        own = known & (group == int(name[1:]))
        assert_allclose(accuracy, right[:, own].mean(axis=1).astype(float))
    unseen = {f"g{g}": int((~known & (group == g)).sum()) for g in np.unique(group)}
    assert choice.unseen == {name: count for name, count in unseen.items() if count}


@given(samples(max_n=60), st.integers(2, 4), SEEDS)
def test_the_choice_has_the_least_error_of_those_as_good_as_the_best(stream, groups, seed):
    q, y = stream
    group, k = np.random.default_rng(seed).integers(0, groups, len(q)), int(y.max()) + 1
    assume(shared(y, group) and separated(q, y, group, k))
    right, error = explicit(q, y, group, k)
    right = right[:, right[0] != None].astype(bool)  # noqa: E711
    best = right[np.argmax(right.sum(axis=1))]
    alike = {
        lam: e
        for lam, row, e in zip(LAMBDAS, right, error, strict=True)
        if (best & ~row).sum() - (row & ~best).sum() <= np.sqrt((best != row).sum())
    }
    choice = choose(by_group(q, y, group))
    assert alike[choice.ridge] <= min(alike.values()) * (1 + 1e-6) + 1e-9
    # so it is never far from the best of the sweep
    disagree = max((row != best).mean() for row in right)
    at = choice.accuracy[list(LAMBDAS).index(choice.ridge)]
    assert choice.accuracy.max() - at <= np.sqrt(disagree / right.shape[1]) + 1e-12


@given(samples(), SEEDS)
def test_the_order_of_groups_samples_and_candidates_does_not_matter(stream, seed):
    q, y = stream
    rng = np.random.default_rng(seed)
    group, k = rng.integers(0, 3, len(q)), int(y.max()) + 1
    assume(shared(y, group) and separated(q, y, group, k))
    choice, order = choose(by_group(q, y, group)), rng.permutation(len(q))
    groups = by_group(q[order], y[order], group[order])
    again = choose(dict(reversed(groups.items())), LAMBDAS[::-1])
    assert_allclose(again.accuracy, choice.accuracy)
    assert_allclose(again.error, choice.error, rtol=1e-6, atol=1e-9)
    at = list(LAMBDAS).index
    assert choice.error[at(again.ridge)] == pytest.approx(choice.error[at(choice.ridge)], abs=1e-6)


def test_a_class_of_one_group_alone_is_told_and_not_counted(rng):
    q, y = rng.integers(-900, 900, (40, 5)).astype(np.int16), np.arange(40) % 2
    group = np.arange(40) // 20
    y[35:] = 2
    choice = choose(by_group(q, y, group))
    assert choice.unseen == {"g1": 5}
    assert_allclose(choice.accuracy * 35, np.rint(choice.accuracy * 35))


def test_many_samples_are_answered_in_parts_alike(rng):
    y = np.arange(3000) % 3
    centres = rng.integers(-400, 400, (3, 6))
    q = (centres[y] + rng.integers(-300, 300, (3000, 6))).astype(np.int16)
    group = np.arange(3000) // 1500
    right = explicit(q, y, group, 3)[0][1].astype(bool)
    assert choose(by_group(q, y, group)).accuracy[1] == pytest.approx(right.mean(), abs=1e-9)


def test_where_frames_repeat_it_chooses_stronger_than_gcv_and_predicts_better(rng):
    """Six sessions of eight things, many alike frames of each; others to test on."""
    d, k, frames = 40, 8, 30
    centres = rng.standard_normal((k, d))

    def sessions(count):
        for _ in range(count):
            shift = 2.0 * rng.standard_normal((k, d))  # place and light, the same in all frames
            y = np.repeat(np.arange(k), frames)
            x = centres[y] + shift[y] + 0.02 * rng.standard_normal((len(y), d))
            yield (x / SCALE / 8).astype(np.int16), y

    parts = list(sessions(6))
    groups = {str(i): part for i, part in enumerate(parts)}
    q, y = (np.concatenate(column) for column in zip(*parts, strict=True))
    test, target = (np.concatenate(column) for column in zip(*sessions(20), strict=True))
    square = float(np.square(q * SCALE).sum(axis=1).mean())
    chosen = choose_ridge_by_group(groups, scale=SCALE, mean_square_norm=square)
    sums = Moments(d)
    sums.add(q, y)
    by_gcv = choose_ridge(sums, scale=SCALE, mean_square_norm=square)

    def accuracy(lam):
        fitted = test @ oracles.ridge(q * SCALE, y, k, lam) * SCALE
        return (fitted.argmax(axis=1) == target).mean()

    assert len(chosen.candidates) == 41
    assert_array_equal(chosen.candidates, by_gcv.candidates)
    assert chosen.ridge > 10 * by_gcv.ridge
    assert accuracy(chosen.ridge) > accuracy(by_gcv.ridge) + 0.05
    assert accuracy(chosen.ridge) > max(accuracy(lam) for lam in chosen.candidates) - 0.05


def test_fewer_than_two_groups_are_refused(rng):
    one = rng.integers(-9, 9, (4, 2)).astype(np.int16), np.zeros(4, int)
    for groups in ({}, {"a": one}, {"a": one, "empty": (one[0][:0], one[1][:0])}):
        with pytest.raises(InputError, match="two groups"):
            choose(groups)


def test_groups_without_a_class_in_common_are_refused(rng):
    q = rng.integers(-9, 9, (4, 2)).astype(np.int16)
    with pytest.raises(InputError, match="in two groups") as caught:
        choose({"a": (q, np.zeros(4, int)), "b": (q, np.ones(4, int))})
    assert caught.value.hint


def test_groups_of_another_width_are_refused(rng):
    q = rng.integers(-9, 9, (4, 2)).astype(np.int16)
    y = np.zeros(4, int)
    with pytest.raises(InputError, match="number of features"):
        choose({"a": (q, y), "b": (q[:, :1].copy(), y)})
