"""What a state folder proves: the newest whole snapshot, and the rows of the ring behind it.

    state = fold(newest whole snapshot of seq s, rows s + 1, s + 2, ... without a gap)      (1)

Either snapshot may be damaged: rows are never overwritten before the older one has seen them,
so the other one leads to the same state. A row that is damaged, or missing between others, ends
(1): what comes after it was learned, but nothing proves upon what. It is counted as lost, its
number is never given again, and the file is kept aside. Nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_cl.arrays import I16
from edge_cl.errors import StateError
from edge_cl.store.durability import LARGEST_RING
from edge_cl.store.header import Saved
from edge_cl.store.reader import Held
from edge_cl.store.ring import RingMeta
from edge_cl.store.rows import Row, unpack
from edge_cl.store.snapshots import Found, newest

__all__ = ["Proven", "Recovery", "Sample", "of_one_state", "prove"]

Sample = tuple[Row, I16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What was found, and mended, when a state was opened.

    replayed : rows of the ring behind the snapshot; it was not closed, most likely.
    problems : what was damaged, a line each; empty: nothing.
    lost : samples that were learned and cannot be proven; None: it cannot be said how many.
    unfinished : whether the last change on disk is not whole: the power went while it was
        written, or it is damaged. Nothing tells which.
    set_aside : files kept for inspection.
    """

    replayed: int = 0
    problems: tuple[str, ...] = ()
    lost: int | None = 0
    unfinished: bool = False
    set_aside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """What (1) gives.

    saved : the snapshot.
    replay : the samples behind it, whole calls only.
    earlier : rows up to the snapshot that the ring still holds.
    seq : the last number that was given, of lost ones too.
    damaged_ring : whether the ring must be made anew.
    ring_rows : how many it has; 0 where that is not known.
    """

    saved: Saved
    replay: list[Sample]
    earlier: list[Sample]
    seq: int
    damaged_ring: bool = False
    ring_rows: int = 0
    problems: tuple[str, ...] = ()
    lost: int | None = 0
    unfinished: bool = False


def of_one_state(found: tuple[Found, Found], ring: Held | StateError | None) -> tuple[Found, Found]:
    """Return what was found, less a snapshot that belongs to another state.

    Raises
    ------
    StateError : both are whole and of different states, and no ring tells which is meant.
    """
    first, second = (one.saved for one in found)
    if not first or not second or first.header.nonce == second.header.nonce:
        return found
    own = ring.meta.nonce if isinstance(ring, Held) else None
    if own not in (first.header.nonce, second.header.nonce):
        raise StateError(
            f"the snapshots of {found[0].path.parent} are of two states",
            hint="remove the one that was copied here",
        )
    kept = [
        one
        if one.saved and one.saved.header.nonce == own
        else Found(path=one.path, error=StateError(f"{one.path} belongs to another state"))
        for one in found
    ]
    return kept[0], kept[1]


def prove(found: tuple[Found, Found], ring: Held | StateError | None) -> Proven:
    """Return what two snapshots and a ring (an error where it cannot be read) prove.

    Raises
    ------
    StateError : neither snapshot is whole.
    """
    saved = newest(found)
    problems = [str(one.error) for one in found if one.error]
    if saved is None:
        raise StateError(
            f"neither snapshot of {found[0].path.parent} is whole: {'; '.join(problems)}",
            hint="edge-cl doctor says more; a saved version or a copy can take its place",
        )
    start = saved.header.seq
    if ring is None or isinstance(ring, StateError):
        problems.append(str(ring or "events.db is missing"))
        return Proven(
            saved=saved,
            replay=[],
            earlier=[],
            seq=start + LARGEST_RING,  # whatever was given is not given again
            damaged_ring=True,
            problems=tuple(problems),
            lost=None,
        )
    meta, data = ring.meta, ring.rows
    if (meta.nonce, meta.d) != (saved.header.nonce, saved.header.d):
        error = StateError("events.db belongs to another state")
        return prove(found, error)
    rows, damaged = _decoded(meta, data)
    last = max(rows, default=0)
    if saved.header.floor < start > last and not _damaged(meta, data, start):
        error = StateError(f"events.db ends before change {start}, which a snapshot has seen")
        return prove(found, error)
    if ring.damage:
        problems.append(ring.damage)
    replay: list[Sample] = []
    while (following := rows.get(start + len(replay) + 1)) and following[0].kind != "note":
        replay.append(following)  # a note stands for a change that only snapshots hold
    while replay and not replay[-1][0].last:
        replay.pop()  # of a call that is not whole
    end = start + len(replay)
    if damaged:
        problems.append(f"{damaged} of {meta.rows} rows of events.db are damaged")
    if last > end and not damaged and not ring.damage:
        problems.append(f"events.db has a gap behind change {end}")
    last = max(last, end)
    while damaged and last - end < meta.rows and _damaged(meta, data, last + 1):
        last += 1  # the oldest or the newest: nothing tells
    lost = last - end
    return Proven(
        saved=saved,
        replay=replay,
        earlier=[rows[seq] for seq in sorted(rows) if seq <= start],
        seq=last,
        damaged_ring=bool(damaged or lost or ring.damage),
        ring_rows=meta.rows,
        problems=tuple(problems),
        lost=lost,
        unfinished=ring.unfinished,
    )


def _decoded(meta: RingMeta, data: list[bytes]) -> tuple[dict[int, Sample], int]:
    """Return the good rows by seq, and the number of damaged ones."""
    rows: dict[int, Sample] = {}
    damaged = 0
    for slot, one in enumerate(data):
        try:
            found = unpack(one, meta.d)
        except StateError:
            damaged += 1
            continue
        if found is None:
            continue
        if found[0].seq % meta.rows == slot:
            rows[found[0].seq] = found
        else:
            damaged += 1
    return rows, damaged


def _damaged(meta: RingMeta, data: list[bytes], seq: int) -> bool:
    """Say whether the place of a change is damaged."""
    try:
        unpack(data[seq % meta.rows], meta.d)
    except StateError:
        return True
    return False
