"""The run loop: a source and a learner, one sample after the other.

    predict       answer; where the source knows the label, score the answer
    learn         learn each sample with its label
    prequential   answer, score, then learn: every sample is a test before it is a lesson

Nothing is printed here: the caller gets an event a sample, and a summary. Memory does not
grow with the length of the stream.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from time import perf_counter
from typing import get_args

import numpy as np

from edge_cl.autosave import Autosave
from edge_cl.errors import InputError, SourceError
from edge_cl.labels import checked_label
from edge_cl.learner import Learner
from edge_cl.results import Lesson, Prediction, StageTimes
from edge_cl.run_results import STAGES, Event, Mode, StageSummary, Summary, Tally
from edge_cl.smoothing import Smoother
from edge_cl.sources.sample import Item, Sample, Source, Unusable

__all__ = ["STAGES", "Event", "Mode", "StageSummary", "Summary", "Tally", "run_stream"]

_LEARN_TOGETHER = 16  # samples, where the source is finite and nothing waits for an answer
_RECENT = 4096  # samples over which stage times are summarised


def run_stream(
    learner: Learner,
    source: Source,
    *,
    mode: Mode,
    label: str | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    among: Sequence[str] | None = None,
    smooth: float = 0.0,
    autosave_s: float | None = None,
    stop: threading.Event | None = None,
    on_event: Callable[[Event], None] | None = None,
    on_unusable: Callable[[Unusable], None] | None = None,
) -> Summary:
    """Run `source` through `learner` until it ends, `limit` samples are done, or `stop` is set.

    Parameters
    ----------
    label : of every sample, instead of the source's.
    skip_bad : pass over samples that cannot be read, have no label where one is needed, or do
        not fit the encoder; otherwise the first one ends the run. Strays never do.
    among : the classes that can be meant; mode predict only.
    smooth : decay in [0, 1) with which answers are averaged over time (`edge_cl.smoothing`); 0
        answers for each sample alone.
    autosave_s : save what is new every so many seconds, even while no sample comes.
    on_event, on_unusable : called for each sample, and for each thing that is none.

    The learner is neither saved at the end nor closed. What was learned before an error stays
    learned.

    Raises
    ------
    SourceError, InputError : a sample is bad; its name is in the message.
    StorageError : a snapshot could not be written.
    """
    if mode not in get_args(Mode):
        raise InputError(f"unknown mode {mode!r}", hint=f"one of: {', '.join(get_args(Mode))}")
    if limit is not None and limit < 1:
        raise InputError(f"expected a limit >= 1, got {limit}")
    stop = stop or threading.Event()
    if among is not None and mode != "predict":
        raise InputError("expected `among` in mode predict only: what is learned has a label")
    loop = _Loop(
        learner,
        mode,
        label,
        skip_bad,
        among,
        Smoother(smooth) if smooth else None,
        on_event,
        on_unusable,
    )
    together = mode == "learn" and source.total is not None and not source.live
    start = perf_counter()
    saver = Autosave(learner, autosave_s, stop)
    with saver, closing(_timed(source, stop, limit)) as items:
        for item, read_ms in items:
            if isinstance(item, Unusable):
                loop.refuse(item)
            else:
                loop.take(item, read_ms, _LEARN_TOGETHER if together else 1)
        loop.flush()
    if saver.error is not None:
        raise saver.error
    summary = loop.summary
    summary.stopped = stop.is_set()
    summary.saves = saver.saves
    summary.dropped = source.dropped
    summary.elapsed_s = perf_counter() - start
    summary.stages = loop.stages()
    return summary


def _timed(
    source: Source, stop: threading.Event, limit: int | None
) -> Generator[tuple[Item, float], None, None]:
    """Yield items with the time that each took to come, until told to stop."""
    items = iter(source)
    taken = 0
    try:
        while not stop.is_set() and (limit is None or taken < limit):
            start = perf_counter()
            item = next(items, None)
            if item is None:
                return
            taken += isinstance(item, Sample)
            yield item, (perf_counter() - start) * 1e3
    finally:
        if isinstance(items, Generator):
            items.close()  # a camera is released now, not when memory is


class _Loop:
    """The state of one run."""

    def __init__(
        self,
        learner: Learner,
        mode: Mode,
        label: str | None,
        skip_bad: bool,
        among: Sequence[str] | None,
        smoother: Smoother | None,
        on_event: Callable[[Event], None] | None,
        on_unusable: Callable[[Unusable], None] | None,
    ) -> None:
        self._learner = learner
        self._label = label
        self._skip_bad = skip_bad
        self._among = among
        self._smoother = smoother
        self._on_event = on_event
        self._on_unusable = on_unusable
        self._waiting: list[tuple[Sample, float]] = []
        self._times: deque[tuple[float, ...]] = deque(maxlen=_RECENT)
        self.summary = Summary(mode=mode)

    def take(self, sample: Sample, read_ms: float, together: int) -> None:
        """Work on a sample, at once or when `together` of them are there."""
        self._waiting.append((sample, read_ms))
        if len(self._waiting) >= together:
            self.flush()

    def flush(self) -> None:
        """Work on everything that waits."""
        waiting, self._waiting = self._waiting, []
        if len(waiting) > 1 and self._learn_together(waiting):
            return
        for sample, read_ms in waiting:
            self._one(sample, read_ms)

    def refuse(self, item: Unusable) -> None:
        """Count what is no sample, or end the run with its error."""
        if not item.stray and not self._skip_bad:
            # What came before it must not wait for a sample that never comes.
            self.flush()
            raise item.error
        if item.stray:
            self.summary.strays += 1
        else:
            self.summary.skipped += 1
        if self._on_unusable:
            self._on_unusable(item)

    def stages(self) -> dict[str, StageSummary]:
        """Summarise the times of the last samples."""
        if not self._times:
            return {}
        times = np.array(self._times)
        median, p99 = np.median(times, axis=0), np.percentile(times, 99, axis=0)
        names = (*STAGES, "total")
        return {
            name: StageSummary(median_ms=float(median[i]), p99_ms=float(p99[i]))
            for i, name in enumerate(names)
        }

    def _learn_together(self, waiting: list[tuple[Sample, float]]) -> bool:
        """Learn many at once; False, with nothing changed, where one of them is bad."""
        samples = [sample for sample, _ in waiting]
        try:
            labels = [self._needed_label(sample) for sample in samples]
            lesson = self._learner.learn_many([sample.x for sample in samples], labels)
        except (InputError, SourceError):
            return False
        share = _scaled(lesson.stage_ms, 1 / len(samples))
        self.summary.new_classes += lesson.new_classes
        for (sample, read_ms), label in zip(waiting, labels, strict=True):
            self._tell(sample.name, label, None, lesson, read_ms, share)
            lesson = replace(lesson, now_serving=None)  # told once
        return True

    def _one(self, sample: Sample, read_ms: float) -> None:
        try:
            self._work_on(sample, read_ms)
        except InputError as error:
            named = InputError(f"{sample.name}: {error}", hint=error.hint)
            self.refuse(Unusable(name=sample.name, error=named))
        except SourceError as error:
            self.refuse(Unusable(name=sample.name, error=error))

    def _work_on(self, sample: Sample, read_ms: float) -> None:
        mode = self.summary.mode
        label = self._label_of(sample) if mode == "predict" else self._needed_label(sample)
        prediction: Prediction | None = None
        lesson: Lesson | None = None
        if mode == "predict" or label is None:
            prediction = self._learner.predict(sample.x, among=self._among)
        elif mode == "prequential":
            prediction, lesson = self._learner.predict_then_learn(sample.x, label)
        else:
            lesson = self._learner.learn(sample.x, label)
        if prediction and self._smoother:
            prediction = self._smoother(prediction)
        stage_ms = prediction.stage_ms if prediction else StageTimes()
        if lesson:
            stage_ms = _sum(stage_ms, lesson.stage_ms)
            self.summary.new_classes += lesson.new_classes
        self._tell(sample.name, label, prediction, lesson, read_ms, stage_ms)

    def _label_of(self, sample: Sample) -> str | None:
        label = self._label if self._label is not None else sample.label
        return checked_label(label) if label is not None else None

    def _needed_label(self, sample: Sample) -> str:
        label = self._label_of(sample)
        if label is None:
            raise SourceError(
                f"{sample.name} has no label",
                hint="give one, or put the pictures into a folder for each class",
            )
        return label

    def _tell(
        self,
        name: str,
        label: str | None,
        prediction: Prediction | None,
        lesson: Lesson | None,
        read_ms: float,
        stage_ms: StageTimes,
    ) -> None:
        correct = None
        total = self.summary
        if prediction is not None and label is not None:
            correct = prediction.label == label
            tally = total.per_class.setdefault(label, Tally())
            tally.samples += 1
            tally.correct += correct
            total.scored += 1
            total.correct += correct
        total.samples += 1
        total.predicted += prediction is not None
        total.learned += lesson is not None
        spent = [read_ms, *(getattr(stage_ms, name) for name in STAGES[1:])]
        self._times.append((*spent, sum(spent)))
        if self._on_event:
            self._on_event(
                Event(
                    name=name,
                    label=label,
                    prediction=prediction,
                    correct=correct,
                    learned=lesson is not None,
                    now_serving=lesson.now_serving if lesson else None,
                    read_ms=read_ms,
                    stage_ms=stage_ms,
                )
            )


def _sum(a: StageTimes, b: StageTimes) -> StageTimes:
    return StageTimes(**{name: getattr(a, name) + getattr(b, name) for name in STAGES[1:]})


def _scaled(a: StageTimes, by: float) -> StageTimes:
    return StageTimes(**{name: getattr(a, name) * by for name in STAGES[1:]})
