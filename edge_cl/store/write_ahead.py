"""The write-ahead log of SQLite, read by itself: SQLite stops at the first damaged frame.

What stands behind it was synced, and is ignored without a word. So the log is looked at before
SQLite opens it. A frame is intact when its checksum follows from the one stored before it:

    header   magic, version, page size, number, salt, salt; checksum of these                (1)
    frame    page, size of the file after a commit or 0, salt, salt, checksum; a page        (2)
    s ← M s + (a, a + b) for each pair of words a, b; M = (1 1; 1 2), mod 2³²                (3)

A frame that is not intact, with an intact commit of a later transaction behind it, was whole once.
With none behind it, its transaction was cut off while it was written, or is damaged: nobody can
tell, since the write that would have proven it never came.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Log", "examine_log"]

_HEADER = struct.Struct(">IIIIII")
_SUM = struct.Struct(">II")
_MAGIC, _VERSION = 0x377F0682, 3007000
_HEAD, _TOP = 32, 24  # bytes of the header, and of a frame's before its page

_Sum = NDArray[np.uint32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What was found.

    damaged : frames that were whole once, and are not.
    headless : whether the header is damaged, so that SQLite would ignore everything.
    unfinished : whether the last transaction is not whole.
    mended : a log of the intact frames of whole transactions, where SQLite would ignore some.
    """

    damaged: int = 0
    headless: bool = False
    unfinished: bool = False
    mended: bytes | None = None


def examine_log(data: bytes, page: int = 4096) -> Log:
    """Return what a log of pages of this size holds."""
    size = _TOP + page
    count = (len(data) - _HEAD) // size
    if count < 1:
        return Log()
    magic, version, told, number, *salts = _HEADER.unpack_from(data)
    order = ">" if magic == _MAGIC + 1 else "<"
    stored = np.frombuffer(data, ">u4", 2, _TOP).astype(np.uint32)
    own = _sums(np.frombuffer(data, f"{order}u4", 6)[None])[0]
    whole = magic in (_MAGIC, _MAGIC + 1) and (version, told) == (_VERSION, page)
    headless = not (whole and np.array_equal(own, stored))
    raw = np.frombuffer(data, np.uint8, count * size, _HEAD).reshape(count, size)
    heads = np.ascontiguousarray(raw[:, :_TOP]).view(">u4").astype(np.uint32)
    if headless:
        salts = heads[0, 2:4].tolist()
    same = (heads[:, 2:4] == np.array(salts, np.uint32)).sum(axis=1)
    if not same.all():  # older frames follow; a flipped bit leaves one salt as it was
        count = int(np.argmin(same > 0))
        raw, heads, same = raw[:count], heads[:count], same[:count]
    intact, held = _intact(raw, heads, same == 2, stored, own, order)
    if held.all() and not headless:
        return Log()
    commits = np.flatnonzero(intact & (heads[:, 1] > 0))
    bad = np.flatnonzero(~held)
    first = int(bad[0]) if len(bad) else count
    ends = np.flatnonzero(heads[first:, 1] > 0)
    end = first + int(ends[0]) if len(ends) else count
    # Frames without a commit behind it prove nothing: a process that was killed has left them
    later = bool((commits > end).any())
    last = int(commits[-1]) if len(commits) else -1
    if not (later or headless) or last < 0:
        return Log(unfinished=True, headless=headless)
    kept = np.flatnonzero(intact[: last + 1])
    return Log(
        damaged=int((bad < last).sum()),
        headless=headless,
        unfinished=not bool(intact[-1]),
        mended=_log(raw, kept, int(heads[commits, 1].max()), (number, *salts), page),
    )


def _intact(
    raw: NDArray[np.uint8],
    heads: NDArray[np.uint32],
    current: NDArray[np.bool_],
    stored: _Sum,
    own: _Sum,
    order: str,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say which frames are as they were written, and which of them by their own checksum.

    Where a checksum itself is damaged, the next frame, which follows from what it should have been,
    shows that the rest is intact.
    """
    words = np.concatenate([raw[:, :8], raw[:, _TOP:]], axis=1).view(f"{order}u4")
    added, through = _sums(words), _power(words.shape[1] // 2)
    held = np.zeros(len(raw), np.bool_)
    shown = held.copy()
    for i in range(len(raw)):
        mine = heads[i, 4:6]
        held[i] = current[i] and np.array_equal(through @ stored + added[i], mine)
        if not held[i] and current[i] and np.array_equal(through @ own + added[i], mine):
            held[i], stored = True, own
            if i:
                shown[i - 1] = current[i - 1]
        own, stored = through @ stored + added[i], mine
    return held | shown, held


def _log(
    raw: NDArray[np.uint8],
    kept: NDArray[np.int64],
    pages: int,
    marks: tuple[int, ...],
    page: int,
) -> bytes:
    """Return a log of some frames, one transaction."""
    head = _HEADER.pack(_MAGIC, _VERSION, page, *marks)
    total = _sums(np.frombuffer(head, "<u4")[None])[0]
    parts = [head, _SUM.pack(*total.tolist())]
    frames = raw[kept]
    frames[:, 4:8] = 0
    frames[-1, 4:8] = np.frombuffer(struct.pack(">I", pages), np.uint8)
    words = np.concatenate([frames[:, :8], frames[:, _TOP:]], axis=1).view("<u4")
    through = _power(words.shape[1] // 2)
    for frame, added in zip(frames, _sums(words), strict=True):
        total = through @ total + added
        parts += [frame[:8].tobytes(), struct.pack(">II", *marks[1:]), _SUM.pack(*total.tolist())]
        parts.append(frame[_TOP:].tobytes())
    return b"".join(parts)


def _sums(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return (3) of rows of words, from s = 0."""
    powers = _powers(words.shape[1] // 2)
    a = np.ascontiguousarray(words[:, 0::2]).astype(np.uint32)
    b = a + words[:, 1::2].astype(np.uint32)
    sums: NDArray[np.uint32] = a @ powers[1:, :, 0] + b @ powers[1:, :, 1]
    return sums


def _power(n: int) -> NDArray[np.uint32]:
    """Return Mⁿ."""
    power: NDArray[np.uint32] = _powers(n)[0]
    return power


@lru_cache(maxsize=4)
def _powers(n: int) -> NDArray[np.uint32]:
    """Return Mⁿ ... M¹, M⁰."""
    step = np.array([[1, 1], [1, 2]], np.uint32)
    powers = np.empty((n + 1, 2, 2), np.uint32)
    powers[n] = np.eye(2, dtype=np.uint32)
    for i in range(n, 0, -1):
        powers[i - 1] = powers[i] @ step
    return powers
