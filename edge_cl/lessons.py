"""The newest changes by number: what was taught, what was taken back, what was answered.

The index of the ring, in memory. It says which lesson a number means, whether it still stands,
and what a call that is repeated was answered the first time:

    event = client (8 bytes) ‖ counter (8 bytes, big-endian), counters of a client rise     (1)

A repeated event within the newest rows gets the old answer. For older ones each client has a
mark, the largest counter seen: an event at or below it, that is not among the rows, was seen.
So what is kept grows with clients, not with events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl.errors import ForgetError, InputError, StateError
from edge_cl.results import LessonRecord
from edge_cl.store import Records
from edge_cl.store.rows import Kind, Row

__all__ = ["Answer", "Lessons", "checked_event"]

MAX_CLIENTS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a call has done: kind, number of its last change, samples, labels, new classes."""

    kind: str
    seq: int
    samples: int
    total: int
    labels: tuple[str, ...] = ()
    new_classes: tuple[str, ...] = ()


class Lessons:
    """At most `size` rows, oldest first.

    Attributes
    ----------
    size : how many.
    records : see `edge_cl.store.Records`; replaced as a whole.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.records = Records()
        self._rows: deque[Row] = deque(maxlen=size)
        self._by_seq: dict[int, Row] = {}
        self._answers: dict[bytes, Answer] = {}
        self._open_call: list[Row] = []
        self._marks: dict[int, int] = {}

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows, in order of number."""
        for row in rows:
            if len(self._rows) == self._rows.maxlen:
                oldest = self._rows[0]
                del self._by_seq[oldest.seq]
                if oldest.event:  # of a call that is not whole nothing exact can be said
                    self._answers.pop(oldest.event, None)
            self._rows.append(row)
            self._by_seq[row.seq] = row
            if row.event is None:
                continue
            if self._open_call and self._open_call[0].event != row.event:
                self._open_call = []
            self._open_call.append(row)
            if row.last:
                self._answers[row.event] = _answer(self._open_call)
                self._open_call = []
                self.mark(row.event)

    def load(self, rows: Sequence[Row]) -> None:
        """Append what a ring holds; its oldest call may have lost its beginning."""
        cut = rows[0].event if rows and rows[0].seq > 1 else None
        self.add(rows)
        if cut:
            self._answers.pop(cut, None)

    # -- exactly once -----------------------------------------------------------------------

    def answered(self, event: bytes | None, kind: Kind) -> Answer | None:
        """Return what this event was answered, or None where it is new.

        Raises
        ------
        InputError : it was seen so long ago that its answer is not kept, or it was another
            kind of change, or there are too many clients.
        """
        if event is None:
            return None
        found = self._answers.get(event)
        call = self.records.last_call
        if found is None and call and call.event == event.hex():
            found = Answer(
                kind=call.kind,
                seq=call.seq,
                samples=call.samples,
                total=call.total,
                new_classes=call.new_classes,
            )
        if found is not None:
            if found.kind != kind:
                raise InputError(
                    f"the event {event.hex()} was a sample {found.kind}, now it is {kind}",
                    hint="each change needs an event of its own",
                )
            return found
        client, counter = _parts(event)
        if counter <= self._marks.get(client, -1):
            raise InputError(
                f"the event {event.hex()} was seen before, or one after it: {counter} is not "
                f"above {self._marks[client]}",
                hint="the counter of a client must rise from call to call",
            )
        if client not in self._marks and len(self._marks) >= MAX_CLIENTS:
            raise InputError(
                f"expected events of at most {MAX_CLIENTS} clients",
                hint="the first 8 bytes name the client and stay the same: they are not random",
            )
        return None

    def mark(self, event: bytes) -> None:
        """Remember that an event was seen."""
        client, counter = _parts(event)
        self._marks[client] = max(counter, self._marks.get(client, -1))

    # -- looking ----------------------------------------------------------------------------

    def stands(self, seq: int) -> bool:
        """Say whether the change of this number was neither rolled back nor lost."""
        return not any(first <= seq <= last for first, last in self.records.gone)

    def taken_back(self) -> set[int]:
        """Return the numbers of lessons that were undone or forgotten."""
        return {
            row.target
            for row in self._rows
            if row.kind in ("undone", "forgotten") and row.target and self.stands(row.seq)
        }

    def label_now(self, row: Row) -> str:
        """Return what the class of a row is called now; "" where it was forgotten."""
        label = row.label
        for change in self.records.relabelled:
            if row.seq < change.seq and label == change.old:
                label = change.new
        return label

    def lesson(self, seq: int) -> Row:
        """Return the lesson of this number, which stands.

        Raises
        ------
        ForgetError : it is not here, is no lesson, or was taken back.
        """
        row = self._by_seq.get(seq)
        if row is None:
            oldest = self._rows[0].seq if self._rows else 0
            raise ForgetError(
                f"lesson {seq} is not held any more, or never was",
                hint=f"held are numbers {oldest}..{self._rows[-1].seq}" if oldest else "",
            )
        if row.kind != "learned":
            raise ForgetError(f"change {seq} is no lesson: something was {row.kind}")
        if not self.stands(seq) or seq in self.taken_back() or not self.label_now(row):
            raise ForgetError(f"lesson {seq} was taken back before")
        return row

    def of_sample(self, mark: int, label: str) -> Iterator[Row]:
        """Yield standing lessons with features of this mark and this class, newest first."""
        taken: set[int] | None = None
        for row in reversed(self._rows):
            if row.mark == mark and row.kind == "learned" and self.label_now(row) == label:
                taken = self.taken_back() if taken is None else taken
                if row.seq not in taken and self.stands(row.seq):
                    yield row

    def standing(self, label: str | None = None) -> list[Row]:
        """Return the lessons that stand: of a class, or all."""
        taken = self.taken_back()
        found = []
        for row in self._rows:
            if row.kind == "learned" and row.seq not in taken and self.stands(row.seq):
                now = self.label_now(row)
                if now and label in (None, now):
                    found.append(row)
        return found

    def newest(self, limit: int | None) -> tuple[LessonRecord, ...]:
        """Return the newest changes, newest first."""
        taken = self.taken_back()
        found: list[LessonRecord] = []
        for row in reversed(self._rows):
            if limit is not None and len(found) >= limit:
                break
            found.append(
                LessonRecord(
                    seq=row.seq,
                    kind=row.kind,
                    label=row.label if row.kind == "note" else self.label_now(row) or row.label,
                    when_us=row.when_us,
                    stands=self.stands(row.seq)
                    and row.seq not in taken
                    and bool(self.label_now(row)),
                    target=row.target or None,
                    event=row.event.hex() if row.event else None,
                )
            )
        return tuple(found)

    # -- keeping ----------------------------------------------------------------------------

    def marks(self, event: bytes | None = None) -> NDArray[Any]:
        """Return (clients, counters) as uint64 (m, 2), to be stored; `event` counts as seen."""
        marks = dict(self._marks)
        if event:
            client, counter = _parts(event)
            marks[client] = max(counter, marks.get(client, -1))
        return np.array(sorted(marks.items()), np.uint64).reshape(-1, 2)

    def restore_marks(self, marks: NDArray[Any]) -> None:
        """Take back what `marks` returned.

        Raises
        ------
        StateError : it is no such table.
        """
        if marks.dtype != np.uint64 or marks.ndim != 2 or marks.shape[1] != 2:
            raise StateError("the clients' marks of the state are not a table")
        if len(marks) > MAX_CLIENTS:
            raise StateError(f"the state knows {len(marks)} clients, of at most {MAX_CLIENTS}")
        for client, counter in marks.tolist():
            self._marks[client] = max(counter, self._marks.get(client, -1))


def checked_event(event: bytes | None) -> bytes | None:
    """Return an event as in (1), or say what is wrong with it."""
    if event is not None and (not isinstance(event, bytes) or len(event) != 16 or not any(event)):
        raise InputError(
            f"expected an event of 16 bytes that are not all zero, got {event!r:.60}",
            hint="8 bytes that name the client, then a counter of 8 bytes, big-endian",
        )
    return event


def _parts(event: bytes) -> tuple[int, int]:
    return int.from_bytes(event[:8], "big"), int.from_bytes(event[8:], "big")


def _answer(rows: Sequence[Row]) -> Answer:
    last = rows[-1]
    return Answer(
        kind=last.kind,
        seq=last.seq,
        samples=len(rows),
        total=last.total,
        labels=tuple(row.label for row in rows),
        new_classes=tuple(dict.fromkeys(row.label for row in rows if row.new)),
    )
