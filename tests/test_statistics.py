"""Statistics kept beside the sums: the laws of the moments, bit for bit."""

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import samples, splits, two_streams

from edge_cl.errors import ForgetError, InputError, StateError
from edge_cl.moments import GRID_MAX, Moments
from edge_cl.statistics import STATISTICS

ALL = tuple(STATISTICS)


def of(q, y, k=0):
    moments = Moments(q.shape[1], statistics=ALL)
    moments.add(q, y)
    moments.grow(k)
    return moments


def cubic(moments):
    high, low = moments.tensors()["cubic"].tolist()
    return [a * 2**20 + b for a, b in zip(high, low, strict=True)]


def assert_statistics(moments, q, y):
    squares, scatter, fourth, third = oracles.statistics(q, y, moments.k)
    kept = moments.statistics
    assert_array_equal(kept["squares"].sums, squares)
    for c in range(moments.k):
        assert_array_equal(kept["scatter"].of_class(c), scatter[c])
    assert kept["norms"].fourth == fourth
    assert cubic(moments) == third
    assert_array_equal(kept["norms"].cubic, np.array(third, float))


@given(samples(max_n=200), st.data())
def test_any_order_and_any_split_give_the_sums_of_the_definition(stream, data):
    q, y = stream
    moments = Moments(q.shape[1], statistics=ALL)
    for part in data.draw(splits(len(q))):
        moments.add(q[part], y[part])
    moments.grow(int(y.max()) + 1)
    assert_statistics(moments, q, y)
    assert moments == of(q, y)


@given(two_streams())
def test_subtract_undoes_add_in_every_bit(streams):
    kept, gone = streams
    moments = of(*kept, k=8)
    before = moments.copy()
    moments.add(*gone)
    moments.subtract(*gone)
    assert moments == before


@given(two_streams())
def test_merge_is_the_union_and_unmerge_its_inverse(streams):
    (q, y), (r, z) = streams
    moments, other = of(q, y, k=8), of(r, z)
    classes = np.array([5, 2, 7, 0])[: other.k]
    before = moments.copy()
    moments.merge(other, classes)
    assert moments == of(np.concatenate([q, r]), np.concatenate([y, classes[z]]), k=8)
    moments.unmerge(other, classes)
    assert moments == before


@given(samples())
def test_tensors_round_trip(stream):
    moments = of(*stream)
    again = Moments.from_tensors(**moments.tensors(), d=moments.d, saturated=moments.saturated)
    assert again == moments
    assert_statistics(again, *stream)


@pytest.mark.parametrize("names", [(), ("squares",), ("norms",), ("scatter", "norms")])
def test_only_what_was_asked_for_is_kept(names, rng):
    q, y = rng.integers(-9, 9, (5, 2)).astype(np.int16), np.array([0, 1, 1, 0, 3])
    moments = Moments(2, statistics=names)
    moments.add(q, y)
    assert set(moments.statistics) == set(names)
    again = Moments.from_tensors(**moments.tensors(), d=2, saturated=0)
    assert set(again.statistics) == set(names)
    assert again == moments
    assert (moments == of(q, y)) == (set(names) == set(ALL))


@pytest.mark.parametrize("d", [1, 3, 2000])
def test_sums_at_the_rail_do_not_round(d):
    """At d = 2000, the sum of ‖q‖² q over 2,560,000 samples is beyond int64."""
    q = np.full((1000, d), GRID_MAX, np.int16)
    moments = Moments(d, statistics=("norms",))
    for _ in range(5):
        moments.add(q, np.zeros(len(q), int))
    for _ in range(9):
        moments.merge(moments.copy(), np.arange(1))
    norm = d * GRID_MAX**2
    assert moments.statistics["norms"].fourth == 2_560_000 * norm**2
    assert cubic(moments) == [2_560_000 * norm * GRID_MAX] * d


def test_the_split_of_cubic_has_room_for_every_sample_that_moments_hold():
    largest = (1 << 15) * GRID_MAX**2
    assert (largest // 2**20) * GRID_MAX * 2**31 < 2**63
    assert (2**20 - 1) * GRID_MAX * 2**31 < 2**63


def rows(*values):
    return np.array(values, np.int16)


@pytest.mark.parametrize(
    ("statistic", "learned", "labels", "foreign", "label"),
    [
        # n, Q and G allow it: another class has the spread that this one lacks
        ("squares", rows([1, 0], [1, 0], [9, 0], [-9, 0]), [0, 0, 1, 1], rows([2, 0]), 0),
        ("scatter", rows([1, 0], [1, 0], [9, 0], [-9, 0]), [0, 0, 1, 1], rows([2, 0]), 0),
        ("scatter", rows([5, 5], [-5, -5], [9, 0], [0, 9]), [0, 0, 1, 1], rows([4, -4]), 0),
        # all norms are 5, so none was 3
        ("norms", rows([5, 0], [0, 5], [-5, 0], [0, -5]), [0, 0, 0, 0], rows([3, 0]), 0),
    ],
)
def test_statistics_refuse_what_n_q_and_g_cannot(statistic, learned, labels, foreign, label):
    y = np.array([label])
    plain = Moments(2)
    plain.add(learned, np.array(labels))
    plain.subtract(foreign, y)
    moments = Moments(2, statistics=(statistic,))
    moments.add(learned, np.array(labels))
    before = moments.copy()
    with pytest.raises(ForgetError):
        moments.subtract(foreign, y)
    assert moments == before
    other = Moments(2, statistics=(statistic,))
    other.add(foreign, np.array([0]))
    with pytest.raises(ForgetError):
        moments.unmerge(other, y)
    assert moments == before


def test_merge_refuses_what_lacks_a_statistic():
    q, y = rows([1, 2]), np.array([0])
    moments, other = of(q, y), Moments(2, statistics=("squares",))
    other.add(q, y)
    before = moments.copy()
    for verb in (moments.merge, moments.unmerge):
        with pytest.raises(InputError, match="norms, scatter"):
            verb(other, np.array([0]))
    assert moments == before
    other.merge(moments, np.array([0]))  # what is more than needed is left
    assert set(other.statistics) == {"squares"}


def test_an_unknown_statistic_is_refused():
    with pytest.raises(InputError, match="unknown statistic 'median'"):
        Moments(2, statistics=("median",))


def test_so_many_features_that_norms_would_not_fit_are_refused():
    from edge_cl.statistics import Norms

    with pytest.raises(InputError, match="32768"):
        Norms((1 << 15) + 1)


def forged(**changes):
    moments = of(rows([3, 1], [3, 2], [-1, 4]), np.array([0, 0, 1]))
    return moments.tensors() | {"d": 2, "saturated": 0} | changes


GOOD = of(rows([3, 1], [3, 2], [-1, 4]), np.array([0, 0, 1])).tensors()
IMPOSSIBLE = {
    "squares of another k": {"squares": np.zeros((3, 2))},
    "squares in float32": {"squares": GOOD["squares"].astype(np.float32)},
    "a fraction in squares": {"squares": GOOD["squares"] + 0.5},
    "squares too small": {"squares": np.array([[17.0, 5.0], [1.0, 16.0]])},
    "squares too large": {"squares": GOOD["squares"] + 1e8},
    "a short triangle": {"scatter": GOOD["scatter"][:, :2]},
    "scatter that is not a number": {"scatter": np.full((2, 3), np.nan)},
    "scatter too small": {"scatter": np.array([[17.0, 9.0, 5.0], [1.0, -4.0, 16.0]])},
    "an indefinite scatter": {"scatter": np.array([[18.0, 11.0, 5.0], [1.0, -4.0, 16.0]])},
    "scatter of a class without samples": {"scatter": np.ones((2, 3))},
    "three limbs": {"fourth": GOOD["fourth"][:3]},
    "a negative limb": {"fourth": -GOOD["fourth"]},
    "limbs as floats": {"fourth": GOOD["fourth"].astype(float)},
    "a fourth too small": {"fourth": np.array([100, 0, 0, 0])},
    "a fourth too large": {"fourth": np.array([0, 0, 1, 0])},
    "cubic as one vector": {"cubic": GOOD["cubic"][0]},
    "cubic too large": {"cubic": GOOD["cubic"] + 1_000_000},
    "half of the norms": {"cubic": None},
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_statistics_of_no_samples_are_refused(case):
    Moments.from_tensors(**forged())
    with pytest.raises(StateError):
        Moments.from_tensors(**forged(**IMPOSSIBLE[case]))


def test_memory_is_declared_a_class(rng):
    moments = Moments(50, statistics=("scatter",))
    plain = Moments(50)
    for c in range(4):
        moments.add(rng.integers(-9, 9, (3, 50)).astype(np.int16), np.full(3, c))
    moments.grow(40)
    _ = moments.statistics["scatter"].of_class(3)
    held = moments.nbytes - plain.nbytes
    assert 4 * 50 * 50 * 8 <= held < 4 * 50 * 50 * 8 + 100 * 50 * 8 + 40 * 50 * 8


# -- halving -------------------------------------------------------------------------------


@given(samples(max_n=60), st.integers(1, 12))
def test_halved_sums_are_still_those_of_a_possible_stream(stream, times):
    q, y = stream
    moments = of(q, y)
    for _ in range(times):
        n = moments.n.copy()
        moments.halve()
        assert_array_equal(moments.n, -(-n // 2))
        tensors = moments.tensors()  # `from_tensors` checks every inequality
        assert Moments.from_tensors(**tensors, d=moments.d, saturated=moments.saturated) == moments
        moments.add(q[:3], y[:3])
        before = moments.copy()
        moments.add(q, y)
        moments.subtract(q, y)
        assert moments == before


@given(samples(max_n=60))
def test_halving_halves_the_scatter_within_classes_and_keeps_the_means(stream):
    q, y = stream
    moments = of(q, y)
    scatter = oracles.within_scatter(moments.n, moments.Q, moments.G)
    n, means = moments.n.copy(), moments.Q / np.maximum(moments.n, 1)[:, None]
    moments.halve()
    d = moments.d
    halved = oracles.within_scatter(moments.n, moments.Q, moments.G)
    size = 1 + np.abs(moments.G).max()
    added = halved - scatter / 2
    assert np.abs(added - np.diag(np.diag(added))).max() <= 0.5 + 1e-9 * size
    assert np.diag(added).max() <= d / 2 + 1.5 + 1e-9 * size
    assert np.linalg.eigvalsh(added)[0] >= -1e-9 * size
    seen = n > 0
    after = moments.Q[seen] / moments.n[seen, None]
    assert (np.abs(after - means[seen]) <= 0.5 / moments.n[seen, None] + 1e-9).all()


@given(samples(max_n=60))
def test_what_is_even_everywhere_is_halved_to_the_bit(stream):
    q, y = stream
    moments = of(np.concatenate([q, q]), np.concatenate([y, y]))
    moments.halve()
    plain = of(q, y)
    for name in ("n", "Q"):
        assert_array_equal(moments.tensors()[name], plain.tensors()[name])
    assert_array_equal(moments.G, plain.G)
    assert moments.saturated == plain.saturated
    for name in ("squares", "scatter"):
        assert_array_equal(moments.tensors()[name], plain.tensors()[name])
    assert moments.statistics["norms"].fourth == plain.statistics["norms"].fourth


def test_a_class_of_one_sample_stays_as_it_is(rng):
    q = rng.integers(-900, 900, (3, 5)).astype(np.int16)
    moments = of(q, np.arange(3))
    before = moments.copy()
    for _ in range(50):
        moments.halve()
    assert_array_equal(moments.n, [1, 1, 1])
    assert_array_equal(moments.Q, before.Q)
    assert_array_equal(moments.G, before.G)
    for name in ("squares", "scatter"):
        assert_array_equal(moments.tensors()[name], before.tensors()[name])


def test_nothing_halved_is_nothing():
    moments = Moments(3, statistics=ALL)
    moments.grow(2)
    before = moments.copy()
    moments.halve()
    assert moments == before
