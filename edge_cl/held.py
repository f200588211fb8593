"""The features of lessons that are still held: in the ring, the archive, or waiting in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from edge_cl.arrays import I16
from edge_cl.errors import ForgetError, StateError
from edge_cl.journal import Journal, Sample
from edge_cl.store.rows import Row, mark_of, unpack

__all__ = ["held_lesson", "held_lessons", "number_of"]


def number_of(journal: Journal, q: I16, label: str) -> int:
    """Return the number of the newest standing lesson (q, label); 0 where none is held."""
    for row in journal.lessons.of_sample(mark_of(q), label):
        own = _features(journal, row)
        if own is not None and np.array_equal(own, q):
            return row.seq
    older = (row.seq for row, own in _archived(journal, label) if np.array_equal(own, q))
    return max(older, default=0)


def held_lesson(journal: Journal, seq: int) -> Sample:
    """Return the lesson of a number, which stands, with its features.

    Raises
    ------
    ForgetError : it is no lesson, was taken back, or is not held any more.
    """
    if not isinstance(seq, int) or seq < 1:
        raise ForgetError(f"expected the number of a lesson, got {seq!r:.60}")
    archived = journal.ring.archived_row(seq) if journal.ring and seq <= journal.seq else None
    found = unpack(archived, journal.origin.d) if archived else None
    if found and _stands(journal, found[0]) and seq not in journal.lessons.taken_back():
        return found
    row = journal.lessons.lesson(seq)
    q = _features(journal, row)
    if q is None:
        raise ForgetError(f"the features of lesson {seq} are not held any more")
    return row, q


def held_lessons(journal: Journal, label: str) -> list[Sample]:
    """Return the lessons of a class that stand and whose features are held."""
    found: dict[int, Sample] = {}
    for row, own in _archived(journal, label):
        found[row.seq] = row, own
    for row in journal.lessons.standing(label):
        q = _features(journal, row)
        if q is not None:
            found[row.seq] = row, q
    return [found[seq] for seq in sorted(found)]


def _archived(journal: Journal, label: str) -> Iterator[Sample]:
    """Yield the lessons of a class that stand, from the archive, oldest first."""
    taken = journal.lessons.taken_back()
    for _, data in journal.ring.archived() if journal.ring else ():
        found = None
        with contextlib.suppress(StateError):  # one that is damaged is not held
            found = unpack(data, journal.origin.d)
        if not found or not _stands(journal, found[0]) or found[0].seq in taken:
            continue
        if journal.lessons.label_now(found[0]) == label:
            yield found


def _stands(journal: Journal, row: Row) -> bool:
    lessons = journal.lessons
    happened = row.kind == "learned" and row.seq <= journal.seq  # else it was refused later
    return happened and lessons.stands(row.seq) and bool(lessons.label_now(row))


def _features(journal: Journal, row: Row) -> I16 | None:
    """Return the features of a row, or None where they are not held any more."""
    at = row.seq - (journal.seq - len(journal.waiting)) - 1
    if at >= 0:
        found = unpack(journal.waiting[at], journal.origin.d)
    elif journal.ring:
        found = unpack(journal.ring.read(row.seq), journal.origin.d)
    else:
        return journal.knowledge.history.numbered(row.seq)
    return found[1] if found and found[0].seq == row.seq else None
