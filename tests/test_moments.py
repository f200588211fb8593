"""The sums are integers: every law here is an equality of bits."""

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from numpy.testing import assert_array_equal
from strategies import SEEDS, samples, splits

from edge_cl.errors import ForgetError, InputError, StateError
from edge_cl.moments import GRID_MAX, MAX_SAMPLES, Moments


def of(q, y):
    moments = Moments(q.shape[1])
    moments.add(q, y)
    return moments


def bits(moments):
    return {name: a.tobytes() for name, a in moments.tensors().items()} | {
        "k": moments.k,
        "saturated": moments.saturated,
    }


def assert_sums(moments, q, y):
    n, Q, G = oracles.sums(q, y, moments.k)
    assert_array_equal(moments.n, n)
    assert_array_equal(moments.Q, Q)
    assert_array_equal(moments.G, G)
    assert moments.samples == len(q)
    assert moments.saturated == (np.abs(q.astype(int)) == GRID_MAX).sum()


@given(samples(max_n=200), st.data())
def test_any_order_and_any_split_give_the_int64_sums(stream, data):
    q, y = stream
    moments = Moments(q.shape[1])
    for part in data.draw(splits(len(q))):
        moments.add(q[part], y[part])
    moments.grow(int(y.max()) + 1)
    assert_sums(moments, q, y)
    assert bits(moments) == bits(of(q, y))


@pytest.mark.parametrize("n", [63, 64, 65, 1024, 1025, 3000])
def test_block_and_batch_edges_are_exact(n, rng):
    q = rng.integers(-GRID_MAX, GRID_MAX + 1, (n, 9)).astype(np.int16)
    y = rng.integers(0, 3, n)
    moments = of(q, y)
    assert_sums(moments, q, y)
    for i in range(0, n, 7):
        moments.subtract(q[i : i + 1], y[i : i + 1])
    kept = np.arange(n) % 7 > 0
    assert_sums(moments, q[kept], y[kept])


def test_sums_at_the_rail_do_not_round():
    q = np.full((5000, 2), GRID_MAX, np.int16)
    q[:, 1] *= -1
    moments = Moments(2)
    for _ in range(40):
        moments.add(q, np.zeros(len(q), int))
    assert moments.G[0, 1] == -(GRID_MAX**2) * 200_000
    assert moments.saturated == 400_000


class Interleaving(RuleBasedStateMachine):
    """Adding, taking back, merging and copying in any order, beside a list of samples."""

    def __init__(self):
        super().__init__()
        self.moments, self.q, self.y = Moments(3), np.zeros((0, 3), np.int16), np.zeros(0, int)

    @rule(stream=samples(max_n=90, d=3))
    def add(self, stream):
        self.moments.add(*stream)
        self._append(*stream)

    @rule(stream=samples(max_n=20, d=3), seed=SEEDS)
    def merge(self, stream, seed):
        q, y = stream
        other = of(q, y)
        classes = np.random.default_rng(seed).permutation(5)[: other.k]
        self.moments.merge(other, classes)
        self._append(q, classes[y])

    @rule(seed=SEEDS, share=st.floats(0, 1))
    def subtract(self, seed, share):
        gone = np.random.default_rng(seed).random(len(self.q)) < share
        self.moments.subtract(self.q[gone], self.y[gone])
        self.q, self.y = self.q[~gone], self.y[~gone]

    @rule()
    def read(self):
        _ = self.moments.G

    @rule()
    def copy(self):
        before, copy = bits(self.moments), self.moments.copy()
        self.moments.add(np.ones((1, 3), np.int16), np.array([0]))
        assert bits(copy) == before
        self.moments = copy

    @rule()
    def store(self):
        self.moments = Moments.from_tensors(
            **self.moments.tensors(), d=3, saturated=self.moments.saturated
        )

    def _append(self, q, y):
        self.q, self.y = np.concatenate([self.q, q]), np.concatenate([self.y, y])

    @invariant()
    def sums_are_those_of_the_list(self):
        # a copy: reading G would fold the rows that wait, and hide what an interleaving does
        assert_sums(self.moments.copy(), self.q, self.y)


TestInterleaving = Interleaving.TestCase


@given(samples(), samples())
def test_subtract_undoes_add_in_every_bit(kept, gone):
    d = min(kept[0].shape[1], gone[0].shape[1])
    moments = of(kept[0][:, :d], kept[1])
    moments.grow(8)
    before = bits(moments)
    moments.add(np.ascontiguousarray(gone[0][:, :d]), gone[1])
    moments.subtract(np.ascontiguousarray(gone[0][:, :d]), gone[1])
    assert bits(moments) == before


@given(samples())
def test_everything_can_be_taken_back_one_by_one(stream):
    q, y = stream
    moments = of(q, y)
    for i in range(len(q)):
        moments.subtract(q[i : i + 1], y[i : i + 1])
    assert not moments.n.any() and not moments.Q.any() and not moments.G.any()
    assert moments.saturated == 0


def test_a_late_class_leaves_the_classes_between_empty():
    moments = of(np.ones((1, 2), np.int16), np.array([5]))
    assert moments.k == 6
    assert_array_equal(moments.n, [0, 0, 0, 0, 0, 1])


def test_nothing_is_a_sample_too():
    moments = of(np.ones((1, 2), np.int16), np.array([0]))
    before = bits(moments)
    nothing = np.zeros((0, 2), np.int16), np.zeros(0, int)
    moments.add(*nothing)
    moments.subtract(*nothing)
    moments.merge(Moments(2), np.zeros(0, int))
    assert bits(moments) == before


ONE = np.ones((1, 2), np.int16)
REFUSED = {
    "float features": (ONE.astype(np.float32), [0]),
    "int64 features": (ONE.astype(np.int64), [0]),
    "another d": (np.ones((1, 3), np.int16), [0]),
    "one dimension": (np.ones(2, np.int16), [0]),
    "off the grid": (np.full((1, 2), 2048, np.int16), [0]),
    "off the grid below": (np.full((1, 2), -2048, np.int16), [0]),
    "the int16 without an absolute": (np.full((1, 2), -32768, np.int16), [0]),
    "negative label": (ONE, [-1]),
    "float label": (ONE, [0.0]),
    "too many labels": (ONE, [0, 0]),
    "no label": (ONE, []),
    "bool label": (ONE, [True]),
}


@pytest.mark.parametrize("verb", ["add", "subtract"])
@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_call_changes_nothing(verb, case):
    moments = of(ONE, np.array([0]))
    before = bits(moments)
    q, y = REFUSED[case]
    with pytest.raises(InputError):
        getattr(moments, verb)(q, np.array(y))
    assert bits(moments) == before


def rows(*values):
    return np.array(values, np.int16)


@pytest.mark.parametrize(
    ("learned", "foreign"),
    [
        (rows([5, 5]), rows([5, 4])),
        (rows([5, 5]), rows([5, 5], [5, 5])),
        (rows([5, 5], [-5, -5]), rows([5, -5])),
        (rows([2, 0], [-2, 0]), rows([1, 0], [-1, 0])),
        (rows([GRID_MAX, 0], [-GRID_MAX, 0]), rows([0, 0])),
        (rows(*[[2046, 0], [-2046, 0]] * 4), rows([2047, 0])),
        (rows([1, 2], [3, 4], [5, 6]), rows([100, 0])),
    ],
)
def test_what_was_provably_never_learned_is_refused(learned, foreign):
    moments = of(learned, np.zeros(len(learned), int))
    before = bits(moments)
    with pytest.raises(ForgetError):
        moments.subtract(foreign, np.zeros(len(foreign), int))
    with pytest.raises(ForgetError):
        moments.subtract(learned[:1], np.array([1]))
    assert bits(moments) == before


@given(samples(max_d=3, largest=7), samples(max_d=3, largest=7, max_n=4))
def test_sums_that_a_forget_left_can_always_be_stored(learned, foreign):
    d = min(learned[0].shape[1], foreign[0].shape[1])
    moments = of(np.ascontiguousarray(learned[0][:, :d]), learned[1])
    for q, y in zip(foreign[0][:, :d], foreign[1], strict=True):
        try:
            moments.subtract(q[None], np.array([y]))
        except ForgetError:
            continue
    again = Moments.from_tensors(**moments.tensors(), d=d, saturated=moments.saturated)
    assert bits(again) == bits(moments)


def test_more_samples_than_float64_can_hold_are_refused():
    moments = Moments(1)
    moments.grow(1)
    moments.n[0] = MAX_SAMPLES - 1
    moments.add(rows([1]), np.array([0]))
    before = bits(moments)
    with pytest.raises(InputError, match="at most"):
        moments.add(rows([1]), np.array([0]))
    with pytest.raises(InputError, match="at most"):
        moments.merge(of(rows([1]), np.array([0])), np.array([0]))
    assert bits(moments) == before


def test_merge_refuses_what_does_not_fit():
    moments, other = of(ONE, np.array([0])), of(np.ones((1, 3), np.int16), np.array([0]))
    before = bits(moments)
    with pytest.raises(InputError, match="2 features"):
        moments.merge(other, np.array([0]))
    for classes in ([], [-1], [0, 1], [0.0]):
        with pytest.raises(InputError):
            moments.merge(of(ONE, np.array([0])), np.array(classes))
    assert bits(moments) == before


@pytest.mark.parametrize("d", [0, -1])
def test_no_features_are_refused(d):
    with pytest.raises(InputError, match="d >= 1"):
        Moments(d)


@given(samples())
def test_tensors_round_trip(stream):
    moments = of(*stream)
    again = Moments.from_tensors(**moments.tensors(), d=moments.d, saturated=moments.saturated)
    assert bits(again) == bits(moments)
    assert_sums(again, *stream)


def forged(**changes):
    q, y = rows([3, 1], [3, 2], [-1, 4]), np.array([0, 0, 1])
    return of(q, y).tensors() | {"d": 2, "saturated": 0} | changes


IMPOSSIBLE = {
    "counts as floats": {"n": np.array([2.0, 1.0])},
    "counts in two dimensions": {"n": np.array([[2, 1]])},
    "a scalar count": {"n": np.array(3)},
    "a negative count": {"n": np.array([4, -1])},
    "too many samples": {"n": np.array([MAX_SAMPLES, 1])},
    "counts that overflow": {"n": np.full(4, 1 << 62), "Q": np.zeros((4, 2))},
    "sums of another d": {"Q": np.zeros((2, 3))},
    "sums of another k": {"Q": np.zeros((3, 2))},
    "sums in float32": {"Q": np.zeros((2, 2), np.float32)},
    "a fraction": {"Q": np.array([[6.5, 3.0], [-1.0, 4.0]])},
    "not a number": {"Q": np.array([[np.nan, 3.0], [-1.0, 4.0]])},
    "infinity": {"G": np.array([np.inf, 5.0, 21.0])},
    "a fraction in G": {"G": np.array([19.5, 5.0, 21.0])},
    "sums of a class without samples": {"n": np.array([3, 0])},
    "sums larger than samples": {"Q": np.array([[4095.0, 3.0], [-1.0, 4.0]])},
    "a square too small for the sums": {"G": np.array([1.0, 1.0, 21.0])},
    "a negative square": {"G": np.array([-19.0, 5.0, 21.0])},
    "products larger than squares allow": {"G": np.array([19.0, 500.0, 21.0])},
    "squares larger than samples allow": {"G": np.array([1e9, 5.0, 21.0])},
    "G as a matrix": {"G": np.zeros((2, 2))},
    "a short triangle": {"G": np.zeros(2)},
    "negative saturation": {"saturated": -1},
    "more saturated than features": {"saturated": 7},
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_sums_of_no_samples_are_refused(case):
    Moments.from_tensors(**forged())
    with pytest.raises(StateError):
        Moments.from_tensors(**forged(**IMPOSSIBLE[case]))


@pytest.mark.slow
def test_a_million_samples_are_exact(rng):
    q = rng.integers(-GRID_MAX, GRID_MAX + 1, (10**6, 16)).astype(np.int16)
    y = rng.integers(0, 10, len(q))
    moments = Moments(16)
    for start in range(0, len(q), 997):
        moments.add(q[start : start + 997], y[start : start + 997])
    assert_sums(moments, q, y)
