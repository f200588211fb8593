"""The object that users hold: encoder, feature map, moments, head and store behind one lock.

    with Learner.open("state") as learner:
        learner.learn(picture, "mug")
        print(learner.predict(other).label)

A call that raises has changed nothing. Pictures are prepared and encoded outside the lock,
so several threads may call; learning and deciding take turns.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_cl import kernels
from edge_cl.arrays import F32, F64, I16
from edge_cl.bundle import Bundle
from edge_cl.device import refuse_oversized
from edge_cl.encoders import Encoder, open_encoder
from edge_cl.errors import EdgeCLError, ForgetError, InputError, StateError, StorageError
from edge_cl.features import FeatureMap, Identity, MapSpec, feature_map, map_named
from edge_cl.heads import Head, HeadOptions, RidgeOptions, build_head, head_options
from edge_cl.heads.gcv import RidgeChoice, choose_ridge
from edge_cl.heads.group_choice import GroupRidgeChoice, choose_ridge_by_group
from edge_cl.history import UNDO_DEPTH, History
from edge_cl.interrupts import interrupts_wait
from edge_cl.labels import Labels, checked_label
from edge_cl.moments import Moments
from edge_cl.presets import Preset, preset_named
from edge_cl.results import Lesson, Prediction, Status
from edge_cl.resume import (
    described,
    find_bundle,
    refuse_foreign,
    saved_encoder,
    saved_moments,
)
from edge_cl.stopwatch import Stopwatch
from edge_cl.store import Saved, StateHeader, Store

__all__ = ["UNDO_DEPTH", "Learner"]

_BATCH = 16  # pictures encoded at a time by `learn_many` and `features`


class Learner:
    """A frozen encoder with a head that learns. Made by `Learner.open`."""

    def __init__(
        self,
        bundle: Bundle,
        encoder: Encoder,
        map_spec: MapSpec,
        options: HeadOptions,
    ) -> None:
        self._bundle = bundle
        self._encoder = encoder
        self._map_spec = map_spec
        self._map: FeatureMap = feature_map(map_spec, bundle.manifest.embedding)
        self._labels = Labels()
        refuse_oversized(self._map.d)
        self._moments = Moments(self._map.d)
        self._options = options
        self._head = self._built(options)
        self._history = History(self._map.d)
        self._store: Store | None = None
        self._unsaved = False
        self._lock = threading.RLock()
        self._saving = threading.RLock()  # taken before `_lock`, never after it

    @classmethod
    def open(
        cls,
        state: str | os.PathLike[str] | None = None,
        *,
        bundle: str | os.PathLike[str] | Bundle | None = None,
        head: str | HeadOptions | None = None,
        feature_map: str | MapSpec | None = None,
        preset: str | Preset | None = None,
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
        head : a name ("ridge", "lda", "ncm", "ncm-euclidean") or options; None keeps what
            `state` has, else "ridge". Another head than the saved one is solved from the
            same moments: nothing is learned again.
        feature_map : "identity", "l2", "power[:BETA]", "random-relu[:M]" or a spec; fixed
            once learned.
        preset : a published method, which stands for a head and a map: a name
            (`edge_cl.presets.PRESETS`) or a preset.
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
            opened, keep = find_bundle(bundle, store)
            if saved and runtime is None and precision is None:
                runtime, precision = saved_encoder(opened, saved.header)
            encoder = open_encoder(opened, runtime=runtime, precision=precision, threads=threads)
            if preset is not None:
                head, feature_map = preset.head_for(opened.manifest.embedding), preset.map
            if isinstance(feature_map, str):
                feature_map = map_named(feature_map)
            options = head_options(head) if head is not None else None
            if saved is None:
                learner = cls(opened, encoder, feature_map or Identity(), options or RidgeOptions())
            else:
                refuse_foreign(saved.header, opened, encoder, feature_map)
                learner = cls(opened, encoder, saved.header.map, options or saved.header.head)
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
        q = self._grid(xs, watch)
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
        q = self._grid([x], watch)
        with self._lock:
            known = self._moments.samples > 0
            prediction = self._decide(q, watch) if known else None
            return prediction, self._learn(q, [label], Stopwatch() if known else watch)

    def undo(self, count: int = 1) -> tuple[str, ...]:
        """Take back the newest `count` samples, newest first; return their labels.

        Raises
        ------
        ForgetError : fewer can be undone (the last 256, samples forgotten since excluded).
        """
        with self._lock:
            q, y = self._history.newest(count)
            with self._changing():
                self._moments.subtract(q, y)
                self._history.drop(count)
                self._unsaved = True
                self._head.update(q, y, -1)
            return tuple(self._labels.names[c] for c in y)

    def forget(self, x: ArrayLike, label: str) -> None:
        """Take back one input that was learned with `label`, whenever that was.

        Afterwards the sums are, bit for bit, as if it had never been learned, and so are the
        scores up to rounding. The sums cannot prove that `x` was learned; they refuse what is
        provably impossible.

        Raises
        ------
        ForgetError : the sums show that it was not learned. Nothing has changed.
        """
        q = self._grid([x], Stopwatch())
        with self._lock:
            y = self._labels.known(label)
            if not self._moments.n[y]:
                raise ForgetError(f"no sample of {label!r} is in")
            with self._changing():
                self._moments.subtract(q, np.array([y], np.int64))
                self._history.discard(q[0], y)
                self._unsaved = True
                self._head.update(q, np.array([y], np.int64), -1)

    def merge(self, other: Learner | str | os.PathLike[str]) -> None:
        """Add what another learner, or the state of one, has learned; classes match by name.

        Raises
        ------
        StateError : it has another encoder or feature map: its features mean other things.
        InputError : it is this one; everything would count twice.
        """
        if self._is(other):
            raise InputError("expected another learner to merge with, got this one")
        if not isinstance(other, Learner):
            saved = Store(Path(other), read_only=True).load()
            if saved is None:
                raise StateError(f"{os.fspath(other)} holds no state")
            refuse_foreign(saved.header, self._bundle, self._encoder, self._map_spec)
            moments, labels = saved_moments(saved), saved.header.labels
        else:
            if other._encoder.sha256 != self._encoder.sha256 or other._map_spec != self._map_spec:
                raise StateError("the other learner has another encoder or feature map")
            if other._map.scale != self._map.scale:
                raise StateError("the other learner's features are on another grid")
            with other._lock:
                moments, labels = other._moments.copy(), other._labels.names
        with self._lock:
            names = self._labels.copy()
            y = np.array([names.index(label) for label in labels], np.int64)
            with self._changing():
                self._moments.merge(moments, y)
                self._labels = names
                self._unsaved = True
                self._head.refresh()

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
                self._moments,
                scale=self._map.scale,
                mean_square_norm=self._map.mean_square_norm,
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
            what is alike inside and will be new in use. Nothing of it is learned or kept. One
            group is encoded at a time, and d² numbers are held for each.

        Raises
        ------
        InputError : the head is not ridge, an input or a label is not acceptable, or the
            groups cannot answer for each other. Nothing has changed.
        """
        self._require_ridge()
        names, sums = Labels(), {}
        for group, samples in groups.items():
            y: list[int] = []
            q = self._grid(_inputs(samples, names, y), Stopwatch())
            sums[group] = Moments(self._map.d)
            sums[group].add(q, np.array(y, np.int64))
        choice = choose_ridge_by_group(
            sums, scale=self._map.scale, mean_square_norm=self._map.mean_square_norm
        )
        with self._lock:
            self._use_ridge(choice.ridge)
        return choice

    # -- answering ------------------------------------------------------------------------

    def predict(self, x: ArrayLike) -> Prediction:
        """Answer for one input.

        Raises
        ------
        InputError : `x` is not acceptable.
        StateError : nothing has been learned yet.
        """
        watch = Stopwatch()
        q = self._grid([x], watch)
        with self._lock:
            return self._decide(q, watch)

    def scores(self, xs: Iterable[ArrayLike]) -> F64:
        """Return the head's scores (n, k) for many inputs; columns as in `labels`.

        A class without samples scores -inf.
        """
        q = self._grid(xs, Stopwatch())
        with self._lock:
            return self._scores(q)

    def features(self, xs: Iterable[ArrayLike]) -> F32:
        """Return the encoder's features (n, d) float32 for many inputs, before any map."""
        return self._features(xs, Stopwatch())

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
                saved = self._snapshot()
                self._unsaved = False
            try:
                self._store.save(saved)  # the disk is slow: answers need not wait for it
            except BaseException:
                self._unsaved = True
                raise

    def close(self, *, save: bool = True) -> None:
        """Save what is unsaved, if there is a folder to save to, and release it.

        With `save=False` what is unsaved is let go: the folder keeps the last snapshot.
        """
        with self._saving:
            if self._store is None or self._store.closed:
                return
            try:
                if save and self._unsaved and not self._store.read_only:
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
            return self._moments.copy()

    @property
    def labels(self) -> tuple[str, ...]:
        """All class names, in the order of the columns of `scores`."""
        return self._labels.names

    @property
    def bundle(self) -> Bundle:
        """The bundle in use."""
        return self._bundle

    @property
    def status(self) -> Status:
        """What this learner is, and what it knows."""
        with self._lock:
            m, spec = self._moments, self._encoder.spec
            return Status(
                bundle=self._bundle.name,
                encoder=f"{spec.runtime} {spec.precision} ({spec.recipe})" if spec else "none",
                head=described(self._options),
                feature_map=described(self._map_spec),
                d=m.d,
                samples=m.samples,
                samples_per_class=dict(zip(self.labels, m.n.tolist(), strict=True)),
                saturated_share=m.saturated / max(1, m.samples * m.d),
                undoable=len(self._history),
                memory_bytes=m.nbytes + self._head.nbytes + self._history.nbytes,
                kernels=kernels.BACKEND,
                state=str(self._store.folder) if self._store else None,
                unsaved=self._unsaved,
            )

    # -- private --------------------------------------------------------------------------

    def _features(self, xs: Iterable[ArrayLike], watch: Stopwatch) -> F32:
        parts: list[F32] = []
        batch: list[NDArray[Any]] = []
        for x in xs:
            batch.append(self._encoder.prepare(x))
            watch.lap("prepare")
            if len(batch) == _BATCH:
                parts.append(self._encoder.encode(np.stack(batch)))
                batch.clear()
                watch.lap("encode")
        if batch:
            parts.append(self._encoder.encode(np.stack(batch)))
            watch.lap("encode")
        return np.concatenate(parts) if parts else np.zeros((0, self._encoder.d), np.float32)

    def _grid(self, xs: Iterable[ArrayLike], watch: Stopwatch) -> I16:
        q = self._map(self._features(xs, watch))
        watch.lap("decide")
        return q

    def _learn(self, q: I16, labels: Sequence[str], watch: Stopwatch) -> Lesson:
        before = len(self._labels)
        names = self._labels.copy()
        y = np.array([names.index(label) for label in labels], np.int64)
        with self._changing():
            self._moments.add(q, y)
            self._labels = names
            self._history.extend(q, y)
            self._unsaved = self._unsaved or len(q) > 0
            self._head.update(q, y, +1)
        watch.lap("learn")
        return Lesson(
            samples=len(q),
            total=self._moments.samples,
            new_classes=names.names[before:],
            stage_ms=watch.times(),
        )

    def _decide(self, q: I16, watch: Stopwatch) -> Prediction:
        scores = self._scores(q)
        p = self._head.probabilities(scores, q)[0]
        best = int(np.argmax(scores[0]))
        names = self._labels.names
        order = [c for c in np.argsort(-scores[0], kind="stable") if self._moments.n[c]]
        watch.lap("decide")
        return Prediction(
            label=names[best],
            probabilities={names[c]: float(p[c]) for c in order},
            stage_ms=watch.times(),
        )

    def _scores(self, q: I16) -> F64:
        if not self._moments.samples:
            raise StateError("nothing has been learned yet", hint="learn something first")
        return self._head.scores(q)

    def _is(self, other: Learner | str | os.PathLike[str]) -> bool:
        if isinstance(other, Learner):
            return other is self
        folder, mine = Path(other), self._store.folder if self._store else None
        return mine is not None and mine.exists() and folder.exists() and mine.samefile(folder)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Change sums, labels and history as one; the head follows, or is solved again."""
        self._refuse_unwritable()
        with interrupts_wait():
            try:
                yield
            except EdgeCLError:  # refused before anything was changed
                raise
            except BaseException:
                self._head.refresh()
                raise

    def _require_ridge(self) -> RidgeOptions:
        if not isinstance(self._options, RidgeOptions):
            raise InputError("expected the head to be ridge: no other has a λ to choose")
        return self._options

    def _refuse_unwritable(self) -> None:
        if self._store is not None:
            self._store.refuse_unwritable()  # what cannot be kept is not learned either

    def _use_ridge(self, ridge: float) -> None:
        self._refuse_unwritable()
        self._options = msgspec.structs.replace(self._require_ridge(), ridge=ridge)
        self._head = self._built(self._options)
        self._unsaved = True

    def _built(self, options: HeadOptions) -> Head:
        return build_head(
            options,
            self._moments,
            scale=self._map.scale,
            mean_square_norm=self._map.mean_square_norm,
        )

    def _snapshot(self) -> Saved:
        header = StateHeader(
            bundle_name=self._bundle.name,
            bundle_sha256=self._bundle.sha256,
            encoder_sha256=self._encoder.sha256,
            d=self._moments.d,
            scale=self._map.scale,
            map=self._map_spec,
            head=self._options,
            labels=self._labels.names,
            saturated=self._moments.saturated,
        )
        tensors = {**self._moments.tensors(), **self._history.tensors()}
        return Saved(header=header, tensors=tensors, head=self._head.tensors())

    def _restore(self, saved: Saved) -> None:
        self._moments = saved_moments(saved)
        self._labels = Labels(saved.header.labels)
        self._history.restore(saved.tensors["undo_q"], saved.tensors["undo_y"], len(self._labels))
        self._head = self._built(self._options)
        if self._options == saved.header.head:
            self._head.restore(saved.head)
        else:
            self._unsaved = True


def _inputs(
    samples: Iterable[tuple[ArrayLike, str]], names: Labels, y: list[int]
) -> Iterator[ArrayLike]:
    for x, label in samples:
        y.append(names.index(label))
        yield x
