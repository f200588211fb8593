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
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import msgspec
from numpy.typing import ArrayLike

from edge_cl import kernels
from edge_cl.arrays import F32, F64, I16
from edge_cl.bundle import Bundle
from edge_cl.encoders import open_encoder
from edge_cl.errors import InputError, StateError, StorageError
from edge_cl.features import Identity, MapSpec, map_named
from edge_cl.forgetting import Everything, Forgetting, forgetting_named
from edge_cl.heads import HeadOptions, RidgeOptions
from edge_cl.heads.gcv import RidgeChoice, choose_ridge
from edge_cl.heads.group_choice import GroupRidgeChoice, choose_ridge_by_group
from edge_cl.history import UNDO_DEPTH
from edge_cl.knowledge import Knowledge
from edge_cl.labels import Labels, checked_label
from edge_cl.moments import Moments
from edge_cl.pipeline import Pipeline
from edge_cl.presets import Preset, preset_named
from edge_cl.results import HeadAccuracy, Lesson, Prediction, Status
from edge_cl.resume import (
    chosen_heads,
    find_bundle,
    refuse_foreign,
    saved_encoder,
    saved_moments,
)
from edge_cl.specs import described
from edge_cl.stopwatch import Stopwatch
from edge_cl.store import Saved, StateHeader, Store
from edge_cl.tuning import group_features

__all__ = ["UNDO_DEPTH", "Learner"]

_EVERYTHING = Everything()


class Learner:
    """A frozen encoder with a head that learns. Made by `Learner.open`."""

    def __init__(
        self,
        pipeline: Pipeline,
        heads: Sequence[HeadOptions],
        *,
        forgetting: Forgetting = _EVERYTHING,
        auto: bool = False,
    ) -> None:
        self._pipeline = pipeline
        self._knowledge = Knowledge(
            heads,
            d=pipeline.d,
            scale=pipeline.scale,
            mean_square_norm=pipeline.mean_square_norm,
            forgetting=forgetting,
            auto=auto,
        )
        self._store: Store | None = None
        self._saved_at = 0  # of the changes of `_knowledge`
        self._lock = threading.RLock()
        self._saving = threading.RLock()  # taken before `_lock`, never after it

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
        runtime: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
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
        runtime, precision, threads : see `edge_cl.encoders.open_encoder`.
        read_only : never write to `state`; take no lock.

        Raises
        ------
        BundleError, StateError : a file is damaged, or belongs to another encoder.
        StorageError : the folder is in use by another process, or cannot be made.
        InputError, BackendError : an option does not exist, or cannot run here.
        """
        if preset is not None and not (head is None and feature_map is None):
            raise InputError("expected a preset, or a head and a feature map, got both")
        if isinstance(preset, str):
            preset = preset_named(preset)
        folder = Path(state) if state is not None else None
        # A folder that is not there is made last, when nothing can be refused any more.
        store = Store(folder, read_only=read_only) if folder and folder.exists() else None
        try:
            saved = store.load() if store else None
            header = saved.header if saved else None
            opened, keep = find_bundle(bundle, store)
            if header and runtime is None and precision is None:
                runtime, precision = saved_encoder(opened, header.encoder_sha256)
            encoder = open_encoder(opened, runtime=runtime, precision=precision, threads=threads)
            if preset is not None:
                head, feature_map = preset.head_for(opened.manifest.embedding), preset.map
            if isinstance(feature_map, str):
                feature_map = map_named(feature_map)
            if isinstance(forgetting, str):
                forgetting = forgetting_named(forgetting)
            heads, auto = chosen_heads(head, compare, header)
            if header:
                refuse_foreign(header, opened, encoder, feature_map, forgetting)
                feature_map, forgetting = header.map, header.forgetting
            pipeline = Pipeline(opened, encoder, feature_map or Identity())
            learner = cls(pipeline, heads, forgetting=forgetting or _EVERYTHING, auto=auto)
            if saved:
                learner._restore(saved)
            if store is None and folder is not None:
                store = Store(folder, read_only=read_only)
                if store.snapshot.exists():
                    raise StorageError(
                        f"another process made {folder} just now", hint="open it again"
                    )
            if store and saved is None and keep and not read_only:
                store.save_bundle(opened.archive())
            learner._store = store
        except BaseException:
            if store:
                store.close()
            raise
        return learner

    # -- learning -------------------------------------------------------------------------

    def learn(self, x: ArrayLike, label: str) -> Lesson:
        """Learn one labelled input, exactly and at once.

        Parameters
        ----------
        x : a picture, uint8 (height, width, 3) of any size or (height, width) grey; or, for
            a bundle without images, a vector (d,).
        label : the class; a name not seen before is a new class.

        Raises
        ------
        InputError : `x` or `label` is not acceptable. Nothing has changed.
        """
        return self.learn_many([x], [label])

    def learn_many(self, xs: Iterable[ArrayLike], labels: Sequence[str]) -> Lesson:
        """Learn many inputs: all of them, or on an error none. See `learn`."""
        if isinstance(labels, str):
            raise InputError("expected a sequence of labels, got one string")
        labels = [checked_label(label) for label in labels]
        watch = Stopwatch()
        q = self._pipeline.grid(xs, watch)
        if len(q) != len(labels):
            raise InputError(f"expected a label for each of {len(q)} inputs, got {len(labels)}")
        with self._lock:
            return self._learn(q, labels, watch)

    def predict_then_learn(self, x: ArrayLike, label: str) -> tuple[Prediction | None, Lesson]:
        """Answer for one input, then learn it with its true label; it is encoded once.

        Every sample is a test before it is a lesson (prequential evaluation). The prediction
        is None while nothing is known; the lesson's time is what came after the prediction.

        Raises
        ------
        InputError : `x` or `label` is not acceptable. Nothing has changed.
        """
        label = checked_label(label)
        watch = Stopwatch()
        q = self._pipeline.grid([x], watch)
        with self._lock:
            known = self._knowledge.moments.samples > 0
            prediction = self._decide(q, watch) if known else None
            return prediction, self._learn(q, [label], Stopwatch() if known else watch)

    def undo(self, count: int = 1) -> tuple[str, ...]:
        """Take back the newest `count` samples, newest first; return their labels.

        Raises
        ------
        ForgetError : fewer can be undone (the last 256, samples forgotten since excluded), or
            a head depends on the order of samples.
        """
        with self._lock:
            self._refuse_unwritable()
            return self._knowledge.undo(count)

    def forget(self, x: ArrayLike, label: str) -> None:
        """Take back one input that was learned with `label`, whenever that was.

        Afterwards the sums are, bit for bit, as if it had never been learned, and so are the
        scores up to rounding. The sums cannot prove that `x` was learned; they refuse what is
        provably impossible.

        Raises
        ------
        ForgetError : the sums show that it was not learned, or a head depends on the order of
            samples. Nothing has changed.
        """
        q = self._pipeline.grid([x], Stopwatch())
        with self._lock:
            self._refuse_unwritable()
            self._knowledge.forget(q, label)

    def merge(self, other: Learner | str | os.PathLike[str]) -> None:
        """Add what another learner, or the state of one, has learned; classes match by name.

        Raises
        ------
        StateError : it has another encoder or feature map: its features mean other things.
        InputError : it is this one; everything would count twice.
        ForgetError : a head depends on the order of samples.
        """
        if self._is(other):
            raise InputError("expected another learner to merge with, got this one")
        if not isinstance(other, Learner):
            saved = Store(Path(other), read_only=True).load()
            if saved is None:
                raise StateError(f"{os.fspath(other)} holds no state")
            p = self._pipeline
            refuse_foreign(saved.header, p.bundle, p.encoder, p.map_spec, None)
            moments, labels = saved_moments(saved), saved.header.labels
        elif not self._pipeline.same_features(other._pipeline):
            raise StateError("the other learner has another encoder or feature map")
        else:
            with other._lock:
                moments, labels = other.moments(), other.labels
        with self._lock:
            self._refuse_unwritable()
            self._knowledge.merge(moments, labels)

    def tune(self) -> RidgeChoice:
        """Choose ridge's λ by generalised cross-validation and use it from now on.

        For independent samples only: see `edge_cl.heads.gcv`, and `tune_by_group`.

        Raises
        ------
        InputError : the head is not ridge, or fewer than two samples are in.
        """
        with self._lock:
            self._require_ridge()
            choice = choose_ridge(
                self._knowledge.moments,
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
        with self._lock:
            self._use_ridge(choice.ridge)
        return choice

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
        with self._lock:
            return self._decide(q, watch, among=among, top=top)

    def scores(self, xs: Iterable[ArrayLike]) -> F64:
        """Return the head's scores (n, k) for many inputs; columns as in `labels`.

        A class without samples scores -inf.
        """
        q = self._pipeline.grid(xs, Stopwatch())
        with self._lock:
            return self._knowledge.scores(q)

    def features(self, xs: Iterable[ArrayLike]) -> F32:
        """Return the encoder's features (n, d) float32 for many inputs, before any map."""
        return self._pipeline.features(xs, Stopwatch())

    # -- keeping --------------------------------------------------------------------------

    def save(self) -> None:
        """Write a snapshot. Reopening gives the same scores, bit for bit.

        Raises
        ------
        StorageError : the disk refused, or there is no folder; the old snapshot stays.
        """
        with self._saving:
            if self._store is None:
                raise StateError("this learner was opened without a state folder")
            with self._lock:
                saved, changes = self._snapshot(), self._knowledge.changes
            self._store.save(saved)  # the disk is slow: answers need not wait for it
            self._saved_at = changes

    def close(self, *, save: bool = True) -> None:
        """Save what is unsaved, if there is a folder to save to, and release it.

        With `save=False` what is unsaved is let go: the folder keeps the last snapshot.
        """
        with self._saving:
            if self._store is None or self._store.closed:
                return
            try:
                if save and self.unsaved and not self._store.read_only:
                    self.save()
            finally:
                self._store.close()

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
            return self._knowledge.moments.copy()

    @property
    def labels(self) -> tuple[str, ...]:
        """All class names, in the order of the columns of `scores`."""
        return self._knowledge.labels.names

    @property
    def bundle(self) -> Bundle:
        """The bundle in use."""
        return self._pipeline.bundle

    @property
    def unsaved(self) -> bool:
        """Whether anything has changed since the last snapshot."""
        return self._knowledge.changes != self._saved_at

    @property
    def status(self) -> Status:
        """What this learner is, and what it knows."""
        with self._lock:
            known, spec = self._knowledge, self._pipeline.encoder.spec
            m, contest = known.moments, known.contest
            return Status(
                bundle=self.bundle.name,
                encoder=f"{spec.runtime} {spec.precision} ({spec.recipe})" if spec else "none",
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
                state=str(self._store.folder) if self._store else None,
                unsaved=self.unsaved,
            )

    # -- private --------------------------------------------------------------------------

    def _learn(self, q: I16, labels: Sequence[str], watch: Stopwatch) -> Lesson:
        self._refuse_unwritable()
        before = len(self._knowledge.labels)
        served = self._knowledge.learn(q, labels)
        watch.lap("learn")
        return Lesson(
            samples=len(q),
            total=self._knowledge.moments.samples,
            new_classes=self.labels[before:],
            now_serving=described(served) if served else None,
            stage_ms=watch.times(),
        )

    def _decide(
        self,
        q: I16,
        watch: Stopwatch,
        *,
        among: Sequence[str] | None = None,
        top: int | None = None,
    ) -> Prediction:
        found = self._knowledge.answer(q, among=among, top=top)
        watch.lap("decide")
        return Prediction(label=next(iter(found)), probabilities=found, stage_ms=watch.times())

    def _is(self, other: Learner | str | os.PathLike[str]) -> bool:
        if isinstance(other, Learner):
            return other is self
        folder, mine = Path(other), self._store.folder if self._store else None
        return mine is not None and mine.exists() and folder.exists() and mine.samefile(folder)

    def _require_ridge(self) -> RidgeOptions:
        options = self._knowledge.options[0]
        if not isinstance(options, RidgeOptions):
            raise InputError("expected the head to be ridge: no other has a λ to choose")
        return options

    def _refuse_unwritable(self) -> None:
        if self._store is not None:
            self._store.refuse_unwritable()  # what cannot be kept is not learned either

    def _use_ridge(self, ridge: float) -> None:
        self._refuse_unwritable()
        self._knowledge.replace_head(msgspec.structs.replace(self._require_ridge(), ridge=ridge))

    def _snapshot(self) -> Saved:
        known, pipeline = self._knowledge, self._pipeline
        header = StateHeader(
            bundle_name=pipeline.bundle.name,
            bundle_sha256=pipeline.bundle.sha256,
            encoder_sha256=pipeline.encoder.sha256,
            d=pipeline.d,
            scale=pipeline.scale,
            map=pipeline.map_spec,
            head=known.options[0],
            compared=known.options[1:],
            auto=known.auto,
            statistics=tuple(known.moments.statistics),
            forgetting=known.forgetting,
            labels=known.labels.names,
            saturated=known.moments.saturated,
        )
        return Saved(header=header, tensors=known.tensors())

    def _restore(self, saved: Saved) -> None:
        header, known = saved.header, self._knowledge
        heads = (header.head, *header.compared)
        known.restore(saved_moments(saved), Labels(header.labels), saved.tensors, heads)
        if known.options != heads or known.auto != header.auto:
            self._saved_at = -1
