"""The object that users hold: encoder, feature map, moments, head and store behind one lock.

    with Learner.open("state") as learner:
        learner.learn(picture, "mug")
        print(learner.predict(other).label)

A call that raises has changed nothing. Pictures are prepared and encoded outside the lock,
so several threads may call; learning and deciding take turns.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import msgspec
from numpy.typing import ArrayLike

from edge_cl import kernels
from edge_cl.arrays import F32, F64, I16
from edge_cl.bundle import Bundle
from edge_cl.errors import InputError, StateError, StorageError
from edge_cl.features import MapSpec
from edge_cl.forgetting import Forgetting
from edge_cl.group_features import group_features
from edge_cl.heads import HeadOptions, RidgeOptions, head_options
from edge_cl.heads.gcv import RidgeChoice, choose_ridge
from edge_cl.heads.group_choice import GroupRidgeChoice, choose_ridge_by_group
from edge_cl.history import UNDO_DEPTH
from edge_cl.journal import Journal
from edge_cl.knowledge import Knowledge
from edge_cl.labels import checked_label
from edge_cl.ledger import Ledger
from edge_cl.moments import Moments
from edge_cl.pipeline import Pipeline
from edge_cl.presets import Preset
from edge_cl.promotion import tested_held_out, tested_prequentially
from edge_cl.results import (
    HeadAccuracy,
    Lesson,
    LessonRecord,
    Prediction,
    Status,
    Version,
)
from edge_cl.resume import (
    refuse_foreign,
    saved_knowledge,
)
from edge_cl.specs import described
from edge_cl.state import Wishes, open_state
from edge_cl.stopwatch import Stopwatch
from edge_cl.store import Durability, Promotion, Recovery, Saved
from edge_cl.thumbnails import Thumbnails, thumbnail

__all__ = ["UNDO_DEPTH", "Learner"]


class Learner:
    """A frozen encoder with a head that learns. Made by `Learner.open`."""

    def __init__(
        self,
        pipeline: Pipeline,
        journal: Journal,
        recovery: Recovery | None = None,
        thumbnails: Thumbnails | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._journal = journal
        self._ledger = Ledger(journal)
        self._lock = journal.lock
        self._recovery = recovery or Recovery()
        self._thumbnails = thumbnails

    @classmethod
    def open(
        cls,
        state: str | os.PathLike[str] | None = None,
        *,
        bundle: str | os.PathLike[str] | Bundle | None = None,
        head: str | HeadOptions | None = None,
        compare: Sequence[str | HeadOptions] | None = None,
        feature_map: str | MapSpec | None = None,
        preset: str | Preset | None = None,
        forgetting: str | Forgetting | None = None,
        durability: str | Durability = "lesson",
        archive: bool = False,
        thumbnails: bool = False,
        runtime: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
        accelerator: str | None = None,
        accelerator_options: Mapping[str, str] | None = None,
        cores: str | Iterable[int] | None = None,
        strict: bool = False,
        require_signature: str | os.PathLike[str] | None = None,
        read_only: bool = False,
    ) -> Learner:
        """Open the learner kept in folder `state`, or a new one.

        Parameters
        ----------
        state : folder, created if need be; None keeps everything in memory.
        bundle : a path or an opened bundle; None takes the one kept in `state`, else the
            EfficientNet-Lite0 that ships with edge-cl.
        head : a name (`edge_cl.heads.HEADS`) or options; None keeps what `state` has, else
            "ridge". Another head than the saved one is solved from the same moments: nothing
            is learned again. "auto" compares ridge, lda and ncm, and lets the best one serve.
        compare : further heads over the same moments, tested on each sample before it is
            learned (`edge_cl.contest`); `status.compared` tells. None keeps those of `state`.
        feature_map : a name (`edge_cl.features.map_named`) or a spec; fixed once learned.
        preset : a published method, which stands for a head and a map: a name
            (`edge_cl.presets.PRESETS`) or a preset.
        forgetting : "everything" stays (the default), "halve:PERIOD" or
            "window:SAMPLES[:BLOCKS]", or a spec of `edge_cl.forgetting`; for streams that
            drift. Fixed once learned.
        durability : when a lesson is on disk: "lesson": before `learn` returns; "group:N": with
            the N-th call, or `flush`; "save": with `flush`, `save` or `close`; or a `Durability`.
        archive : keep the features of every sample and not only of the newest 4096, so that any
            lesson, or a whole class, can be forgotten; the state grows with each. Once on, it
            stays on.
        thumbnails : keep a small picture of each lesson that the ring holds, from now on.
        runtime, precision, threads : see `edge_cl.encoders.open_encoder`.
        accelerator, accelerator_options, strict : what the network is to run on, and whether a
            part of it that does not is an error; see there.
        cores : that the network's threads are kept on: "big", "all", "0,2-3", or numbers.
        require_signature : path of a public key; a bundle that its owner has not signed is
            refused (`edge_cl.signing`).
        read_only : never write to `state`; take no lock. What another process is learning is
            seen as far as it is on disk.

        Raises
        ------
        BundleError, StateError : a file is damaged, not signed, or belongs to another encoder.
        StorageError : the folder is in use by another process, or cannot be made.
        InputError, BackendError : an option does not exist, or cannot run here.
        """
        wishes = Wishes(
            bundle=bundle,
            head=head,
            compare=compare,
            feature_map=feature_map,
            preset=preset,
            forgetting=forgetting,
            durability=durability,
            archive=archive,
            thumbnails=thumbnails,
            runtime=runtime,
            precision=precision,
            threads=threads,
            accelerator=accelerator,
            accelerator_options=accelerator_options,
            cores=cores,
            strict=strict,
            require_signature=require_signature,
            read_only=read_only,
        )
        return cls(*open_state(Path(state) if state is not None else None, wishes))

    # -- learning -------------------------------------------------------------------------

    def learn(self, x: ArrayLike, label: str, *, event: bytes | None = None) -> Lesson:
        """Learn one labelled input, exactly and at once.

        Parameters
        ----------
        x : a picture, uint8 (height, width, 3) of any size or (height, width) grey; or, for
            a bundle without images, a vector (d,).
        label : the class; a name not seen before is a new class.
        event : 16 bytes that name this call, so that it can be repeated when no answer came:
            8 that name the client, 8 of a big-endian counter that rises. A repeated one learns
            nothing and gives the old answer. Not random bytes: every client is remembered.

        Raises
        ------
        InputError : `x`, `label` or `event` is not acceptable. Nothing has changed.
        StorageError : the disk refused. Nothing has changed.
        """
        return self.learn_many([x], [label], event=event)

    def learn_many(
        self, xs: Iterable[ArrayLike], labels: Sequence[str], *, event: bytes | None = None
    ) -> Lesson:
        """Learn many inputs: all of them, or on an error none. See `learn`."""
        if isinstance(labels, str):
            raise InputError("expected a sequence of labels, got one string")
        labels = [checked_label(label) for label in labels]
        watch, small = Stopwatch(), list[bytes]()
        q = self._pipeline.grid(self._seen(xs, small), watch)
        if len(q) != len(labels):
            raise InputError(f"expected a label for each of {len(q)} inputs, got {len(labels)}")
        return self._learn(q, labels, watch, event, small)

    def predict_then_learn(
        self, x: ArrayLike, label: str, *, event: bytes | None = None
    ) -> tuple[Prediction | None, Lesson]:
        """Answer for one input, then learn it with its true label; it is encoded once.

        Every sample is a test before it is a lesson (prequential evaluation). The prediction
        is None while nothing is known; the lesson's time is what came after the prediction.

        Raises
        ------
        InputError, StorageError : see `learn`. Nothing has changed.
        """
        label = checked_label(label)
        watch, small = Stopwatch(), list[bytes]()
        q = self._pipeline.grid(self._seen([x], small), watch)
        with self._journal.writing():
            known = self._journal.knowledge.moments.samples > 0
            prediction = self._decide(q, watch) if known else None
            watch = Stopwatch() if known else watch
            return prediction, self._learn(q, [label], watch, event, small)

    # -- taking back ----------------------------------------------------------------------

    def undo(self, count: int = 1, *, event: bytes | None = None) -> tuple[str, ...]:
        """Take back the newest `count` samples, newest first; return their labels.

        Raises
        ------
        ForgetError : fewer can be undone (the last 256, samples forgotten since excluded), or
            a head depends on the order of samples.
        StorageError : the disk refused. Nothing has changed.
        """
        with self._taking_back():
            return self._ledger.undo(count, event).labels

    def forget(self, x: ArrayLike, label: str, *, event: bytes | None = None) -> None:
        """Take back one input that was learned with `label`, whenever that was.

        Afterwards the sums are, bit for bit, as if it had never been learned, and so are the
        scores up to rounding. The sums cannot prove that `x` was learned; they refuse what is
        provably impossible.

        Raises
        ------
        ForgetError : the sums show that it was not learned, or a head depends on the order of
            samples. Nothing has changed.
        StorageError : the disk refused. Nothing has changed.
        """
        q = self._pipeline.grid([x], Stopwatch())
        with self._taking_back():
            self._ledger.forget(q, checked_label(label), event)

    def forget_lesson(self, seq: int, *, event: bytes | None = None) -> str:
        """Take back the sample of this number (`Lesson.seq`, `history`); return its label.

        Raises
        ------
        ForgetError : its features are not held any more (the ring holds the newest 4096, an
            archive all), it was taken back before, or a head depends on the order of samples.
        StorageError : the disk refused. Nothing has changed.
        """
        with self._taking_back():
            return self._ledger.forget_lesson(seq, event).labels[0]

    def forget_class(self, label: str) -> int:
        """Take back every sample of a class, and its name; return how many there were.

        Afterwards the sums are, bit for bit, as if the class had never been learned.

        Raises
        ------
        ForgetError : not all of its features are held any more, samples leave by themselves,
            or a head depends on the order of samples. Nothing has changed.
        """
        with self._taking_back():
            return self._ledger.forget_class(label)

    def rename_class(self, old: str, new: str) -> None:
        """Give a class another name.

        Raises
        ------
        InputError : there is no class `old`, or there is a class `new`.
        """
        self._ledger.rename_class(old, new)

    def merge_classes(self, source: str, into: str) -> None:
        """Let all samples of one class be of another, as if they had been learned so.

        Raises
        ------
        InputError : one of them does not exist.
        ForgetError : samples leave by themselves, or a head depends on their order.
        """
        self._ledger.merge_classes(source, into)

    def merge(self, other: Learner | str | os.PathLike[str]) -> None:
        """Add what another learner, or the state of one, has learned; classes match by name.

        Raises
        ------
        StateError : it has another encoder or feature map: its features mean other things.
        InputError : it is this one; everything would count twice.
        ForgetError : a head depends on the order of samples.
        """
        if not isinstance(other, Learner):
            with Learner.open(other, bundle=self.bundle, read_only=True) as opened:
                if opened.recovery.problems:
                    raise StateError(
                        f"{os.fspath(other)} is damaged: {opened.recovery.problems[0]}",
                        hint="open it for learning once: that keeps what can be proven",
                    )
                self.merge(opened)
            return
        if other._journal.nonce == self._journal.nonce:
            raise InputError("expected another learner to merge with, got this one, or a copy")
        if not self._pipeline.same_features(other._pipeline):
            raise StateError("the other learner has another encoder or feature map")
        with other._lock:
            moments, labels = other.moments(), other.labels
        self._ledger.merge(moments, labels)

    # -- heads ----------------------------------------------------------------------------

    def tune(self) -> RidgeChoice:
        """Choose ridge's λ by generalised cross-validation and use it from now on.

        For independent samples only: see `edge_cl.heads.gcv`, and `tune_by_group`.

        Raises
        ------
        InputError : the head is not ridge, or fewer than two samples are in.
        """
        with self._journal.writing():
            self._require_ridge()
            with self._lock:
                choice = choose_ridge(
                    self._journal.knowledge.moments,
                    scale=self._pipeline.scale,
                    mean_square_norm=self._pipeline.mean_square_norm,
                )
            self._use_ridge(choice.ridge)
            return choice

    def tune_by_group(
        self, groups: Mapping[str, Iterable[tuple[ArrayLike, str]]]
    ) -> GroupRidgeChoice:
        """Choose ridge's λ by leaving out one group at a time, and use it from now on.

        Parameters
        ----------
        groups : name -> pairs of an input and its label. A group is a session, a place, a person:
            what is alike inside and will be new in use. Nothing of it is learned or kept; the
            features of all groups are held meanwhile.

        Raises
        ------
        InputError : the head is not ridge, an input or a label is not acceptable, or the
            groups cannot answer for each other. Nothing has changed.
        """
        self._require_ridge()
        choice = choose_ridge_by_group(
            group_features(self._pipeline, groups),
            scale=self._pipeline.scale,
            mean_square_norm=self._pipeline.mean_square_norm,
        )
        with self._journal.writing():
            self._use_ridge(choice.ridge)
        return choice

    def promote(
        self,
        head: str | HeadOptions,
        *,
        held_out: Iterable[tuple[ArrayLike, str]] | None = None,
    ) -> Promotion:
        """Let another head serve if it is better than the one that does, and record what was found.

        Better is told by the rows on which one of both alone is right (`edge_cl.promotion`).

        Parameters
        ----------
        head : one of those that are compared; with `held_out` any that needs no further sums.
        held_out : pairs of an input and its label that neither head has learned. None: the
            stream, each sample of which was a test before it was learned.

        Returns
        -------
        Promotion : what was found; `promoted` says whether `head` serves now.

        Raises
        ------
        InputError : nothing tells the heads apart: it is not compared, or there are no rows.
        StorageError : the disk refused. Nothing has changed.
        """
        options = head_options(head)
        rows: tuple[I16, list[str]] | None = None
        if held_out is not None:
            labels: list[str] = []
            rows = self._pipeline.grid(_inputs(held_out, labels), Stopwatch()), labels
        with self._journal.writing():
            with self._lock:
                known = self._journal.knowledge
                if rows is None:
                    found = tested_prequentially(known, options)
                else:
                    found = tested_held_out(known, options, *rows)
            return self._ledger.promote(found, options)

    # -- answering ------------------------------------------------------------------------

    def predict(
        self, x: ArrayLike, *, among: Sequence[str] | None = None, top: int | None = None
    ) -> Prediction:
        """Answer for one input.

        Parameters
        ----------
        among : the classes that can be meant here, where the context tells; others get no
            probability. None: all.
        top : how many probabilities to return, >= 1; None: of all classes that have samples.

        Raises
        ------
        InputError : `x` is not acceptable, or `among` names no class that has samples.
        StateError : nothing has been learned yet.
        """
        if top is not None and top < 1:
            raise InputError(f"expected top >= 1, got {top}")
        watch = Stopwatch()
        q = self._pipeline.grid([x], watch)
        return self._decide(q, watch, among=among, top=top)

    def scores(self, xs: Iterable[ArrayLike]) -> F64:
        """Return the head's scores (n, k) for many inputs; columns as in `labels`.

        A class without samples scores -inf.
        """
        q = self._pipeline.grid(xs, Stopwatch())
        with self._lock:
            return self._journal.knowledge.scores(q)

    def features(self, xs: Iterable[ArrayLike]) -> F32:
        """Return the encoder's features (n, d) float32 for many inputs, before any map."""
        return self._pipeline.features(xs, Stopwatch())

    # -- keeping --------------------------------------------------------------------------

    def flush(self) -> None:
        """Make durable what waits, where `durability` lets lessons wait.

        Raises
        ------
        StorageError : the disk refused; it still waits.
        """
        self._journal.flush()

    def save(self) -> None:
        """Write a snapshot. Reopening gives the same scores, bit for bit.

        Lessons are durable without it; a crash costs only the last bits of the scores.

        Raises
        ------
        StorageError : the disk refused; the old snapshot is still there.
        StateError : there is no folder.
        """
        self._journal.save()

    def close(self, *, save: bool = True) -> None:
        """Save, if there is a folder to save to, and release it, and an NPU that was held.

        With `save=False` what is not durable yet is let go.
        """
        try:
            self._journal.close(save=save)
        finally:
            self._pipeline.encoder.close()

    def history(self, limit: int | None = None) -> tuple[LessonRecord, ...]:
        """Return the newest changes, newest first: as many as the ring holds, 4096."""
        return self._ledger.history(limit)

    def save_version(self, name: str) -> None:
        """Keep everything as it is now under a name, to return to with `rollback`.

        Raises
        ------
        InputError : not a name: letters, digits, '.', '_', '-'.
        StorageError : the disk refused.
        StateError : there is no folder.
        """
        self._ledger.save_version(name)

    def drop_version(self, name: str) -> None:
        """Remove a version that was kept."""
        self._ledger.drop_version(name)

    def versions(self) -> tuple[Version, ...]:
        """Return what was kept under names, oldest first."""
        return self._ledger.versions()

    def rollback(self, name: str) -> None:
        """Let everything be as it was when a version was kept.

        What is left behind is kept itself, as the version "before-rollback".

        Raises
        ------
        InputError : there is no such version.
        StateError : it is damaged, or of another encoder.
        """

        def restored(saved: Saved) -> Knowledge:
            p, header = self._pipeline, saved.header
            refuse_foreign(header, p.bundle, p.encoder, p.map_spec, None)
            return saved_knowledge(saved, p)

        with self._taking_back():
            self._ledger.rollback(name, restored)

    def __enter__(self) -> Learner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- looking --------------------------------------------------------------------------

    def moments(self) -> Moments:
        """Return a copy of the sums that everything is solved from; classes as in `labels`."""
        with self._lock:
            return self._journal.knowledge.moments.copy()

    @property
    def labels(self) -> tuple[str, ...]:
        """All class names, in the order of the columns of `scores`."""
        return self._journal.knowledge.labels.names

    @property
    def bundle(self) -> Bundle:
        """The bundle in use."""
        return self._pipeline.bundle

    @property
    def unsaved(self) -> bool:
        """Whether a power cut would cost something."""
        return self._journal.unsaved

    @property
    def recovery(self) -> Recovery:
        """What was found, and mended, when the state was opened."""
        return self._recovery

    @property
    def promotions(self) -> tuple[Promotion, ...]:
        """Which head came to serve in the place of which, and why; newest last."""
        return self._ledger.promotions

    @property
    def status(self) -> Status:
        """What this learner is, and what it knows."""
        with self._lock:
            known, spec = self._journal.knowledge, self._pipeline.encoder.spec
            m, contest = known.moments, known.contest
            return Status(
                bundle=self.bundle.name,
                encoder=f"{spec.runtime} {spec.precision} ({spec.recipe})" if spec else "none",
                placement=self._pipeline.encoder.placement,
                head=described(known.options[0]),
                auto=known.auto,
                compared=tuple(
                    HeadAccuracy(
                        head=described(options), accuracy=None if math.isnan(share) else share
                    )
                    for options, share in zip(
                        known.options, contest.accuracy.tolist() if contest else (), strict=False
                    )
                ),
                tested=contest.tested if contest else 0.0,
                feature_map=described(self._pipeline.map_spec),
                forgetting=described(known.forgetting),
                d=m.d,
                samples=m.samples,
                samples_per_class=dict(zip(self.labels, m.n.tolist(), strict=True)),
                saturated_share=m.saturated / max(1, m.samples * m.d),
                undoable=len(known.history),
                memory_bytes=known.nbytes,
                kernels=kernels.BACKEND,
                state=str(self._journal.store.folder) if self._journal.store else None,
                seq=self._journal.seq,
                lost=self._journal.lost,
                snapshot_error=self._journal.snapshot_error,
                unsaved=self.unsaved,
            )

    # -- private --------------------------------------------------------------------------

    def _learn(
        self,
        q: I16,
        labels: Sequence[str],
        watch: Stopwatch,
        event: bytes | None,
        small: Sequence[bytes],
    ) -> Lesson:
        with self._journal.writing():
            answer, served, known = self._ledger.learn(q, labels, event, watch)
            if self._thumbnails and small and not known:
                with _only_warned():
                    self._thumbnails.keep(answer.seq, small)
                watch.lap("commit")
        watch.lap("learn")
        return Lesson(
            samples=answer.samples,
            total=answer.total,
            new_classes=answer.new_classes,
            now_serving=described(served) if served else None,
            stage_ms=watch.times(),
            seq=answer.seq,
            durable=self._journal.durable,
            duplicate=known,
        )

    def _seen(self, xs: Iterable[ArrayLike], small: list[bytes]) -> Iterator[ArrayLike]:
        """Yield inputs, and put their thumbnails into `small` where these are kept."""
        for x in xs:
            if self._thumbnails and self._thumbnails.new:
                small.append(thumbnail(x))
            yield x

    @contextmanager
    def _taking_back(self) -> Iterator[None]:
        """Let thumbnails go with their lessons."""
        with self._journal.writing():
            yield
            if self._thumbnails:
                with _only_warned():
                    self._thumbnails.keep_only(self._ledger.standing())

    def _decide(
        self,
        q: I16,
        watch: Stopwatch,
        *,
        among: Sequence[str] | None = None,
        top: int | None = None,
    ) -> Prediction:
        with self._lock:
            found = self._journal.knowledge.answer(q, among=among, top=top)
        watch.lap("predict")
        return Prediction(label=next(iter(found)), probabilities=found, stage_ms=watch.times())

    def _require_ridge(self) -> RidgeOptions:
        options = self._journal.knowledge.options[0]
        if not isinstance(options, RidgeOptions):
            raise InputError("expected the head to be ridge: no other has a λ to choose")
        return options

    def _use_ridge(self, ridge: float) -> None:
        self._ledger.replace_head(msgspec.structs.replace(self._require_ridge(), ridge=ridge))


def _inputs(pairs: Iterable[tuple[ArrayLike, str]], labels: list[str]) -> Iterator[ArrayLike]:
    """Yield the inputs of pairs, and put their labels into `labels`."""
    for x, label in pairs:
        labels.append(checked_label(label))
        yield x


@contextmanager
def _only_warned() -> Iterator[None]:
    """Let a lesson count whose thumbnail could not be kept."""
    try:
        yield
    except StorageError as error:
        warnings.warn(f"thumbnails: {error}", stacklevel=4)
