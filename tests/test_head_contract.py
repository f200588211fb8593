"""The laws that every head obeys. A head in `HEADS` is in here by being there.

Some are for heads that are functions of the moments, some for those whose result depends on
the order of samples; `promise.from_moments` says which a head is.

Scores are compared relative to the largest finite one, to 1e-8: heads follow in float64 what
the moments hold exactly, and are rebuilt before rounding adds up.
"""

import numpy as np
import pytest
from head_cases import CASES, Follower, batch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import SEEDS, samples, splits

from edge_cl.errors import ForgetError, StateError

TOLERANCE = 1e-8


def heads(cases):
    return pytest.mark.parametrize("options", cases.values(), ids=cases.keys())


every_head = heads(CASES)
from_moments = heads({name: o for name, o in CASES.items() if o.promise.from_moments})
ORDERED = {name: o for name, o in CASES.items() if not o.promise.from_moments}
in_order = heads(ORDERED)
by_sample = heads({name: o for name, o in ORDERED.items() if o.clock == "sample"})


def assert_close(actual, expected, tolerance=TOLERANCE):
    assert actual.shape == expected.shape
    assert_array_equal(np.isneginf(actual), np.isneginf(expected))
    finite = np.isfinite(expected)
    assert np.isfinite(actual[finite]).all()
    size = max(1.0, np.abs(expected[finite]).max(initial=0.0))
    assert np.abs(actual[finite] - expected[finite]).max(initial=0.0) <= tolerance * size


def assert_probabilities(head, q, n):
    """The laws of probabilities at the rows of `q`; return the scores there."""
    scores = head.scores(q)
    p = head.probabilities(scores, q)
    assert p.shape == scores.shape
    assert ((p >= 0) & (p <= 1)).all()
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-9)
    best = scores.argmax(axis=1)
    assert (n[best] > 0).all()
    assert_array_equal(p[np.arange(len(p)), best], p.max(axis=1))
    assert not p[:, n == 0].any()
    for s, row in zip(scores, p, strict=True):  # never against the order of the scores
        assert (np.diff(row[np.argsort(s)]) >= 0).all()
    return scores


@from_moments
@given(samples(), st.data())
def test_stream_is_batch_in_any_order_and_any_split(options, stream, data):
    q, y = stream
    follower = Follower(options, q.shape[1])
    for part in data.draw(splits(len(q))):
        follower.learn(q[part], y[part])
        if follower.moments.samples and data.draw(st.booleans()):
            follower.scores(q)
    assert_close(follower.scores(q), batch(options, q, y).scores(q))


@from_moments
@given(samples(), samples(max_n=8), st.booleans())
def test_forget_undoes_learn(options, kept, gone, looked):
    d = min(kept[0].shape[1], gone[0].shape[1])
    (q, y), (r, z) = (np.ascontiguousarray(kept[0][:, :d]), kept[1]), gone
    r = np.ascontiguousarray(r[:, :d])
    follower = batch(options, q, y, k=4)
    before = follower.scores(q)
    follower.learn(r, z)
    if looked:
        follower.scores(q)
    for i in range(len(r)):
        follower.forget(r[i : i + 1], z[i : i + 1])
        if looked:
            follower.scores(q)
    assert_close(follower.scores(q), before)


@from_moments
@settings(max_examples=30)
@given(samples())
def test_after_every_sample_the_head_is_the_batch_solution(options, stream):
    q, y = stream
    follower = Follower(options, q.shape[1])
    for i in range(len(q)):
        follower.learn(q[i : i + 1], y[i : i + 1])
        assert_close(follower.scores(q), batch(options, q[: i + 1], y[: i + 1]).scores(q))


@every_head
@given(samples())
def test_probabilities_are_a_distribution_in_the_order_of_scores(options, stream):
    q, y = stream
    follower = batch(options, q, y, k=6)
    assert_probabilities(follower.head, np.concatenate([q, q // 3, -q]), follower.moments.n)


@every_head
@settings(max_examples=30)
@given(samples())
def test_stored_tensors_give_the_same_bits(options, stream):
    q, y = stream
    follower = Follower(options, q.shape[1])
    for i in range(len(q)):
        follower.learn(q[i : i + 1], y[i : i + 1])
        follower.scores(q[:1])
    tensors = {name: a.copy() for name, a in follower.head.tensors().items()}
    again = Follower(options, q.shape[1], follower.moments.copy())
    again.head.restore(tensors)
    assert_array_equal(again.scores(q), follower.scores(q))
    again.learn(q[:1], y[:1])
    follower.learn(q[:1], y[:1])
    assert_close(again.scores(q), follower.scores(q))


@every_head
@given(samples())
def test_a_restored_head_never_writes_into_what_it_was_given(options, stream):
    q, y = stream
    follower = batch(options, q, y)
    tensors = {name: a.copy() for name, a in follower.head.tensors().items()}
    for a in tensors.values():
        a.flags.writeable = False
    follower.head.restore(tensors)
    follower.learn(q, y)
    if options.promise.from_moments:
        follower.forget(q[:1], y[:1])
    assert np.isfinite(follower.scores(q)).any()


@every_head
def test_foreign_tensors_are_refused(options, rng):
    q, y = rng.integers(-500, 500, (20, 3)).astype(np.int16), rng.integers(0, 3, 20)
    follower = batch(options, q, y)
    good = follower.head.tensors()
    forgeries = [{**good, "extra": np.zeros(1)}]
    for name, a in good.items():
        forgeries += [
            {n: b for n, b in good.items() if n != name},
            {**good, name: a.astype(np.float32)},
            {**good, name: a[:-1]},
            {**good, name: np.full_like(a, np.nan)},
            {**good, name: a[None]},
        ]
    before = follower.scores(q)
    for forged in forgeries:
        with pytest.raises(StateError):
            follower.head.restore(forged)
    assert_array_equal(follower.scores(q), before)


@from_moments
@given(samples())
def test_an_unseen_class_scores_minus_infinity_and_moves_no_other(options, stream):
    q, y = stream
    follower = batch(options, q, y)
    before = follower.scores(q)
    follower.learn(q[:1], np.array([before.shape[1] + 2]))
    follower.forget(q[:1], np.array([before.shape[1] + 2]))
    after = follower.scores(q)
    assert np.isneginf(after[:, before.shape[1] :]).all()
    assert_close(after[:, : before.shape[1]], before)
    assert_probabilities(follower.head, q, follower.moments.n)


@every_head
@given(samples(), st.integers(1, 3))
def test_room_for_classes_to_come_moves_no_other(options, stream, more):
    q, y = stream
    follower = batch(options, q, y)
    before = follower.scores(q)
    follower.moments.grow(before.shape[1] + more)
    after = assert_probabilities(follower.head, q, follower.moments.n)
    assert np.isneginf(after[:, before.shape[1] :]).all()
    assert_close(after[:, : before.shape[1]], before)


@from_moments
@given(samples(), st.booleans())
def test_a_class_emptied_by_forgetting_never_wins(options, stream, at_once):
    q, y = stream
    follower = batch(options, np.concatenate([q, -q]), np.concatenate([y + 1, y * 0]))
    follower.scores(q)
    gone = y == y[0]
    for part in [np.flatnonzero(gone)] if at_once else np.flatnonzero(gone)[:, None]:
        follower.forget(q[part], y[part] + 1)
    scores = assert_probabilities(follower.head, q, follower.moments.n)
    assert np.isneginf(scores[:, y[0] + 1]).all()


@every_head
@given(samples(max_k=1), st.integers(0, 3))
def test_one_class_alone_always_wins(options, stream, c):
    q, y = stream
    follower = batch(options, q, y + c)
    at = np.concatenate([q, np.zeros_like(q[:1])])
    scores = follower.scores(at)
    assert (scores.argmax(axis=1) == c).all()
    assert (follower.head.probabilities(scores, at)[:, c] == 1.0).all()


@every_head
@pytest.mark.parametrize("copies", [2, 3, 7, 17, 64])
@pytest.mark.parametrize("d", [1, 2, 10])
def test_a_stalled_sensor_that_repeats_one_row_a_class_is_learned(options, copies, d, rng):
    q = np.array([[900] * d, [-1300] * d], np.int16) + rng.integers(-99, 99, (2, d), np.int16)
    y = np.arange(2)
    follower = batch(options, np.repeat(q, copies, axis=0), np.repeat(y, copies))
    scores = assert_probabilities(follower.head, q, follower.moments.n)
    assert_array_equal(scores.argmax(axis=1), y)


@every_head
@pytest.mark.parametrize(
    "spoil",
    [
        lambda q: np.repeat(q[:, :1], q.shape[1], axis=1),  # rank one
        lambda q: np.full_like(q, 7),  # constant
        lambda q: np.zeros_like(q),
        lambda q: q * np.array([1, 0, 1, 0], np.int16),  # dead features
        lambda q: np.clip(q * 100, -2047, 2047),  # all at the rail
        lambda q: q[:1].repeat(len(q), axis=0),  # one row, every class
        lambda q: np.full_like(q, 2047) - (q > 0),  # a grid step of spread on a large mean
        lambda q: (
            np.array([1999, -1777, 1555, 2033]) + (np.arange(len(q)) == 1)[:, None] * [0, 1, 0, 0]
        ),
    ],
)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 40, 200])
def test_degenerate_features_give_finite_answers(options, spoil, n, rng):
    q = spoil(rng.integers(-500, 500, (n, 4)).astype(np.int16)).astype(np.int16)
    y = np.arange(n) % 3
    follower = Follower(options, 4)
    for i in range(n):
        follower.learn(q[i : i + 1], y[i : i + 1])
        if 40 < i < n - 1 and i % 8:
            continue
        at = np.concatenate([q[:5], np.eye(4, dtype=np.int16)])
        scores = assert_probabilities(follower.head, at, follower.moments.n)
        assert np.isfinite(scores[:, : min(i + 1, 3)]).all()


@from_moments
@given(samples(max_d=3, largest=50), samples(max_d=3, max_n=4, largest=50))
def test_whatever_was_forgotten_the_head_answers(options, learned, foreign):
    """Sums cannot prove that a sample was learned; those that pass must not break the head."""
    d = min(learned[0].shape[1], foreign[0].shape[1])
    q = np.ascontiguousarray(learned[0][:, :d])
    follower = batch(options, q, learned[1])
    for r, z in zip(np.ascontiguousarray(foreign[0][:, :d]), foreign[1], strict=True):
        try:
            follower.forget(r[None], np.array([z]))
        except ForgetError:
            continue
        if follower.moments.samples:
            assert_probabilities(follower.head, q, follower.moments.n)


@from_moments
@given(samples(max_n=10), samples(max_n=10))
def test_merged_devices_are_one_device(options, here, there):
    d = min(here[0].shape[1], there[0].shape[1])
    parts = [(np.ascontiguousarray(q[:, :d]), y) for q, y in (here, there)]
    a, b = (batch(options, *part) for part in parts)
    a.scores(parts[0][0])
    a.moments.merge(b.moments, np.arange(b.moments.k))
    a.head.refresh()
    q, y = (np.concatenate(column) for column in zip(*parts, strict=True))
    assert_close(a.scores(q), batch(options, q, y).scores(q))


def interleave(options, d, steps, seed):
    """Learn and forget in turn, one sample at a time; yield the follower, and what is in."""
    rng = np.random.default_rng(seed)
    follower, q, y = Follower(options, d), np.zeros((0, d), np.int16), np.zeros(0, int)
    for _ in range(steps):
        if len(q) > 20 and rng.random() < 0.48:
            i = int(rng.integers(len(q)))
            follower.forget(q[i : i + 1], y[i : i + 1])
            q, y = np.delete(q, i, axis=0), np.delete(y, i)
        else:
            row, label = rng.integers(-800, 800, (1, d)).astype(np.int16), rng.integers(0, 6, 1)
            follower.learn(row, label)
            q, y = np.concatenate([q, row]), np.concatenate([y, label])
        yield follower, q, y


@from_moments
@settings(max_examples=25)
@given(SEEDS)
def test_interleaved_learning_and_forgetting_stays_with_a_rebuild(options, seed):
    at = np.random.default_rng(0).integers(-900, 900, (9, 7)).astype(np.int16)
    for follower, q, y in interleave(options, 7, 120, seed):
        scores = follower.scores(at)
    assert_close(scores, batch(options, q, y, k=follower.moments.k).scores(at))


@from_moments
@pytest.mark.slow
@pytest.mark.parametrize("d", [4, 24])
def test_ten_thousand_interleaved_samples_stay_with_a_rebuild(options, d):
    at = np.random.default_rng(0).integers(-900, 900, (9, d)).astype(np.int16)
    for step, (follower, q, y) in enumerate(interleave(options, d, 10_000, d)):
        if step % 5 < 4:  # a head that follows does so unasked; after each step is tested above
            continue
        scores = follower.scores(at)
        if step % 500 == 499:
            assert_close(scores, batch(options, q, y, k=follower.moments.k).scores(at))


@every_head
@given(samples(), samples(max_n=5))
def test_what_is_stored_does_not_change_while_it_is_written(options, first, later):
    d = min(first[0].shape[1], later[0].shape[1])
    parts = [(np.ascontiguousarray(q[:, :d]), y) for q, y in (first, later)]
    follower = batch(options, *parts[0])
    follower.scores(parts[0][0])
    tensors = follower.head.tensors()
    before = {name: a.copy() for name, a in tensors.items()}
    for q, y in zip(*parts[1], strict=True):
        follower.learn(q[None], np.array([y]))
        follower.scores(q[None])
    for name, a in tensors.items():
        assert_array_equal(a, before[name])


@every_head
@given(samples(), samples(max_n=5))
def test_a_frozen_head_answers_as_it_did(options, first, later):
    d = min(first[0].shape[1], later[0].shape[1])
    parts = [(np.ascontiguousarray(q[:, :d]), y) for q, y in (first, later)]
    follower = batch(options, *parts[0])
    at = parts[0][0]
    before, frozen = follower.scores(at), follower.head.frozen()
    follower.learn(*parts[1])
    follower.scores(at)
    assert_array_equal(frozen(at), before)


@every_head
def test_a_head_over_nothing_has_no_classes(options):
    follower = Follower(options, 3)
    assert follower.scores(np.zeros((2, 3), np.int16)).shape == (2, 0)


@in_order
@given(samples(), st.data())
def test_the_same_calls_give_the_same_bits(options, stream, data):
    q, y = stream
    one, other = (Follower(options, q.shape[1]) for _ in range(2))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(q)), max_size=5)))
    for part in np.split(np.arange(len(q)), cuts):
        for follower in (one, other):
            follower.learn(q[part], y[part])
        if other.moments.samples:
            assert_probabilities(other.head, q, other.moments.n)  # answering changes nothing
    assert_same_tensors(one.head, other.head)


@by_sample
@given(samples(), st.data())
def test_the_same_stream_gives_the_same_bits_however_it_is_cut(options, stream, data):
    q, y = stream
    one, other = (Follower(options, q.shape[1]) for _ in range(2))
    for i in range(len(q)):
        one.learn(q[i : i + 1], y[i : i + 1])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(q)), max_size=5)))
    for part in np.split(np.arange(len(q)), cuts):
        other.learn(q[part], y[part])
        if other.moments.samples and data.draw(st.booleans()):
            assert_probabilities(other.head, q, other.moments.n)  # answering changes nothing
    assert_same_tensors(one.head, other.head)


@in_order
@given(samples(), samples(), st.booleans())
def test_a_restored_head_goes_on_with_the_same_bits(options, first, later, solved):
    d = min(first[0].shape[1], later[0].shape[1])
    q, r = (np.ascontiguousarray(part[0][:, :d]) for part in (first, later))
    follower = batch(options, q, first[1]) if solved else Follower(options, d)
    follower.learn(q, first[1])
    again = Follower(options, d, follower.moments.copy())
    again.head.restore(follower.head.tensors())
    for i in range(len(r)):
        for each in (follower, again):
            each.learn(r[i : i + 1], later[1][i : i + 1])
    assert_array_equal(again.scores(r), follower.scores(r))
    assert_same_tensors(again.head, follower.head)


@in_order
@given(samples())
def test_to_take_a_sample_back_is_refused_and_changes_nothing(options, stream):
    q, y = stream
    follower = Follower(options, q.shape[1])
    follower.learn(q, y)
    before = {name: a.copy() for name, a in follower.head.tensors().items()}
    with pytest.raises(ForgetError):
        follower.head.update(q[:1], y[:1], -1)
    for name, a in follower.head.tensors().items():
        assert_array_equal(a, before[name])


@in_order
@given(samples())
def test_solved_from_the_moments_it_does_not_depend_on_what_was_before(options, stream):
    q, y = stream
    follower = Follower(options, q.shape[1])
    for i in range(len(q)):
        follower.learn(q[i : i + 1], y[i : i + 1])
    follower.head.refresh()
    assert_array_equal(follower.scores(q), batch(options, q, y).scores(q))
    assert_same_tensors(follower.head, batch(options, q, y).head)


def assert_same_tensors(one, other):
    mine, theirs = one.tensors(), other.tensors()
    assert mine.keys() == theirs.keys()
    for name, a in mine.items():
        assert_array_equal(a, theirs[name])
