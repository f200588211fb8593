import threading
import time
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_cl import Learner, features_bundle
from edge_cl.errors import InputError, SourceError, StateError, StorageError
from edge_cl.run import run_stream
from edge_cl.run_results import STAGES
from edge_cl.sources import Sample, Unusable

CLASSES = ("mug", "cup", "vase")
CENTRES = np.random.default_rng(1).normal(size=(3, 6))
BUNDLE = features_bundle(3 * CENTRES)


class Listed:
    """A source made of a list."""

    def __init__(self, items, *, total=True, live=False, dropped=0):
        self.items = items
        self.total = len(items) if total else None
        self.live = live
        self.dropped = dropped

    def __iter__(self):
        yield from self.items


def stream(n, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = (CENTRES[y] + 0.8 * rng.normal(size=(n, 6))).astype(np.float32)
    return [Sample(x=x[i], label=CLASSES[y[i]], name=f"s{i}") for i in range(n)]


def bad(name="broken"):
    return Unusable(name=name, error=SourceError(f"{name} is damaged"))


@pytest.fixture
def learner():
    return Learner.open(bundle=BUNDLE)


@pytest.fixture
def taught(learner):
    items = stream(30, seed=9)
    learner.learn_many([s.x for s in items], [s.label for s in items])
    return learner


def scores(learner):
    return learner.scores([s.x for s in stream(20, seed=5)])


@pytest.mark.parametrize("total", [True, False])
def test_learning_a_stream_equals_learning_it_at_once(learner, total):
    items = stream(50)
    events = []
    summary = run_stream(learner, Listed(items, total=total), mode="learn", on_event=events.append)
    other = Learner.open(bundle=BUNDLE)
    other.learn_many([s.x for s in items], [s.label for s in items])
    np.testing.assert_array_equal(scores(learner), scores(other))
    assert (summary.samples, summary.learned, summary.predicted) == (50, 50, 0)
    assert summary.new_classes == list(dict.fromkeys(s.label for s in items))
    assert [event.name for event in events] == [s.name for s in items]
    assert all(event.learned and event.prediction is None for event in events)


def test_predicting_changes_nothing_and_scores_what_has_a_label(taught):
    before = scores(taught)
    items = stream(20)
    items[3] = replace(items[3], label=None)
    summary = run_stream(taught, Listed(items), mode="predict")
    np.testing.assert_array_equal(scores(taught), before)
    right = sum(taught.predict(s.x).label == s.label for s in items)
    assert (summary.predicted, summary.scored, summary.correct) == (20, 19, right)
    assert summary.accuracy == right / 19
    assert not taught.status.samples - 30


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_prequential_is_predict_then_learn(seed, n):
    items = stream(n, seed)
    learner, other = Learner.open(bundle=BUNDLE), Learner.open(bundle=BUNDLE)
    answers = []
    for s in items:
        answers.append(other.predict(s.x).label if other.status.samples else None)
        other.learn(s.x, s.label)
    events = []
    summary = run_stream(learner, Listed(items), mode="prequential", on_event=events.append)
    assert [e.prediction.label if e.prediction else None for e in events] == answers
    assert events[0].correct is None
    right = sum(a == s.label for a, s in zip(answers, items, strict=True))
    assert (summary.scored, summary.correct, summary.learned) == (n - 1, right, n)
    assert sum(tally.samples for tally in summary.per_class.values()) == summary.scored
    assert sum(tally.correct for tally in summary.per_class.values()) == summary.correct
    np.testing.assert_allclose(scores(learner), scores(other), rtol=1e-9)
    assert learner.moments() == other.moments()


def test_a_class_that_was_never_learned_counts_as_wrong(taught):
    items = [replace(s, label="teapot") for s in stream(4)]
    summary = run_stream(taught, Listed(items), mode="predict")
    assert (summary.scored, summary.correct) == (4, 0)


def test_predicting_with_nothing_learned_is_an_error(learner):
    with pytest.raises(StateError, match="nothing has been learned"):
        run_stream(learner, Listed(stream(1)), mode="predict")


def test_the_callers_label_wins(learner):
    run_stream(learner, Listed(stream(3)), mode="learn", label="lamp")
    assert learner.status.samples_per_class == {"lamp": 3}


def test_labels_are_compared_in_the_same_normal_form(learner):
    name = unicodedata.normalize("NFD", "café")
    items = [replace(s, label=name) for s in stream(3)]
    summary = run_stream(learner, Listed(items), mode="prequential")
    assert summary.correct == 2


def test_the_first_bad_sample_ends_the_run_and_keeps_what_came_before(learner):
    items = [*stream(5), bad(), *stream(5)]
    with pytest.raises(SourceError, match="broken is damaged"):
        run_stream(learner, Listed(items), mode="learn")
    assert learner.status.samples == 5


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"x": np.zeros(5)}, InputError, "odd: expected a vector of shape"),
        ({"x": np.full(6, np.nan)}, InputError, "odd: expected finite"),
        ({"label": " mug"}, InputError, "odd: expected a label"),
        ({"label": None}, SourceError, "odd has no label"),
    ],
)
@pytest.mark.parametrize("mode", ["learn", "prequential"])
def test_a_sample_that_does_not_fit_is_named(taught, mode, change, error, says):
    odd = replace(stream(1)[0], name="odd", **change)
    items = [*stream(3), odd, *stream(3)]
    with pytest.raises(error, match=says):
        run_stream(taught, Listed(items), mode=mode)
    assert taught.status.samples == 33
    names = []
    summary = run_stream(
        taught,
        Listed(items),
        mode=mode,
        skip_bad=True,
        on_unusable=lambda item: names.append(item.name),
    )
    assert (summary.learned, summary.skipped, names) == (6, 1, ["odd"])
    assert taught.status.samples == 39


def test_strays_are_reported_and_end_nothing(learner):
    stray = replace(bad("notes.txt"), stray=True)
    seen = []
    summary = run_stream(
        learner, Listed([stray, *stream(2)]), mode="learn", on_unusable=seen.append
    )
    assert (summary.learned, summary.strays, summary.skipped) == (2, 1, 0)
    assert seen == [stray]


@pytest.mark.parametrize("mode", ["learn", "prequential", "predict"])
def test_a_limit_ends_the_run_after_so_many_samples(taught, mode):
    summary = run_stream(taught, Listed([*stream(50)]), mode=mode, limit=20)
    assert summary.samples == 20
    assert not summary.stopped


def test_stopping_finishes_the_sample_at_hand(learner):
    stop = threading.Event()
    seen = []

    def on_event(event):
        seen.append(event.name)
        if len(seen) == 3:
            stop.set()

    summary = run_stream(
        learner, Listed(stream(50)), mode="prequential", stop=stop, on_event=on_event
    )
    assert summary.stopped
    assert summary.samples == learner.status.samples == 3


def test_a_source_is_closed_when_the_run_ends_early(taught):
    closed = []

    class Open(Listed):
        def __iter__(self):
            try:
                yield from self.items
            finally:
                closed.append(True)

    run_stream(taught, Open(stream(5)), mode="predict", limit=1)
    assert closed == [True]
    with pytest.raises(SourceError):
        run_stream(taught, Open([bad(), *stream(5)]), mode="predict")
    assert closed == [True, True]


def test_autosave_saves_while_no_sample_comes(tmp_path):
    stop = threading.Event()

    class Waiting(Listed):
        def __iter__(self):
            yield from self.items
            deadline = time.monotonic() + 10
            while not (tmp_path / "state" / "snapshot-0.safetensors").exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)

    with Learner.open(tmp_path / "state", bundle=BUNDLE, durability="save") as learner:
        summary = run_stream(
            learner,
            Waiting(stream(3), total=False),
            mode="learn",
            autosave_s=0.02,
            stop=stop,
        )
        assert summary.saves == 1  # and none when nothing is new
        assert not summary.stopped


def test_an_autosave_that_fails_ends_the_run_with_its_error(learner, monkeypatch):
    def refuse():
        raise StorageError("no space left")

    monkeypatch.setattr(learner, "flush", refuse)
    stop = threading.Event()

    class Waiting(Listed):
        def __iter__(self):
            yield from self.items
            assert stop.wait(10)

    with pytest.raises(StorageError, match="no space left"):
        run_stream(
            learner, Waiting(stream(3), total=False), mode="learn", autosave_s=0.02, stop=stop
        )


def test_the_summary_has_the_times_of_all_stages_and_what_was_dropped(learner):
    source = Listed(stream(20), total=False, live=True, dropped=7)
    summary = run_stream(learner, source, mode="prequential")
    assert list(summary.stages) == [*STAGES, "total"]
    assert all(0 <= s.median_ms <= s.p99_ms for s in summary.stages.values())
    assert summary.stages["total"].median_ms > 0
    assert summary.dropped == 7
    assert summary.samples_per_second == summary.samples / summary.elapsed_s


def test_an_empty_run_has_a_summary_without_an_accuracy(learner):
    summary = run_stream(learner, Listed([]), mode="prequential")
    assert summary.accuracy is None
    assert summary.stages == {}


@pytest.mark.parametrize("wrong", [{"mode": "guess"}, {"mode": "learn", "limit": 0}])
def test_an_unknown_mode_or_limit_is_refused(learner, wrong):
    with pytest.raises(InputError):
        run_stream(learner, Listed([]), **wrong)
