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
from edge_cl.statistics import STATISTICS


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
        # every entry of what would be left is possible, its smallest eigenvalue -2 is not
        (
            np.kron(np.eye(3), [[2], [-2], [1], [-1]]).astype(np.int16),
            rows([2, 2, 2]),
        ),
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


@pytest.mark.slow
def test_a_thousand_orders_partitions_and_ways_back_give_the_same_bits(rng):
    """Permute, split, merge, forget, undo, with every statistic: one result, bit for bit."""
    q = rng.integers(-GRID_MAX, GRID_MAX + 1, (150, 5)).astype(np.int16)
    q[rng.random(q.shape) < 0.1] = GRID_MAX
    y = rng.integers(0, 6, 150)
    names = tuple(STATISTICS)
    kept = np.arange(150) < 120  # the others come and go

    def empty():
        moments = Moments(5, statistics=names)
        moments.grow(6)
        return moments

    expected = empty()
    expected.add(q[kept], y[kept])
    for _ in range(1000):
        order = rng.permutation(150)
        devices = [empty() for _ in range(int(rng.integers(1, 5)))]
        homes = rng.integers(0, len(devices), 150)
        for part in np.split(order, np.sort(rng.integers(0, 151, 6))):
            for number, device in enumerate(devices):
                mine = part[homes[part] == number]
                device.add(q[mine], y[mine])
                if len(mine) and rng.random() < 0.3:  # undo, and learn again
                    device.subtract(q[mine], y[mine])
                    device.add(q[mine], y[mine])
        early = rng.random(150) < 0.5
        for number, device in enumerate(devices):
            gone = np.flatnonzero(~kept & early & (homes == number))
            device.subtract(q[gone], y[gone])
        moments = empty()
        classes = rng.permutation(6)  # each device has its own order of classes
        for device in devices:
            renamed = Moments(5, statistics=names)
            renamed.merge(device, classes)
            moments.merge(renamed, np.argsort(classes))
        for i in np.flatnonzero(~kept & ~early):
            moments.subtract(q[i : i + 1], y[i : i + 1])
        if rng.random() < 0.1:
            moments.merge(devices[0], np.arange(6))
            moments.unmerge(devices[0], np.arange(6))
        assert moments == expected


@pytest.mark.slow
def test_a_million_samples_with_merges_forgets_and_halvings_are_exact(rng):
    """Beside int64 sums, halved by Python: every bit, with every statistic that int64 holds."""
    d, k = 6, 5
    names = ("squares", "scatter")
    moments, rest, held = Moments(d, statistics=names), 10**6, np.zeros((0, d), np.int16)
    moments.grow(k)
    n, Q, G = np.zeros(k, np.int64), np.zeros((k, d)), np.zeros((d, d))
    scatter, labels = np.zeros((k, d, d)), np.zeros(0, int)
    while rest:
        step = min(rest, int(rng.integers(1, 4000)))
        rest -= step
        q = rng.integers(-GRID_MAX, GRID_MAX + 1, (step, d)) // 4 ** rng.integers(0, 5, (step, 1))
        q, y = q.astype(np.int16), rng.integers(0, k, step) * rng.integers(0, 2, step)
        if rng.random() < 0.2:
            other = Moments(d, statistics=names)
            other.add(q, (y + 1) % k)
            moments.merge(other, (np.arange(other.k) - 1) % k)
        else:
            moments.add(q, y)
        signs = [(+1, q, y)]
        if len(held) and rng.random() < 0.5:
            moments.subtract(held, labels)
            signs.append((-1, held, labels))
        for sign, rows_, classes in signs:
            count, total, products = oracles.sums(rows_, classes, k)
            n, Q, G = n + sign * count, Q + sign * total, G + sign * products
            scatter += sign * oracles.statistics(rows_, classes, k)[1]
        held, labels = q[:50], y[:50]
        if rng.random() < 0.1:
            for c in range(k):
                one = slice(c, c + 1)
                scatter[c] = oracles.halved(n[one], Q[one], scatter[c])[2]
            n, Q, G = oracles.halved(n, Q, G)
            moments.halve()
            held = held[:0]
            labels = labels[:0]
        assert_array_equal(moments.n, n)
        assert_array_equal(moments.Q, Q)
        assert_array_equal(moments.G, G)
    for c in range(k):
        assert_array_equal(moments.statistics["scatter"].of_class(c), scatter[c])
