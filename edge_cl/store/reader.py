"""Reading a ring without locking or changing it, and before SQLite has touched its log."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_cl.errors import StateError, StorageError
from edge_cl.files import refuse_special
from edge_cl.store.ring import DAMAGE, RingMeta, all_rows, described_ring
from edge_cl.store.rows import unpack
from edge_cl.store.write_ahead import Log, examine_log

__all__ = ["Held", "archived_rows", "held_rows", "log_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a ring holds: all rows, in order of slot.

    damage : of its log, in words; "": none. Rows are then those that whole frames hold.
    unfinished : whether the last transaction is not whole: cut off, or damaged.
    """

    meta: RingMeta
    rows: list[bytes]
    damage: str = ""
    unfinished: bool = False


def held_rows(path: Path) -> Held:
    """Read a ring without locking or changing it, while another process may be writing.

    What that process is just writing may be missing.

    Raises
    ------
    FileNotFoundError : there is none.
    StateError : it cannot be read.
    StorageError : a copy is needed, and there is no room for one.
    """
    try:
        data = _log_bytes(path)
        log = examine_log(data)
        found = _read(path, data if log.mended is None else log.mended)
        if log.headless and found == _read(path, b""):  # it was to begin anew: nothing is missing
            return Held(meta=found[0], rows=found[1])
        damage = ""
        if log.mended is not None:
            what = "its beginning" if log.headless else f"{log.damaged} of its entries"
            damage = f"{path.name}-wal is damaged: {what}"
        return Held(meta=found[0], rows=found[1], damage=damage, unfinished=log.unfinished)
    except (FileNotFoundError, StorageError):
        raise
    except (*DAMAGE, OSError) as error:
        raise StateError(f"cannot read {path}: {error}") from error


def archived_rows(path: Path, *, d: int, last: int) -> list[bytes]:
    """Return what is whole, up to change `last`, of the archive in a file that is set aside.

    Without its log: what was forgotten last may be among them; the ring's rows tell.
    """
    found: list[bytes] = []
    try:
        with contextlib.closing(_connected(path, "mode=ro&immutable=1")) as db:
            for (row,) in db.execute("SELECT row FROM archive ORDER BY seq"):
                with contextlib.suppress(StateError, TypeError, AttributeError):
                    sample = unpack(row, d)
                    if sample and sample[0].seq <= last:
                        found.append(row)
    except (*DAMAGE, OSError):  # there is none, or no more of it can be read
        return found
    return found


def _read(path: Path, log: bytes) -> tuple[RingMeta, list[bytes]]:
    if not log:
        with contextlib.closing(_connected(path, "mode=ro&immutable=1")) as db:
            return (meta := described_ring(db, path)), all_rows(db, meta)
    with _room_for_a_copy() as folder:
        copy = folder / path.name
        shutil.copyfile(path, copy)
        copy.with_name(f"{copy.name}-wal").write_bytes(log)
        with contextlib.closing(_connected(copy, "mode=rw")) as db:
            db.execute("PRAGMA synchronous=OFF")
            return (meta := described_ring(db, path)), all_rows(db, meta)


@contextlib.contextmanager
def _room_for_a_copy() -> Iterator[Path]:
    try:
        temporary = tempfile.TemporaryDirectory(prefix="edge-cl-")
    except OSError as error:
        raise StorageError(
            f"cannot read events.db without room for a copy of it: {error}",
            hint="name a folder that can be written with TMPDIR",
        ) from error
    with temporary as folder:
        yield Path(folder)


def _connected(path: Path, how: str) -> sqlite3.Connection:
    if not path.exists():
        raise FileNotFoundError(path)
    refuse_special(path)
    return sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, timeout=0)


def log_of(path: Path) -> Log:
    """Return what the log of a ring looks like.

    Raises
    ------
    StateError : it cannot be read.
    """
    try:
        return examine_log(_log_bytes(path))
    except OSError as error:
        raise StateError(f"cannot read the log of {path}: {error}") from error


def _log_bytes(path: Path) -> bytes:
    try:
        log = path.with_name(f"{path.name}-wal")
        refuse_special(log)
        return log.read_bytes()
    except FileNotFoundError:
        return b""
