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


def sums(q, y):
    moments = Moments(q.shape[1])
    moments.add(q, y)
    return moments


def by_group(q, y, group):
    return {f"g{g}": sums(q[group == g], y[group == g]) for g in np.unique(group).tolist()}


def choose(groups, candidates=LAMBDAS):
    return choose_ridge_by_group(groups, scale=SCALE, mean_square_norm=1.0, candidates=candidates)


def shared(y, group):
    """Whether a class has samples in two groups."""
    return any(len(set(group[y == c].tolist())) > 1 for c in set(y.tolist()))


@given(samples(), st.integers(2, 4), SEEDS)
def test_the_error_is_that_of_explicit_fits_without_the_group(stream, groups, seed):
    q, y = stream
    group = np.random.default_rng(seed).integers(0, groups, len(q))
    assume(shared(y, group))
    choice = choose(by_group(q, y, group))
    k = int(y.max()) + 1
    expected = [oracles.held_out_error(q * SCALE, y, group, k, lam) for lam in LAMBDAS]
    assert_allclose(choice.error * len(q), expected, rtol=1e-6, atol=1e-6)
    assert choice.ridge == LAMBDAS[np.argmin(choice.error)]
    total = sum(
        errors * (group == int(name[1:])).sum() for name, errors in choice.error_of_group.items()
    )
    assert_allclose(total, choice.error * len(q))


@given(samples(max_n=30), SEEDS)
def test_groups_of_one_sample_are_leave_one_out(stream, seed):
    q, y = stream
    group = np.arange(len(q))
    assume(shared(y, group))
    choice = choose(by_group(q, y, group))
    X, Y = q * SCALE, oracles.one_hot(y, int(y.max()) + 1)
    for lam, error in zip(LAMBDAS, choice.error, strict=True):
        # the residual of a sample left out, from the hat matrix: r_i / (1 - h_i)
        H = X @ np.linalg.solve(X.T @ X + lam * np.eye(X.shape[1]), X.T)
        left_out = (Y - H @ Y) / (1 - np.diag(H))[:, None]
        assert_allclose(error * len(q), np.square(left_out).sum(), rtol=1e-5, atol=1e-6)


@given(samples(), SEEDS)
def test_the_order_and_the_names_of_groups_do_not_matter(stream, seed):
    q, y = stream
    group = np.random.default_rng(seed).integers(0, 3, len(q))
    assume(shared(y, group))
    groups = by_group(q, y, group)
    again = choose(dict(reversed(groups.items())))
    assert_allclose(again.error, choose(groups).error, rtol=1e-9)


def test_a_class_of_one_group_alone_is_counted_and_costs_what_it_scores(rng):
    q, y = rng.integers(-900, 900, (40, 5)).astype(np.int16), np.arange(40) % 2
    group = np.arange(40) // 20
    y[35:] = 2
    choice = choose(by_group(q, y, group))
    assert choice.unseen == {"g1": 5}
    expected = [oracles.held_out_error(q * SCALE, y, group, 3, lam) for lam in LAMBDAS]
    assert_allclose(choice.error * 40, expected, rtol=1e-9)


def test_nothing_is_taken_from_the_sums_it_is_given(rng):
    q, y = rng.integers(-900, 900, (40, 5)).astype(np.int16), np.arange(40) % 2
    groups = by_group(q, y, np.arange(40) // 20)
    before = {name: moments.copy() for name, moments in groups.items()}
    choose(groups)
    assert groups == before


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
    groups = {str(i): sums(*part) for i, part in enumerate(parts)}
    q, y = (np.concatenate(column) for column in zip(*parts, strict=True))
    test, target = (np.concatenate(column) for column in zip(*sessions(20), strict=True))
    square = float(np.square(q * SCALE).sum(axis=1).mean())
    chosen = choose_ridge_by_group(groups, scale=SCALE, mean_square_norm=square)
    by_gcv = choose_ridge(sums(q, y), scale=SCALE, mean_square_norm=square)

    def error(lam):
        fitted = test @ oracles.ridge(q * SCALE, y, k, lam) * SCALE
        return np.square(fitted - np.eye(k)[target]).sum(axis=1).mean()

    assert len(chosen.candidates) == 41
    assert_array_equal(chosen.candidates, by_gcv.candidates)
    assert chosen.ridge > 10 * by_gcv.ridge
    assert error(chosen.ridge) < 0.5 * error(by_gcv.ridge)
    assert error(chosen.ridge) < 1.05 * min(error(lam) for lam in chosen.candidates)


def test_fewer_than_two_groups_are_refused(rng):
    one = sums(rng.integers(-9, 9, (4, 2)).astype(np.int16), np.zeros(4, int))
    for groups in ({}, {"a": one}, {"a": one, "empty": Moments(2)}):
        with pytest.raises(InputError, match="two groups"):
            choose(groups)


def test_groups_without_a_class_in_common_are_refused(rng):
    q = rng.integers(-9, 9, (4, 2)).astype(np.int16)
    with pytest.raises(InputError, match="in two groups") as caught:
        choose({"a": sums(q, np.zeros(4, int)), "b": sums(q, np.ones(4, int))})
    assert caught.value.hint


def test_groups_of_another_width_are_refused(rng):
    q = rng.integers(-9, 9, (4, 2)).astype(np.int16)
    y = np.zeros(4, int)
    with pytest.raises(InputError, match="number of features"):
        choose({"a": sums(q, y), "b": sums(q[:, :1].copy(), y)})
