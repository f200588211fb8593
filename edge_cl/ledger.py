"""Knowledge whose every change is durable before it is visible.

A change takes one of two ways to the disk:

    samples learned or taken back    a row each in the ring, one commit a call; then applied
    anything else                    applied to a copy; both snapshots are written; the copy
                                     takes the place of what was there

so that a change that cannot be kept is not made, and a reader never sees one that may vanish.
With `Durability.each` other than 1 rows wait in memory: what is visible is then not yet durable,
and says so.

Two locks: `_writing` is held for a whole change, disk included; `lock` only while what answers
are read from changes. It is taken after `_writing`, never before.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec
import numpy as np

from edge_cl.arrays import I16
from edge_cl.errors import EdgeCLError, ForgetError, StateError, StorageError
from edge_cl.features import MapSpec
from edge_cl.heads import HeadOptions
from edge_cl.interrupts import interrupts_wait
from edge_cl.knowledge import Knowledge
from edge_cl.labels import checked_label
from edge_cl.lessons import Answer, Lessons, checked_event
from edge_cl.moments import Moments
from edge_cl.results import LessonRecord, Version
from edge_cl.specs import described
from edge_cl.store import (
    Call,
    Durability,
    Promotion,
    Proven,
    Records,
    Recovery,
    Relabelling,
    Saved,
    StateHeader,
    Store,
)
from edge_cl.store.ring import Ring
from edge_cl.store.rows import Kind, Row, mark_of, pack, unpack

__all__ = ["BEFORE_ROLLBACK", "Ledger", "Origin"]

BEFORE_ROLLBACK = "before-rollback"

T = TypeVar("T")

Sample = tuple[Row, I16]

_PROMOTIONS = 100  # the newest ones are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Which features the knowledge is of."""

    bundle_name: str
    bundle_sha256: str
    encoder_sha256: str
    d: int
    scale: float
    map: MapSpec


class Ledger:
    """Knowledge and its store.

    Parameters
    ----------
    knowledge : empty, or what `proven` gives before its rows are replayed.
    store : None keeps everything in memory.
    proven : what the store's folder has proven; None: a new state.
    archive : keep the features of every sample, not only of the newest.

    Attributes
    ----------
    knowledge : replaced as a whole by some changes: read it anew, under `lock`.
    recovery : what was found, and mended, when it was opened.
    snapshot_error : why the last snapshot could not be written.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        origin: Origin,
        *,
        durability: Durability,
        store: Store | None = None,
        proven: Proven | None = None,
        archive: bool = False,
    ) -> None:
        self.knowledge = knowledge
        self.lock = threading.RLock()
        self.recovery = Recovery()
        self.snapshot_error: str | None = None
        self._writing = threading.RLock()
        self._origin = origin
        self._store = store
        self._durability = durability
        self._archive = archive
        self._nonce = secrets.token_hex(8)
        self._seq = self._floor = 0
        self._waiting: list[bytes] = []  # rows that are applied and not yet durable
        self._calls = 0  # that they came in
        self._apart = False  # whether a change waits that only snapshots can keep
        self._stale = False  # whether the snapshots are of another head than serves
        self._retry_at = 0
        self._broken = ""
        self._first: Saved | None = None  # where a state begins whose files are made later
        ring = proven.ring_rows if proven and proven.ring_rows else durability.ring
        self._lessons = Lessons(ring)
        if proven:
            saved = (proven.saved.header.head, *proven.saved.header.compared)
            self._stale = knowledge.options != saved or knowledge.auto != proven.saved.header.auto
            self._take_up(proven)

    # -- learning and taking back -----------------------------------------------------------

    def learn(
        self, q: I16, labels: Sequence[str], event: bytes | None = None
    ) -> tuple[Answer, HeadOptions | None, bool]:
        """Learn samples (n, d).

        Returns what was answered, the head that serves from now on if it is another, and
        whether the event was known, so that nothing was learned.
        """
        event = checked_event(event)
        with self._changing():
            if old := self._lessons.answered(event, "learned"):
                return old, None, True
            known = self.knowledge
            with self.lock:
                names = known.refuse(q, labels)
                total = known.moments.samples + len(q)
            new = names.names[len(known.labels) :]
            if not len(q):
                nothing = Answer(kind="learned", seq=self._seq, samples=0, total=total)
                return nothing, None, False
            first, unseen, samples = self._seq + 1, set(new), []
            for i, label in enumerate(labels):
                row = self._row("learned", label, q[i], i, len(q), total, event=event)
                if label in unseen:
                    unseen.remove(label)
                    row = replace(row, new=True)
                samples.append((row, q[i]))
            served_before = known.options[0]
            if len(q) <= self._most_rows:
                served = self._record(samples, lambda: known.learn(q, labels, first))
            else:
                served = self._replace(lambda other: other.learn(q, labels, first), samples, new)
            if served:
                self._promoted_by_rule(served_before, served)
            self._snapshot_if_due()
            answer = Answer(
                kind="learned",
                seq=self._seq,
                samples=len(q),
                total=total,
                labels=tuple(labels),
                new_classes=new,
            )
            return answer, served, False

    def undo(self, count: int, event: bytes | None = None) -> Answer:
        """Take back the newest `count` samples, newest first.

        Raises
        ------
        ForgetError : there are not so many, or a head depends on the order of samples.
        """
        event = checked_event(event)
        with self._changing():
            if old := self._lessons.answered(event, "undone"):
                return old
            q, y, numbers = self.knowledge.history.newest(count)
            labels = [self.knowledge.labels[c] for c in y]
            return self._take_back("undone", q, labels, numbers, event)

    def forget(self, q: I16, label: str, event: bytes | None = None) -> Answer:
        """Take back one sample (1, d), whenever it was learned.

        Raises
        ------
        ForgetError : the sums show that it is not in, or a head depends on the order of samples.
        """
        event = checked_event(event)
        with self._changing():
            if old := self._lessons.answered(event, "forgotten"):
                return old
            same = self._lessons.of_sample(mark_of(q[0]), label)
            number = next((row.seq for row in same if self._is(row, q[0])), 0)
            return self._take_back("forgotten", q, [label], [number], event)

    def forget_lesson(self, seq: int, event: bytes | None = None) -> Answer:
        """Take back the lesson of this number, as long as its features are held.

        Raises
        ------
        ForgetError : they are not, it is no lesson, or it was taken back.
        """
        event = checked_event(event)
        with self._changing():
            if old := self._lessons.answered(event, "forgotten"):
                return old
            row, q = self._lesson(seq)
            label = self._lessons.label_now(row)
            return self._take_back("forgotten", q[None], [label], [seq], event)

    def forget_class(self, label: str) -> int:
        """Take back all samples of a class, and its name; return how many.

        Raises
        ------
        ForgetError : not all of them are held.
        """
        with self._changing():
            label = self._known(label)
            n = int(self.knowledge.moments.n[self.knowledge.labels.known(label)])
            samples = self._samples_of(label)
            if len(samples) != n:
                raise ForgetError(
                    f"{label!r} has {n} samples, of which {len(samples)} are held: the sums do not "
                    "say which products came from a class",
                    hint="with an archive, from the first lesson on, any class can be forgotten",
                )

            def forget(other: Knowledge) -> None:
                if n:
                    q = np.stack([q for _, q in samples])
                    other.taking_back(q, [label] * n, [row.seq for row, _ in samples])()
                other.drop_class(label)

            self._relabel(forget, Relabelling(seq=self._seq + 1, old=label, new=""), "forgot")
            self._drop_archived([(row.seq, row.seq) for row, _ in samples])
            return n

    # -- other changes ----------------------------------------------------------------------

    def rename_class(self, old: str, new: str) -> None:
        """Give a class another name."""
        with self._changing():
            old, new = self._known(old), checked_label(new)
            change = Relabelling(seq=self._seq + 1, old=old, new=new)
            self._relabel(lambda other: other.rename(old, new), change, "renamed")

    def merge_classes(self, source: str, into: str) -> None:
        """Let all samples of one class be of another."""
        with self._changing():
            source, into = self._known(source), self._known(into)
            change = Relabelling(seq=self._seq + 1, old=source, new=into)
            self._relabel(lambda other: other.merge_classes(source, into), change, "merged")

    def merge(self, moments: Moments, labels: Sequence[str]) -> None:
        """Add what another learner has learned; classes match by name."""
        with self._changing():
            note = self._note(f"merged {moments.samples} samples of another learner")
            self._replace(lambda other: other.merge(moments, labels), [note])

    def replace_head(self, options: HeadOptions) -> None:
        """Let another head serve."""
        with self._changing():
            note = self._note(f"head {described(options)}")
            self._replace(lambda other: other.replace_head(options), [note])

    def promote(self, promotion: Promotion, options: HeadOptions) -> None:
        """Let a head serve that was found better, and record why; or that it was not."""
        with self._changing():
            promotion = msgspec.structs.replace(promotion, seq=self._seq + 1)
            verb = "promoted" if promotion.promoted else "did not promote"
            note = self._note(f"{verb} {promotion.after} over {promotion.before}")

            def serve(other: Knowledge) -> None:
                if promotion.promoted:
                    other.replace_head(options)

            self._replace(serve, [note], records=self._with_promotion(promotion))

    # -- versions ---------------------------------------------------------------------------

    def save_version(self, name: str) -> None:
        """Keep everything as it is now under a name."""
        with self._changing():
            store = self._require_store()
            self.save()
            store.save_version(name, self._saved())

    def rollback(self, name: str, knowledge: Callable[[Saved], Knowledge]) -> Saved:
        """Let everything be as it was when a version was kept; what was is kept as another.

        `knowledge` gives what a snapshot holds. What was taught since is rolled back; events of
        it stay known, so that a retry does not teach it again.
        """
        with self._changing():
            store = self._require_store()
            saved = store.load_version(name)
            if saved.header.nonce != self._nonce:
                raise StateError(f"version {name!r} is of another state")
            other, then = knowledge(saved), saved.header
            self.save_version(BEFORE_ROLLBACK)
            note = self._note(f"rolled back to {name}, change {then.seq}")
            records = msgspec.structs.replace(
                then.records,
                gone=(*then.records.gone, (then.seq + 1, self._seq)),
                promotions=self._records.promotions,
                last_call=self._records.last_call,
                lost=self._records.lost,
            )
            self._replace(lambda _: None, [note], records=records, instead=other)
            return saved

    def drop_version(self, name: str) -> None:
        """Remove a version that was kept."""
        with self._writing:
            self._require_store().drop_version(name)

    def versions(self) -> tuple[Version, ...]:
        """Return what was kept under names, oldest first."""
        store = self._require_store()
        found = []
        for name in store.versions():
            saved = store.load_version(name)
            found.append(
                Version(
                    name=name,
                    seq=saved.header.seq,
                    samples=int(saved.tensors["n"].sum()),
                    classes=len(saved.header.labels),
                    head=described(saved.header.head),
                )
            )
        return tuple(sorted(found, key=lambda version: version.seq))

    # -- keeping ----------------------------------------------------------------------------

    def flush(self) -> None:
        """Make durable what waits.

        Raises
        ------
        StorageError : the disk refused; it still waits.
        """
        with self._writing:
            if not (self._waiting or self._apart):
                return
            store = self._require_store()
            if self._first:
                store.begin(self._first, self._durability)
                self._first = None
            if not self._apart and store.room(self._seq):
                self._append(store, [])
                return
            store.ring.archive(self._seq - len(self._waiting) + 1, self._waiting)
            store.snapshot(self._saved(floor=self._seq), both=True)
            self._floor = self._seq
            rows, self._waiting, self._calls, self._apart = self._waiting, [], 0, False
            self._stale = False
            self._list(store, rows)

    def save(self) -> None:
        """Write a snapshot, so that reopening gives the same bits.

        Raises
        ------
        StorageError : the disk refused; nothing is lost.
        """
        with self._writing:
            store = self._require_store()
            self._refuse()
            self.flush()
            if not store.begun:
                store.begin(self._saved(), self._durability)
            if self._seq != store.behind or self._stale:
                store.snapshot(self._saved(), both=self._stale)
                self._stale = False
                self.snapshot_error = None

    def close(self, *, save: bool = True) -> None:
        """Save, if there is a folder to save to, and release it."""
        with self._writing:
            store = self._store
            if store is None or store.closed:
                return
            try:
                changed = self._waiting or self._apart or self._stale
                if not save or store.read_only or self._broken:
                    return
                if changed or (store.begun and self._seq != store.behind):
                    self.save()
            finally:
                store.close()

    @property
    def unsaved(self) -> bool:
        """Whether a power cut would cost something."""
        if self._store is None:
            return self.knowledge.changes > 0
        return bool(self._waiting) or self._apart or self._stale

    @property
    def durable(self) -> bool:
        """Whether all that was learned would survive a power cut now."""
        return self._store is not None and not (self._waiting or self._apart)

    @property
    def seq(self) -> int:
        """Changes so far."""
        return self._seq

    @property
    def promotions(self) -> tuple[Promotion, ...]:
        """Which head came to serve in the place of which; newest last."""
        return self._records.promotions

    @property
    def lost(self) -> int:
        """Samples that damage has cost, as far as they could be counted."""
        return self._records.lost

    def history(self, limit: int | None = None) -> tuple[LessonRecord, ...]:
        """Return the newest changes, newest first."""
        with self._writing:
            return self._lessons.newest(limit)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Let nobody else change anything while the block runs."""
        with self._writing:
            yield

    def refuse_unwritable(self) -> None:
        """Raise StorageError where nothing can be kept, so nothing is learned either."""
        if self._store is not None:
            self._store.refuse_unwritable()
        self._refuse()

    # -- private: the two ways to the disk ---------------------------------------------------

    def _record(self, samples: list[Sample], apply: Callable[[], T]) -> T:
        """Make rows durable, or let them wait; then apply what they say."""
        store, rows = self._store, [pack(row, q) for row, q in samples]
        with interrupts_wait():
            if store is not None:
                self._calls += 1
                try:
                    self._keep(store, rows)
                except BaseException:
                    self._calls -= 1
                    raise
            try:
                with self.lock:
                    result = apply()
            except BaseException as error:  # it is on disk, and half in memory
                self._broken = f"a change could not be applied: {error}"
                raise
            self._seq += len(samples)
            self._lessons.add([row for row, _ in samples])
        return result

    def _keep(self, store: Store, rows: list[bytes]) -> None:
        each = self._durability.each
        self._begin(store)
        if each == 0 or self._calls < each:
            self._waiting += rows
            if each == 0 and not self._archive:
                del self._waiting[: max(0, len(self._waiting) - self._lessons.size)]
                self._apart = self._apart or len(self._waiting) == self._lessons.size
            return
        if self._apart or len(self._waiting) + len(rows) > self._most_rows:
            self.flush()
        if not store.room(self._seq + len(rows)):
            self._snapshot(store)
        self._append(store, rows)

    def _append(self, store: Store, rows: list[bytes]) -> None:
        store.append(self._seq - len(self._waiting) + 1, self._waiting + rows)
        self._waiting, self._calls = [], 0

    def _replace(
        self,
        change: Callable[[Knowledge], T],
        samples: list[Sample],
        new_classes: tuple[str, ...] = (),
        *,
        records: Records | None = None,
        instead: Knowledge | None = None,
    ) -> T:
        """Apply a change to a copy, make that durable, and let it take the old one's place."""
        with self.lock:
            other = instead or self.knowledge.copy()
        result = change(other)
        store, rows = self._store, [pack(row, q) for row, q in samples]
        last = samples[-1][0]
        seq, event = last.seq, last.event
        records = records or self._records
        if event:
            call = Call(
                event=event.hex(),
                kind=last.kind,
                seq=seq,
                samples=len(samples),
                total=last.total,
                new_classes=new_classes,
            )
            records = msgspec.structs.replace(records, last_call=call)
        with interrupts_wait():
            if store is not None and self._durability.each:
                self.flush()
                self._begin(store)
                store.ring.archive(self._seq + 1, rows)
                saved = self._saved(other, seq=seq, floor=seq, records=records, event=event)
                store.snapshot(saved, both=True)
                self._stale = False
                self._list(store, rows)
            elif store is not None:
                self._begin(store)
                self._waiting += rows
                self._apart = True
            with self.lock:
                self.knowledge = other
                self._records = records
            self._seq = self._floor = seq
            self._lessons.add([row for row, _ in samples])
            if event:
                self._lessons.mark(event)
        return result

    def _list(self, store: Store, rows: list[bytes]) -> None:
        """Put rows that snapshots hold into the ring: they can be listed and taken back."""
        with contextlib.suppress(StorageError):  # what they say is durable already
            store.ring.fill(rows[-store.ring.meta.rows :])

    # -- private: snapshots -----------------------------------------------------------------

    def _begin(self, store: Store) -> None:
        """Make the files of a new state, before anything is applied: it begins with nothing.

        Where only `flush` commits, they are made then.
        """
        if store.begun or self._first:
            return
        if self._durability.each:
            store.begin(self._saved(), self._durability)
        else:
            self._first = self._saved()

    def _snapshot_if_due(self) -> None:
        store = self._store
        if store is None or not self._durability.each or not store.begun:
            return
        due = self._seq - store.behind >= self._most_rows or self._stale
        if due and self._seq >= self._retry_at:
            self._snapshot(store)

    def _snapshot(self, store: Store) -> None:
        """Write a snapshot; where the disk refuses, go on: the ring holds what it would."""
        try:
            self.flush()
            store.snapshot(self._saved(), both=self._stale)
        except StorageError as error:
            self.snapshot_error = str(error)
            self._retry_at = self._seq + max(1, self._most_rows // 8)
        else:
            self._stale, self.snapshot_error, self._retry_at = False, None, 0

    def _saved(
        self,
        knowledge: Knowledge | None = None,
        *,
        seq: int | None = None,
        floor: int | None = None,
        records: Records | None = None,
        event: bytes | None = None,
    ) -> Saved:
        known, own = knowledge or self.knowledge, self._origin
        with self.lock:
            header = StateHeader(
                bundle_name=own.bundle_name,
                bundle_sha256=own.bundle_sha256,
                encoder_sha256=own.encoder_sha256,
                d=own.d,
                scale=own.scale,
                map=own.map,
                head=known.options[0],
                compared=known.options[1:],
                auto=known.auto,
                statistics=tuple(known.moments.statistics),
                forgetting=known.forgetting,
                labels=known.labels.names,
                saturated=known.moments.saturated,
                nonce=self._nonce,
                seq=self._seq if seq is None else seq,
                floor=self._floor if floor is None else floor,
                archive=self._archive,
                records=records or self._records,
            )
            marks = self._lessons.marks(event)
            return Saved(header=header, tensors={**known.tensors(), "marks": marks})

    # -- private: opening -------------------------------------------------------------------

    def _take_up(self, proven: Proven) -> None:
        header = proven.saved.header
        self._nonce, self._records = header.nonce, header.records
        self._seq, self._floor = header.seq, header.floor
        self._archive = self._archive or header.archive
        self._lessons.restore_marks(proven.saved.tensors["marks"])
        self._lessons.load([row for row, _ in proven.earlier])
        for call in _calls(proven.replay, together=self.knowledge.order_free):
            self._replay(call)
        end = self._seq
        if proven.seq > end:
            gone = (*self._records.gone, (end + 1, proven.seq))
            lost = self._records.lost + (proven.lost or 0)
            self._records = msgspec.structs.replace(self._records, gone=gone, lost=lost)
            self._seq = proven.seq
        if proven.damaged_ring:
            self._floor = self._seq
        self.knowledge.changes = 0
        store = self._store
        if store is None or store.read_only:
            self.recovery = Recovery(
                replayed=len(proven.replay), problems=proven.problems, lost=proven.lost
            )
            return
        self.recovery = store.settle(proven, self._saved, self._durability)
        if self._archive and not store.ring.archives:
            store.ring.begin_archive()
            self._stale = True

    def _replay(self, call: list[Sample]) -> None:
        rows = [row for row, _ in call]
        q = np.stack([q for _, q in call])
        labels = [row.label for row in rows]
        try:
            if rows[0].kind == "learned":
                before = self.knowledge.options[0]
                served = self.knowledge.learn(q, labels, rows[0].seq)
                if served:
                    self._promoted_by_rule(before, served)
            else:
                self.knowledge.taking_back(q, labels, [row.target for row in rows])()
        except EdgeCLError as error:
            raise StateError(
                f"change {rows[0].seq} of the state does not fit what came before it: {error}",
                hint="edge-cl doctor says more; a saved version or a copy can take its place",
            ) from error
        self._seq = rows[-1].seq
        self._lessons.add(rows)

    # -- private: rows ----------------------------------------------------------------------

    def _take_back(
        self, kind: Kind, q: I16, labels: Sequence[str], numbers: Sequence[int], event: bytes | None
    ) -> Answer:
        known = self.knowledge
        with self.lock:
            take_back = known.taking_back(q, labels, numbers)
            total = known.moments.samples - len(q)
        samples = [
            (self._row(kind, label, q[i], i, len(q), total, event=event, target=number), q[i])
            for i, (label, number) in enumerate(zip(labels, numbers, strict=True))
        ]
        if len(q) <= self._most_rows:
            self._record(samples, take_back)
        else:
            self._replace(lambda other: other.taking_back(q, labels, numbers)(), samples)
        self._snapshot_if_due()
        return Answer(kind=kind, seq=self._seq, samples=len(q), total=total, labels=tuple(labels))

    def _relabel(self, apply: Callable[[Knowledge], None], change: Relabelling, verb: str) -> None:
        note = self._note(f"{verb} {change.old}" + (f" to {change.new}" if change.new else ""))
        records = msgspec.structs.replace(
            self._records, relabelled=(*self._records.relabelled, change)
        )
        self._replace(apply, [note], records=records)

    def _row(
        self,
        kind: Kind,
        label: str,
        q: I16,
        i: int,
        n: int,
        total: int,
        *,
        event: bytes | None = None,
        target: int = 0,
    ) -> Row:
        return Row(
            seq=self._seq + 1 + i,
            event=event,
            kind=kind,
            label=label,
            target=target,
            when_us=max(0, time.time_ns() // 1000),
            total=total,
            last=i == n - 1,
            new=False,
            mark=mark_of(q),
        )

    def _note(self, text: str) -> Sample:
        q = np.zeros(self._origin.d, np.int16)
        return self._row("note", text, q, 0, 1, self.knowledge.moments.samples), q

    def _features(self, row: Row) -> I16 | None:
        """Return the features of a row, or None where they are not held any more."""
        at = row.seq - (self._seq - len(self._waiting)) - 1
        if at >= 0:
            found = unpack(self._waiting[at], self._origin.d)
        elif ring := self._ring:
            found = unpack(ring.read(row.seq), self._origin.d)
        else:
            return self.knowledge.history.numbered(row.seq)
        return found[1] if found and found[0].seq == row.seq else None

    def _is(self, row: Row, q: I16) -> bool:
        own = self._features(row)
        return own is not None and np.array_equal(own, q)

    def _lesson(self, seq: int) -> Sample:
        """Return the lesson of a number, which stands, with its features."""
        ring = self._ring
        archived = ring.archived_row(seq) if ring else None
        found = unpack(archived, self._origin.d) if archived else None
        if found and found[0].seq == seq and self._lessons.stands(seq):
            return found
        row = self._lessons.lesson(seq)
        q = self._features(row)
        if q is None:
            raise ForgetError(f"the features of lesson {seq} are not held any more")
        return row, q

    def _samples_of(self, label: str) -> list[Sample]:
        """Return the lessons of a class that stand and whose features are held."""
        found: dict[int, Sample] = {}
        if ring := self._ring:
            taken = self._lessons.taken_back()
            for _, data in ring.archived():
                sample = unpack(data, self._origin.d)
                if sample and sample[0].kind == "learned" and sample[0].seq not in taken:
                    row = sample[0]
                    if self._lessons.stands(row.seq) and self._lessons.label_now(row) == label:
                        found[row.seq] = sample
        for row in self._lessons.standing(label):
            q = self._features(row)
            if q is not None:
                found[row.seq] = row, q
        return [found[seq] for seq in sorted(found)]

    def _drop_archived(self, ranges: list[tuple[int, int]]) -> None:
        if ring := self._ring:
            with contextlib.suppress(StorageError):  # they are forgotten; this frees their room
                ring.drop_archived(ranges)

    # -- private: small ---------------------------------------------------------------------

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with self._writing:
            self.refuse_unwritable()
            yield

    def _refuse(self) -> None:
        if self._broken:
            raise StorageError(f"nothing more is accepted: {self._broken}", hint="open it again")

    def _require_store(self) -> Store:
        if self._store is None:
            raise StateError("this learner was opened without a state folder")
        return self._store

    @property
    def _ring(self) -> Ring | None:
        return self._store.ring if self._store is not None and self._store.begun else None

    def _known(self, label: str) -> str:
        return self.knowledge.labels[self.knowledge.labels.known(label)]

    @property
    def _records(self) -> Records:
        return self._lessons.records

    @_records.setter
    def _records(self, records: Records) -> None:
        self._lessons.records = records

    @property
    def _most_rows(self) -> int:
        """How many rows go to the ring at once, and between snapshots."""
        ring = self._lessons.size
        return min(self._durability.snapshot_every, ring // 3)

    def _with_promotion(self, promotion: Promotion) -> Records:
        kept = (*self._records.promotions, promotion)[-_PROMOTIONS:]
        return msgspec.structs.replace(self._records, promotions=kept)

    def _promoted_by_rule(self, before: HeadOptions, after: HeadOptions) -> None:
        contest, options = self.knowledge.contest, self.knowledge.options
        if contest is None:
            return
        promotion = Promotion(
            seq=self._seq,
            before=described(before),
            after=described(after),
            by="rule",
            rows="prequential",
            tested=contest.tested,
            accuracy_before=float(contest.accuracy[options.index(before)]),
            accuracy_after=float(contest.accuracy[0]),
        )
        self._records = self._with_promotion(promotion)
        self._stale = True


def _calls(samples: Sequence[Sample], *, together: bool) -> Iterator[list[Sample]]:
    """Yield the samples of each call; neighbouring calls that learn as one where `together`."""
    call: list[Sample] = []
    for i, (row, q) in enumerate(samples):
        call.append((row, q))
        following = samples[i + 1][0] if i + 1 < len(samples) else None
        joined = together and following and following.kind == row.kind == "learned"
        if row.last and not joined:
            yield call
            call = []
