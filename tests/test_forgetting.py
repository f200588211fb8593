"""What is remembered of a stream: bit for bit, however the stream was cut, stored and reopened."""

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import SEEDS, samples

from edge_cl.errors import ForgetError, InputError, StateError
from edge_cl.forgetting import (
    Everything,
    Halving,
    Window,
    condition_bound,
    forgetting_named,
    memory,
    most_samples,
)
from edge_cl.moments import GRID_MAX, Moments
from edge_cl.statistics import STATISTICS

ALL = tuple(STATISTICS)
# windows whose blocks are held as rows, and (d = 2: of 9 and more) as sums
SPECS = [
    Everything(),
    Halving(period=1),
    Halving(period=7),
    Halving(period=30),
    Window(samples=2, blocks=2),
    Window(samples=12, blocks=4),
    Window(samples=40, blocks=2),
    Window(samples=60, blocks=3),
]
every_spec = pytest.mark.parametrize("spec", SPECS, ids=str)
windows = pytest.mark.parametrize("spec", [s for s in SPECS if isinstance(s, Window)], ids=str)


def new(spec, d=2):
    return memory(spec, Moments(d, statistics=ALL))


def of(q, y, k=0):
    moments = Moments(q.shape[1], statistics=ALL)
    moments.add(q, y)
    moments.grow(k)
    return moments


def in_window(spec, t):
    """Arrivals (oldest first) that a window holds after t of them."""
    size = spec.samples // spec.blocks
    opened = max(1, -(-t // size))  # blocks opened so far
    return range(max(0, opened - spec.blocks) * size, t)


def reopened(spec, kept):
    m = kept.moments
    again = memory(spec, Moments.from_tensors(**m.tensors(), d=m.d, saturated=m.saturated))
    again.restore({name: a.copy() for name, a in kept.tensors().items()})
    return again


def same_state(a, b):
    mine, theirs = a.tensors(), b.tensors()
    return (
        a.moments == b.moments
        and mine.keys() == theirs.keys()
        and all(np.array_equal(mine[name], theirs[name]) for name in mine)
    )


@windows
@settings(max_examples=30)
@given(stream=samples(max_n=150, d=2), data=st.data())
def test_the_sums_are_those_of_the_newest_samples(spec, stream, data):
    q, y = stream
    kept, t = new(spec), 0
    while t < len(q):
        n = data.draw(st.integers(1, 50))
        before = in_window(spec, t)
        left = kept.add(q[t : t + n], y[t : t + n])
        t = min(t + n, len(q))
        held = in_window(spec, t)
        assert kept.moments == of(q[held.start : t], y[held.start : t], kept.moments.k)
        assert left == (held.start > before.start)
        assert len(held) <= most_samples(spec, 4) == spec.samples
        assert len(held) > min(t - 1, spec.samples - spec.samples // spec.blocks)


@every_spec
@settings(max_examples=30)
@given(stream=samples(max_n=150, d=2), data=st.data())
def test_how_a_stream_is_cut_does_not_matter(spec, stream, data):
    q, y = stream
    once, cut = new(spec), new(spec)
    once.add(q, y)
    left = t = 0
    while t < len(q):
        n = data.draw(st.integers(1, 40))
        left |= cut.add(q[t : t + n], y[t : t + n])
        t += n
    assert same_state(once, cut)
    assert left == (new(spec).add(q, y))


@every_spec
@settings(max_examples=30)
@given(stream=samples(max_n=100, d=2), later=samples(max_n=100, d=2))
def test_what_was_stored_goes_on_bit_for_bit(spec, stream, later):
    kept = new(spec)
    kept.add(*stream)
    again = reopened(spec, kept)
    assert same_state(again, kept)
    assert again.add(*later) == kept.add(*later)
    assert same_state(again, kept)


@every_spec
@settings(max_examples=30)
@given(stream=samples(max_n=100, d=2), more=samples(max_n=20, d=2), seed=SEEDS)
def test_the_newest_can_be_taken_back_and_the_rest_is_refused(spec, stream, more, seed):
    (q, y), kept = stream, new(spec)
    kept.add(q, y)
    before = kept.moments.copy()
    if not kept.add(*more):  # nothing left, so nothing was halved either
        order = np.random.default_rng(seed).permutation(len(more[0]))
        before.grow(kept.moments.k)
        for i in order:
            kept.subtraction(more[0][i : i + 1], more[1][i : i + 1])()
        assert kept.moments == before


@windows
def test_a_sample_that_has_left_is_refused_and_one_that_has_not_is_found(spec, rng):
    q, y = rng.integers(-GRID_MAX, GRID_MAX, (200, 2)).astype(np.int16), rng.integers(0, 3, 200)
    kept = new(spec)
    kept.add(q, y)
    held = in_window(spec, 200)
    before = kept.moments.copy()
    for i in (0, held.start - 1):
        with pytest.raises(ForgetError, match="not in the window"):
            kept.subtraction(q[i : i + 1], y[i : i + 1])()
        with pytest.raises(ForgetError):  # all or nothing
            kept.subtraction(q[[199, i]], y[[199, i]])()
        assert kept.moments == before
    gone = [held.start, 199]
    kept.subtraction(q[gone], y[gone])()
    rest = [i for i in held if i not in gone]
    assert kept.moments == of(q[rest], y[rest], 3)
    # and it never comes back: the block leaves without them
    kept.add(q, y)
    newest = [t - 200 for t in in_window(spec, 400)]
    assert kept.moments == of(q[newest], y[newest], 3)


@windows
def test_samples_forgotten_together_are_the_ones_that_stay_away(spec, rng):
    q, y = rng.integers(-99, 99, (spec.samples, 2)).astype(np.int16), np.zeros(spec.samples, int)
    kept = new(spec)
    kept.add(q, y)
    half = np.arange(0, spec.samples, 2)
    kept.subtraction(q[half], y[half])()
    later = q[::-1].copy()
    for t in range(len(later)):
        kept.add(later[t : t + 1], y[:1])
        held = [i for i in in_window(spec, spec.samples + t + 1) if i not in half]
        both = np.concatenate([q, later])[held]
        assert kept.moments == of(both, np.zeros(len(both), int))


def test_of_equal_samples_the_newest_goes_first():
    q, y = np.full((6, 2), 5, np.int16), np.zeros(6, int)
    kept = new(Window(samples=4, blocks=2))
    kept.add(q[:3], y[:3])
    kept.subtraction(q[:2], y[:2])()
    with pytest.raises(ForgetError):
        kept.subtraction(q[:2], y[:2])()
    assert kept.moments.samples == 1
    kept.add(q[:1], y[:1])  # the fourth place: what was forgotten keeps its own
    assert kept.moments.samples == 2
    kept.add(q[:1], y[:1])
    assert kept.moments.samples == 2  # the oldest block has left, with one


def test_a_class_leaves_with_its_last_sample():
    kept = new(Window(samples=4, blocks=2))
    kept.add(np.array([[7, 7]], np.int16), np.array([0]))
    kept.add(np.ones((4, 2), np.int16), np.ones(4, int))
    assert_array_equal(kept.moments.n, [0, 3])


def test_halving_keeps_a_class_that_does_not_come_again(rng):
    kept = new(Halving(period=10))
    kept.add(np.array([[70, -7]], np.int16), np.array([0]))
    for _ in range(500):
        kept.add(rng.integers(-99, 99, (1, 2)).astype(np.int16), np.array([1]))
    assert kept.moments.n[0] == 1
    assert_array_equal(kept.moments.Q[0], [70, -7])


@given(samples(max_n=200, d=3), st.integers(1, 20))
def test_halving_is_the_moments_halved_after_every_period(stream, period):
    q, y = stream
    kept, moments = new(Halving(period=period), 3), Moments(3, statistics=ALL)
    kept.add(q, y)
    for i in range(len(q)):
        moments.add(q[i : i + 1], y[i : i + 1])
        if (i + 1) % period == 0:
            moments.halve()
    assert kept.moments == moments


def test_what_was_halved_cannot_be_taken_back(rng):
    q, y = rng.integers(-99, 99, (12, 2)).astype(np.int16), np.zeros(12, int)
    kept = new(Halving(period=10))
    kept.add(q, y)
    before = kept.moments.copy()
    for gone in ([0], [9], [11, 9], [11, 11]):
        with pytest.raises(ForgetError, match="halved"):
            kept.subtraction(q[gone], y[gone])()
    assert kept.moments == before
    kept.subtraction(q[10:], y[10:])()
    assert kept.moments.samples == 5


def test_merging_counts_as_arrivals_where_it_has_a_place(rng):
    q, y = rng.integers(-99, 99, (10, 2)).astype(np.int16), np.zeros(10, int)
    other = of(q, y)
    kept = new(Halving(period=10))
    kept.add(q[:4], y[:4])
    kept.merge(other, np.array([1]))  # halved before, for it would not fit, and after
    assert_array_equal(kept.moments.n, [1, 5])
    before = kept.moments.copy()
    bigger = of(np.concatenate([q, q]), np.concatenate([y, y]))
    with pytest.raises(InputError, match="at most a period"):
        kept.merge(bigger, np.array([1]))
    with pytest.raises(InputError):
        kept.merge(other, np.array([-1]))
    assert kept.moments == before
    with pytest.raises(InputError, match="window"):
        new(Window(samples=8)).merge(other, np.array([0]))
    kept = new(Everything())
    kept.merge(bigger, np.array([1]))
    assert kept.moments.samples == 20


@every_spec
def test_a_refused_call_changes_nothing(spec, rng):
    kept = new(spec)
    kept.add(rng.integers(-9, 9, (30, 2)).astype(np.int16), rng.integers(0, 2, 30))
    again = reopened(spec, kept)
    far = np.full((50, 2), 2048, np.int16)
    for q, y in ((far, np.zeros(50, int)), (far[:, :1], [0] * 50), (far // 2, [0.5] * 50)):
        for verb in (kept.add, kept.subtraction):
            with pytest.raises(InputError):
                verb(q, np.array(y))
    assert same_state(kept, again)


@pytest.mark.parametrize("spec", SPECS[1:], ids=str)
def test_foreign_state_is_refused(spec, rng):
    kept = new(spec)
    kept.add(rng.integers(-99, 99, (100, 2)).astype(np.int16), rng.integers(0, 2, 100))
    kept.add(np.full((5, 2), 3, np.int16), np.ones(5, int))
    good = kept.tensors()
    forgeries = [{}, {**good, "99.q": np.zeros((0, 2), np.int16)}]
    for name, a in good.items():
        forgeries += [
            {n: b for n, b in good.items() if n != name},
            {**good, name: a.astype(np.float32)},
            {**good, name: a[None]},
        ]
        if a.size and name not in ("since", "digests") and not name.endswith("digests"):
            changed = a.copy()
            changed.flat[-1] += 1000  # one more arrival could have been forgotten since
            forgeries.append({**good, name: changed})
    for forged in forgeries:
        if {n: a.tobytes() for n, a in forged.items()} == {n: a.tobytes() for n, a in good.items()}:
            forged = {**good, "extra": np.zeros(1)}
        with pytest.raises(StateError):
            reopened_with(kept, spec, forged)
    assert same_state(reopened(spec, kept), kept)


def reopened_with(kept, spec, tensors):
    memory(spec, kept.moments.copy()).restore(tensors)


def test_everything_has_no_state_of_its_own():
    with pytest.raises(StateError):
        new(Everything()).restore({"since": np.array([0])})


@every_spec
@pytest.mark.parametrize("kind", ["uniform", "rail", "stalled", "subspace"])
def test_the_condition_number_stays_below_its_bound(spec, kind, rng):
    d, k, ridge = 2, 3, 50.0
    q = rng.integers(-GRID_MAX, GRID_MAX + 1, (300, d))
    if kind == "rail":
        q = np.full((300, d), GRID_MAX)
    elif kind == "stalled":
        q = np.repeat(q[:1], 300, axis=0)
    elif kind == "subspace":
        q[:, 1:] = 0
    bound = condition_bound(spec, d=d, k=k, ridge=ridge)
    kept = new(spec, d)
    for i in range(300):
        kept.add(q[i : i + 1].astype(np.int16), np.array([i % k]))
        assert kept.moments.samples <= most_samples(spec, k)
        if i % 10 == 0:
            assert np.linalg.cond(kept.moments.G + ridge * np.eye(d)) <= bound * (1 + 1e-9)
            scatter = oracles.within_scatter(kept.moments.n, kept.moments.Q, kept.moments.G)
            assert np.linalg.eigvalsh(scatter)[0] >= -1e-9 * kept.moments.G.trace()


def test_the_bound_is_reached_at_the_rail():
    """A window full of one row at the rail: not a bound that any learner could improve on."""
    spec = Window(samples=16, blocks=2)
    kept = new(spec, 4)
    kept.add(np.full((16, 4), GRID_MAX, np.int16), np.zeros(16, int))
    cond = np.linalg.cond(kept.moments.G + 1e5 * np.eye(4))
    assert cond == pytest.approx(condition_bound(spec, d=4, k=1, ridge=1e5))


@pytest.mark.parametrize(("size", "held"), [(8, "rows"), (80, "sums")])
def test_a_block_is_held_as_what_is_smaller(size, held, rng):
    d = 10
    kept = memory(Window(samples=2 * size, blocks=2), Moments(d))
    kept.add(rng.integers(-9, 9, (size, d)).astype(np.int16), np.zeros(size, int))
    assert ("0.q" in kept.tensors()) == (held == "rows")
    if held == "rows":
        assert kept.nbytes <= size * (2 * d + 24)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("everything", Everything()),
        ("halve:5000", Halving(period=5000)),
        ("window:4096", Window(samples=4096)),
        ("window:4096:16", Window(samples=4096, blocks=16)),
    ],
)
def test_what_people_type_is_understood(text, spec):
    assert forgetting_named(text) == spec


@pytest.mark.parametrize(
    "text",
    ["", "halve", "halve:0", "halve:-3", "halve:1e3", "window", "window:10:3", "window:8:1",
     "window:8:16", "window:8:0", "halve:999999999", "all", "everything:3", "window:8:2:2"],
)  # fmt: skip
def test_what_means_nothing_is_refused(text):
    with pytest.raises(InputError):
        forgetting_named(text)


@pytest.mark.slow
def test_a_million_samples_with_merges_forgets_and_windows_are_exact():
    """Against int64 sums of what must be in."""
    rng = np.random.default_rng(6)
    n, d, k = 10**6, 12, 5
    q = rng.integers(-GRID_MAX, GRID_MAX + 1, (n, d)).astype(np.int16)
    y = rng.integers(0, k, n)
    spec = Window(samples=40_000, blocks=8)
    kept, everything = memory(spec, Moments(d)), memory(Everything(), Moments(d))
    inside = np.ones(n, bool)
    t = 0
    while t < n:
        step = int(rng.integers(1, 6000))
        part = slice(t, min(t + step, n))
        kept.add(q[part], y[part])
        if rng.random() < 0.3:
            other = Moments(d)
            order = rng.permutation(k)
            other.add(q[part], order[y[part]])
            everything.merge(other, np.argsort(order))
        else:
            everything.add(q[part], y[part])
        t = part.stop
        gone = t - 1 - rng.choice(min(step, t, 500), 3, replace=False) if step > 500 else []
        for i in gone:
            kept.subtraction(q[i : i + 1], y[i : i + 1])()
            everything.subtraction(q[i : i + 1], y[i : i + 1])()
            inside[i] = False
    for memory_, start in ((kept, in_window(spec, n).start), (everything, 0)):
        rows = np.flatnonzero(inside[start:]) + start
        count, total, products = oracles.sums(q[rows], y[rows], k)
        assert_array_equal(memory_.moments.n, count)
        assert_array_equal(memory_.moments.Q, total)
        assert_array_equal(memory_.moments.G, products)
