"""What is in the file of a ring, row by row, without locking or changing it.

Recovery asks what a ring proves; this asks how it is. Damage is counted and never raised, as far
as there is a ring at all.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_cl.errors import StateError
from edge_cl.store.reader import held_rows
from edge_cl.store.ring import RingMeta
from edge_cl.store.rows import unpack

__all__ = ["Census", "census"]

_MOST_COMPLAINTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """The rows of a ring.

    good, empty, damaged : rows of it; never written ones are empty.
    oldest, newest : numbers among the good ones; 0: there is none.
    archived, archive_damaged : rows of the archive; None: there is none.
    log_bytes : written ahead, and not in the file yet.
    complaints : what SQLite says of the file itself; the first few.
    """

    meta: RingMeta
    good: int
    empty: int
    damaged: int
    oldest: int
    newest: int
    archived: int | None
    archive_damaged: int
    log_bytes: int
    complaints: tuple[str, ...]


def census(path: Path) -> Census:
    """Count what is in the ring's file.

    Raises
    ------
    FileNotFoundError : there is none.
    StateError : nothing in it can be read.
    """
    held = held_rows(path)
    meta, rows = held.meta, held.rows
    numbers: list[int] = []
    empty = damaged = 0
    for slot, data in enumerate(rows):
        try:
            found = unpack(data, meta.d)
        except StateError:
            damaged += 1
            continue
        if found is None:
            empty += 1
        elif found[0].seq % meta.rows == slot:
            numbers.append(found[0].seq)
        else:
            damaged += 1
    try:
        with _unchanged(path) as db:
            complaints = [
                " ".join(str(text).split())
                for (text,) in db.execute(f"PRAGMA quick_check({_MOST_COMPLAINTS})")
                if text != "ok"
            ]
            complaints += [held.damage] if held.damage else []
            archived, archive_damaged = _archive(db, meta.d)
    except _UNREADABLE as error:
        raise StateError(f"cannot read {path}: {error}") from error
    return Census(
        meta=meta,
        good=len(numbers),
        empty=empty,
        damaged=damaged,
        oldest=min(numbers, default=0),
        newest=max(numbers, default=0),
        archived=archived,
        archive_damaged=archive_damaged,
        log_bytes=_size(_log(path)),
        complaints=tuple(complaints),
    )


# What reading a damaged file has been seen to raise
_UNREADABLE = (
    *(sqlite3.Error, sqlite3.Warning, OSError, UnicodeDecodeError),
    *(OverflowError, ValueError, TypeError, MemoryError),
)


def _archive(db: sqlite3.Connection, d: int) -> tuple[int | None, int]:
    """Return how many rows the archive has, and how many of them are damaged."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name='archive'").fetchall():
        return None, 0
    total = damaged = 0
    for seq, row in db.execute("SELECT seq, row FROM archive"):
        total += 1
        try:
            found = unpack(row, d) if isinstance(row, bytes) else None
        except StateError:
            found = None
        damaged += found is None or found[0].seq != seq
    return total, damaged


@contextlib.contextmanager
def _unchanged(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file that another process may be writing to; where there is a log, a copy of it.

    SQLite would move what is in the log into the file.
    """
    with contextlib.ExitStack() as stack:
        how = "mode=ro&immutable=1"
        if _size(_log(path)):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-cl-")))
            copy = folder / path.name
            shutil.copyfile(path, copy)
            shutil.copyfile(_log(path), _log(copy))
            path, how = copy, "mode=rw"
        uri = f"{path.resolve().as_uri()}?{how}"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=0)) as db:
            yield db


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
