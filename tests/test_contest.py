"""Comparing heads: the tally against its definition, and no sample tested after it was learned."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import SEEDS

from edge_cl.contest import BLOCK, Contest
from edge_cl.errors import StateError

FADING = 0.999


class Answering:
    """A head that answers what it is told to, and counts how often it is frozen."""

    def __init__(self):
        self.answers, self.frozen_times = [], 0

    def frozen(self):
        self.frozen_times += 1
        return lambda q: np.eye(4)[self.answers.pop(0)]


def tally(right):
    """(1) and (2) from the definition; `right` is (m, T)."""
    weight = FADING ** np.arange(right.shape[1])[::-1]
    better = [[(weight * (a & ~b)).sum() for b in right] for a in right]
    return weight.sum(), right @ weight, np.array(better)


def run(answers, y, cuts):
    heads, contest = [Answering() for _ in answers], Contest(len(answers))
    for part in np.split(np.arange(len(y)), cuts):
        for head, answer in zip(heads, answers, strict=True):
            head.answers.append(answer[part])
        contest.test(heads, np.zeros((len(part), 1), np.int16), y[part], samples=1)
    return heads, contest


@given(SEEDS, st.integers(1, 60), st.integers(1, 4))
def test_the_tally_is_the_definition_however_the_stream_is_cut(seed, n, m):
    rng = np.random.default_rng(seed)
    y, answers = rng.integers(0, 4, n), rng.integers(0, 4, (m, n))
    cuts = np.unique([*rng.integers(1, n + 1, 3), *range(BLOCK, n, BLOCK)])
    _, contest = run(answers, y, cuts)
    tested, right, better = tally(answers == y)
    assert contest.tested == pytest.approx(tested)
    assert_allclose(contest.accuracy, right / tested)
    assert_allclose(contest.tensors()["better"], better, atol=1e-12)


def test_heads_are_frozen_once_a_block():
    y = np.zeros(3 * BLOCK, int)
    heads, _ = run([y, y], y, np.arange(1, len(y)))
    assert [head.frozen_times for head in heads] == [3, 3]


def test_nothing_is_tested_before_anything_is_known():
    contest = Contest(2)
    contest.test([Answering(), Answering()], np.zeros((1, 1), np.int16), np.zeros(1, int), 0)
    assert contest.tested == 0
    assert np.isnan(contest.accuracy).all()
    assert contest.best() == 0


def test_the_better_head_is_told_apart_and_a_lucky_one_is_not():
    y, wrong = np.zeros(200, int), np.ones(200, int)
    lucky = np.where(np.arange(200) < 5, 0, 1)
    assert run([wrong, lucky], y, range(BLOCK, 200, BLOCK))[1].best() == 0  # 5 : 0 < 3 √5
    better = np.where(np.arange(200) < 12, 0, 1)
    assert run([wrong, better], y, range(BLOCK, 200, BLOCK))[1].best() == 1
    assert run([better, wrong], y, range(BLOCK, 200, BLOCK))[1].best() == 0
    best = run([wrong, better, y], y, range(BLOCK, 200, BLOCK))[1]
    assert best.best() == 2
    accuracy = best.accuracy
    best.swap(2)
    assert_array_equal(best.accuracy, accuracy[[2, 1, 0]])
    assert best.best() == 0


def test_a_tally_is_kept_and_a_forged_one_refused():
    y = np.arange(40) % 4
    contest = run([y, y // 2], y, [BLOCK])[1]
    again = Contest(2)
    again.restore(contest.tensors())
    assert_array_equal(again.accuracy, contest.accuracy)
    for name, a in contest.tensors().items():
        with pytest.raises(StateError):
            Contest(2).restore({**contest.tensors(), name: a - 1000})
        with pytest.raises(StateError):
            Contest(2).restore({**contest.tensors(), name: a + 1000.1})
        with pytest.raises(StateError):
            Contest(3).restore(contest.tensors())
