"""Changes on their way to the disk, and what waits on it.

A change takes one of two ways:

    samples learned or taken back    a row each in the ring, one commit a call; then applied
    anything else                    applied to a copy; both snapshots are written; the copy
                                     takes the place of what was there

so that a change that cannot be kept is not made, and a reader never sees one that may vanish.
With `Durability.each` other than 1 rows wait in memory: what is visible is then not yet durable,
and says so.

Two locks: `writing` is held for a whole change, disk included; `lock` only while what answers
are read from changes. It is taken after `writing`, never before.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec
import numpy as np

from edge_cl.arrays import I16
from edge_cl.errors import StateError, StorageError
from edge_cl.heads import HeadOptions
from edge_cl.interrupts import interrupts_wait
from edge_cl.knowledge import Knowledge
from edge_cl.lessons import Lessons
from edge_cl.pipeline import Origin
from edge_cl.promotion import promoted_by_rule, with_promotion
from edge_cl.stopwatch import Stopwatch
from edge_cl.store import Call, Durability, Records, Saved, StateHeader, Store
from edge_cl.store.ring import Ring
from edge_cl.store.rows import Kind, Row, mark_of, pack

__all__ = ["Journal", "Sample"]

T = TypeVar("T")

Sample = tuple[Row, I16]


class Journal:
    """Knowledge, and the store that keeps it.

    Parameters
    ----------
    knowledge : empty, or what a snapshot holds.
    store : None keeps everything in memory.
    ring_rows : of the ring that is there; 0: of the one that will be made.
    archive : keep the features of every sample, not only of the newest.

    Attributes
    ----------
    knowledge : replaced as a whole by some changes: read it anew, under `lock`.
    lessons : the newest changes by number.
    waiting : rows that are applied and not yet durable; the newest numbers.
    seq, floor : see `edge_cl.store.StateHeader`.
    stale : whether a snapshot in both places is due, for the ring does not hold what changed.
    snapshot_error : why the last snapshot could not be written.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        origin: Origin,
        *,
        durability: Durability,
        store: Store | None = None,
        ring_rows: int = 0,
        archive: bool = False,
    ) -> None:
        self.knowledge = knowledge
        self.lock = threading.RLock()
        self.snapshot_error: str | None = None
        self._writing = threading.RLock()
        self.origin = origin
        self.store = store
        self.durability = durability
        self.archive = archive
        self.nonce = secrets.token_hex(8)
        self.seq = self.floor = 0
        self.waiting: list[bytes] = []  # rows that are applied and not yet durable
        self._calls = 0  # that they came in
        self._apart = False  # whether a change waits that only snapshots can keep
        self.stale = False
        self._retry_at = 0
        self._broken = ""
        self._first: Saved | None = None  # where a state begins whose files are made later
        self.lessons = Lessons(ring_rows or durability.ring)

    def refuse_unwritable(self) -> None:
        """Raise StorageError where nothing can be kept, so nothing is learned either."""
        if self.store is not None:
            self.store.refuse_unwritable()
        self._refuse()

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Change something, unless it could not be kept; nobody else does meanwhile."""
        with self._writing:
            self.refuse_unwritable()
            yield

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Let nobody else change anything while the block runs."""
        with self._writing:
            yield

    def record(
        self, samples: list[Sample], apply: Callable[[], T], watch: Stopwatch | None = None
    ) -> T:
        """Make rows durable, or let them wait; then apply what they say."""
        watch = watch or Stopwatch()
        with interrupts_wait():
            watch.lap("learn")
            if self.store is not None:
                self._keep(self.store, [pack(row, q) for row, q in samples])
            watch.lap("commit")
            try:
                with self.lock:
                    result = apply()
            except BaseException as error:  # it is on disk, and half in memory
                self._broken = f"a change could not be applied: {error}"
                raise
            self.seq += len(samples)
            self.lessons.add([row for row, _ in samples])
        return result

    def _keep(self, store: Store, rows: list[bytes]) -> None:
        each = self.durability.each
        self._begin(store)
        if each == 0 or self._calls + 1 < each:
            self._calls += 1
            self.waiting += rows
            if each == 0 and not self.archive:
                del self.waiting[: max(0, len(self.waiting) - self.lessons.size)]
                self._apart = self._apart or len(self.waiting) == self.lessons.size
            return
        if self._apart or len(self.waiting) + len(rows) > self.most_rows:
            self.flush()
        for _ in range(2):  # the older one, and then what was the newer one
            if not store.room(self.seq + len(rows)):
                self._snapshot(store)
        self._append(store, rows)

    def _append(self, store: Store, rows: list[bytes]) -> None:
        store.append(self.seq - len(self.waiting) + 1, self.waiting + rows)
        self.waiting, self._calls = [], 0

    def replace(
        self,
        change: Callable[[Knowledge], T],
        samples: list[Sample],
        new_classes: tuple[str, ...] = (),
        *,
        records: Records | None = None,
        instead: Knowledge | None = None,
        watch: Stopwatch | None = None,
    ) -> T:
        """Apply a change to a copy, make that durable, and let it take the old one's place.

        Parameters
        ----------
        samples : the rows that stand for it.
        records : what is recorded then; None: what is now.
        instead : what to apply it to instead of a copy; it is let go on an error.
        """
        watch = watch or Stopwatch()
        with self.lock:
            other = instead or self.knowledge.copy()
        result = change(other)
        store, rows = self.store, [pack(row, q) for row, q in samples]
        last = samples[-1][0]
        seq, event = last.seq, last.event
        records = records or self.records
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
        watch.lap("learn")
        with interrupts_wait():
            if store is not None and self.durability.each:
                self.flush()
                self._begin(store)
                saved = self.saved(other, seq=seq, floor=seq, records=records, event=event)
                self._snapshot_both(store, saved)
            elif store is not None:
                self._begin(store)
                self.waiting += rows
                self._apart = True
            with self.lock:
                self.knowledge = other
                self.records = records
            self.seq = self.floor = seq
            self.lessons.add([row for row, _ in samples])
            if event:
                self.lessons.mark(event)
            if store is not None and not self._apart:
                self._list(store, rows)
        watch.lap("commit")
        return result

    def _snapshot_both(self, store: Store, saved: Saved) -> None:
        """Write what the ring does not hold; where the second place refuses, it is due again."""
        try:
            refused = store.snapshot(saved, both=True)
        except StorageError:  # then the store knows what is on the disk
            raise
        except BaseException as error:
            self._broken = f"it ended while it wrote: {error!r}"
            raise
        self.stale = refused is not None
        self.snapshot_error = str(refused) if refused else None

    def _list(self, store: Store, rows: list[bytes]) -> None:
        """Put rows that snapshots hold into the ring: they can be listed and taken back."""
        with contextlib.suppress(StorageError):  # what they say is durable already
            store.ring.archive(rows)
            store.ring.fill(rows[-store.ring.meta.rows :])

    def flush(self) -> None:
        """Make durable what waits.

        Raises
        ------
        StorageError : the disk refused; it still waits.
        """
        with self._writing:
            if not (self.waiting or self._apart):
                return
            store = self.require_store()
            self._refuse()
            if self._first:
                store.begin(self._first, self.durability)
                self._first = None
            if not self._apart and store.room(self.seq):
                self._append(store, [])
                return
            self._snapshot_both(store, self.saved(floor=self.seq))
            self.floor = self.seq
            rows, self.waiting, self._calls, self._apart = self.waiting, [], 0, False
            self._list(store, rows)

    def save(self) -> None:
        """Write a snapshot, so that reopening gives the same bits.

        Raises
        ------
        StorageError : the disk refused; nothing is lost.
        """
        with self._writing:
            store = self.require_store()
            self._refuse()
            self.flush()
            if not store.begun:
                store.begin(self.saved(), self.durability)
            if self.seq != store.behind or self.stale:
                if refused := store.snapshot(self.saved(), both=self.stale):
                    raise refused
                self.stale = False
                self.snapshot_error = None

    def close(self, *, save: bool = True) -> None:
        """Save, if there is a folder to save to, and release it."""
        with self._writing:
            store = self.store
            if store is None or store.closed:
                return
            try:
                changed = self.waiting or self._apart or self.stale
                if not save or store.read_only or self._broken:
                    return
                if changed or (store.begun and self.seq != store.behind):
                    self.save()
            finally:
                store.close()

    def _begin(self, store: Store) -> None:
        """Make the files of a new state, before anything is applied: it begins with nothing.

        Where only `flush` commits, they are made then.
        """
        if store.begun or self._first:
            return
        if self.durability.each:
            store.begin(self.saved(), self.durability)
        else:
            self._first = self.saved()

    def snapshot_if_due(self) -> None:
        """Write a snapshot where the ring has moved far enough, or another head serves."""
        store = self.store
        if store is None or not self.durability.each or not store.begun:
            return
        due = self.seq - store.behind >= self.most_rows or self.stale
        if due and self.seq >= self._retry_at:
            self._snapshot(store)

    def _snapshot(self, store: Store) -> None:
        """Write a snapshot; where the disk refuses, go on: the ring holds what it would."""
        try:
            self.flush()
            if refused := store.snapshot(self.saved(), both=self.stale):
                raise refused
        except (StorageError, MemoryError) as error:
            self.snapshot_error = str(error) or "there is no memory for a snapshot"
            self._retry_at = self.seq + max(1, self.most_rows // 8)
        else:
            self.stale, self.snapshot_error, self._retry_at = False, None, 0

    def saved(
        self,
        knowledge: Knowledge | None = None,
        *,
        seq: int | None = None,
        floor: int | None = None,
        records: Records | None = None,
        event: bytes | None = None,
    ) -> Saved:
        """Return all there is, or will be, as a snapshot.

        Parameters
        ----------
        knowledge, seq, floor, records : in the place of what is now.
        event : of a change that will have been seen.
        """
        known, own = knowledge or self.knowledge, self.origin
        with self.lock:
            known.begin_block()  # as it will when this is read again
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
                nonce=self.nonce,
                seq=self.seq if seq is None else seq,
                floor=self.floor if floor is None else floor,
                archive=self.archive,
                records=records or self.records,
            )
            marks = self.lessons.marks(event)
            return Saved(header=header, tensors={**known.tensors(), "marks": marks})

    def promoted(self, before: HeadOptions) -> None:
        """Record that another head serves in the place of `before`, as `auto` found."""
        promotion = promoted_by_rule(self.knowledge, before, self.seq)
        self.records = with_promotion(self.records, promotion)
        self.stale = True

    @property
    def unsaved(self) -> bool:
        """Whether a power cut would cost something."""
        if self.store is None:
            return self.knowledge.changes > 0
        return bool(self.waiting) or self._apart or self.stale

    @property
    def durable(self) -> bool:
        """Whether all that was learned would survive a power cut now."""
        return self.store is not None and not (self.waiting or self._apart)

    @property
    def lost(self) -> int:
        """Samples that damage has cost, as far as they could be counted."""
        return self.records.lost

    def require_store(self) -> Store:
        """Return the store, or raise StateError where everything is in memory."""
        if self.store is None:
            raise StateError("this learner was opened without a state folder")
        return self.store

    @property
    def ring(self) -> Ring | None:
        """The ring, or None where nothing was written yet."""
        return self.store.ring if self.store is not None and self.store.begun else None

    @property
    def records(self) -> Records:
        """See `edge_cl.store.Records`; replaced as a whole."""
        return self.lessons.records

    @records.setter
    def records(self, records: Records) -> None:
        self.lessons.records = records

    @property
    def most_rows(self) -> int:
        """How many rows go to the ring at once, and between snapshots."""
        ring = self.lessons.size
        return min(self.durability.snapshot_every, ring // 3)

    def row(
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
        """Return row `i` of `n` of the next call.

        Parameters
        ----------
        q : its features (d,).
        total : samples that will be in after the call.
        target : number of the lesson that it takes back; 0: not known.
        """
        return Row(
            seq=self.seq + 1 + i,
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

    def note(self, text: str) -> Sample:
        """Return the row of a change that is no sample."""
        q = np.zeros(self.origin.d, np.int16)
        return self.row("note", text, q, 0, 1, self.knowledge.moments.samples), q

    def _refuse(self) -> None:
        if self._broken:
            raise StorageError(f"nothing more is accepted: {self._broken}", hint="open it again")
