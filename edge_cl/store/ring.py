"""The newest samples on disk: a ring of rows of one size in an SQLite file.

Every row is there from the start, and a sample replaces the oldest in place: in steady state a
commit needs no new space, dirties one page, and costs one flush. Write-ahead log, synchronous=FULL:
what `append` has returned from survives a power cut. One connection that locks the file for
itself, so there is no shared memory, and no second process that could meet the log half way.

The file carries no checksum of its own: every row does (`edge_cl.store.rows`).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from edge_cl import files
from edge_cl.errors import StateError, StorageError
from edge_cl.store.rows import packed_kind, row_bytes

__all__ = ["DAMAGE", "Ring", "RingMeta", "all_rows", "create_ring", "described_ring"]

_TABLES = {
    "meta": "CREATE TABLE meta(text TEXT NOT NULL)",
    "ring": "CREATE TABLE ring(slot INTEGER PRIMARY KEY, row BLOB NOT NULL)",
    "archive": "CREATE TABLE archive(seq INTEGER PRIMARY KEY, row BLOB NOT NULL)",
}
_SQLITE_FULL = 13
_PAGE = 4096
_PAGES = 1000  # in the log, at least, before it is moved into the file


class RingMeta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a ring was made for; `nonce` ties it to the snapshots of the same state."""

    format_version: int = 1
    rows: int
    d: int
    nonce: str


def create_ring(path: Path, meta: RingMeta) -> None:
    """Write an empty ring of `meta.rows` rows to `path`, whole or not at all.

    Raises
    ------
    StorageError : the disk refused; it is full, most likely.
    """
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(descriptor)
        with contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as db:
            # Not durable while it is made: the file is synced as a whole, then renamed
            for pragma in (f"page_size={_PAGE}", "journal_mode=OFF", "synchronous=OFF"):
                db.execute(f"PRAGMA {pragma}")
            db.execute("BEGIN")
            db.execute(_TABLES["meta"])
            db.execute(_TABLES["ring"])
            db.execute("INSERT INTO meta VALUES (?)", (msgspec.json.encode(meta).decode(),))
            db.execute(
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1) "
                "INSERT INTO ring SELECT i, zeroblob(?) FROM n",
                (meta.rows, row_bytes(meta.d)),
            )
            db.execute("COMMIT")
        with Path(temporary).open("rb+") as stream:
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
        files.sync_folder(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"cannot make {path}: {error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()


class Ring:
    """The ring of a state that is open for writing.

    Parameters
    ----------
    path : a file that `create_ring` made.

    Raises
    ------
    StateError : it is not a ring, or damaged.
    StorageError : the disk refuses to write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = False
        self._logged = 0  # pages since the log was moved into the file, at least
        self._db: sqlite3.Connection | None = None
        try:
            files.refuse_special(path)
            self._db = sqlite3.connect(
                path, timeout=0, isolation_level=None, check_same_thread=False
            )
            # Locked for itself first: then the log's index is in memory and no -shm file is made
            for pragma in ("locking_mode=EXCLUSIVE", "trusted_schema=OFF", "cell_size_check=ON"):
                self._db.execute(f"PRAGMA {pragma}")
            mode = self._db.execute("PRAGMA journal_mode=WAL").fetchone()
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA wal_autocheckpoint=0")  # it would not say that it failed
            if mode != ("wal",):
                raise StateError(f"{path} cannot be written ahead: its journal is {mode}")
            # Rows may all read well while the way to one is damaged; 1 ms a megabyte
            if self._db.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
                raise StateError(f"{path} is damaged: its pages do not fit each other")
            self.meta = described_ring(self._db, path)
            self.archives = _has_archive(self._db)
            self._pages_a_row = -(-row_bytes(self.meta.d) // _PAGE)
        except BaseException as error:
            self.close()  # one that stays open would lock the next one out
            if isinstance(error, DAMAGE):
                raise _explained(error, path) from error
            raise

    def rows(self) -> list[bytes]:
        """Return all rows, in order of slot.

        Raises
        ------
        StateError : the file is damaged.
        """
        try:
            return all_rows(self._connection, self.meta)
        except DAMAGE as error:
            raise _explained(error, self._path) from error

    def append(self, first: int, rows: Sequence[bytes]) -> None:
        """Replace the oldest rows by these, of seq `first` and on; durable when it returns.

        Raises
        ------
        StorageError : the disk is full: nothing has changed. After any other refusal nothing
            is known of what reached the disk, and no more is accepted.
        """
        with self._transaction() as db:
            for seq, row in enumerate(rows, first):
                done = db.execute("UPDATE ring SET row=? WHERE slot=?", (row, seq % self.meta.rows))
                if done.rowcount != 1:
                    raise StateError(f"{self._path} lacks a row of its ring")
            self._archive(db, rows)

    def fill(self, rows: Sequence[bytes]) -> None:
        """Put rows, of whatever seq, into their places."""
        with self._transaction() as db:
            for row in rows:
                seq = int.from_bytes(row[:8], "little")
                db.execute("UPDATE ring SET row=? WHERE slot=?", (row, seq % self.meta.rows))

    def read(self, seq: int) -> bytes:
        """Return the row in the place of `seq`, whatever it holds."""
        try:
            found = self._connection.execute(
                "SELECT row FROM ring WHERE slot=?", (seq % self.meta.rows,)
            ).fetchone()
        except DAMAGE as error:
            raise _explained(error, self._path) from error
        if not found or not isinstance(found[0], bytes):
            raise StateError(f"{self._path} lacks a row of its ring")
        return found[0]

    # -- the archive ------------------------------------------------------------------------

    def begin_archive(self) -> None:
        """Keep every row from now on, not only the newest; the file grows with them."""
        if not self.archives:
            with self._transaction() as db:
                db.execute(_TABLES["archive"])
            self.archives = True

    def archive(self, rows: Sequence[bytes]) -> None:
        """Keep rows that do not go through the ring. See `append`."""
        if self.archives:
            with self._transaction() as db:
                self._archive(db, rows)

    def _archive(self, db: sqlite3.Connection, rows: Sequence[bytes]) -> None:
        if not self.archives:
            return
        for row in rows:
            seq = int.from_bytes(row[:8], "little")
            kind, target = packed_kind(row)
            if kind == "learned":
                db.execute("INSERT OR REPLACE INTO archive VALUES (?, ?)", (seq, row))
            elif target:  # what is taken back is not kept any longer
                db.execute("DELETE FROM archive WHERE seq=?", (target,))

    def archived_row(self, seq: int) -> bytes | None:
        """Return the row of this number from the archive, or None where it holds none."""
        if not self.archives:
            return None
        try:
            found = self._connection.execute(
                "SELECT row FROM archive WHERE seq=?", (seq,)
            ).fetchone()
        except DAMAGE as error:
            raise _explained(error, self._path) from error
        return found[0] if found and isinstance(found[0], bytes) else None

    def archived(self) -> Iterator[tuple[int, bytes]]:
        """Yield (seq, row) of the archive, in order; nothing where there is none."""
        if self.archives:
            try:
                yield from self._connection.execute("SELECT seq, row FROM archive ORDER BY seq")
            except DAMAGE as error:
                raise _explained(error, self._path) from error

    def drop_archived(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Remove rows with first <= seq <= last from the archive."""
        if self.archives:
            with self._transaction() as db:
                db.executemany("DELETE FROM archive WHERE seq BETWEEN ? AND ?", ranges)

    def close(self) -> None:
        """Move the log into the file and let it go."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._failed or self._db is None:
            raise StorageError(
                f"{self._path} takes nothing more: the disk failed, or it was closed",
                hint="look at the disk (dmesg), then open the state again",
            )
        return self._db

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._connection
        before = db.total_changes
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                if db.in_transaction:
                    db.execute("ROLLBACK")
            if not isinstance(error, sqlite3.Error):
                raise
            if _is_full(error) and not db.in_transaction:
                raise StorageError(
                    f"cannot write {self._path}: the disk is full",
                    hint="nothing was learned; make room, then go on",
                ) from error
            # After a failed sync nobody knows what is on the disk: only reading it again tells
            self._failed = True
            raise StorageError(
                f"cannot write {self._path}: {error}",
                hint="look at the disk (dmesg), then open the state again",
            ) from error
        self._move_log(db, db.total_changes - before)

    def _move_log(self, db: sqlite3.Connection, rows: int) -> None:
        """Move the log into the file now and then; what was committed is durable in any case.

        A failed sync must be seen: the next one would say that all is well, and the log, which
        has the only good copy, would begin anew.
        """
        self._logged += rows * self._pages_a_row
        if self._logged < _PAGES:
            return
        try:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            self._failed = not _is_full(error)  # the next call is refused
        else:
            self._logged = 0


# What reading a damaged file has been seen to raise
DAMAGE = (sqlite3.Error, UnicodeDecodeError, OverflowError, ValueError, TypeError, MemoryError)


def _explained(error: BaseException, path: Path) -> Exception:
    if isinstance(error, StateError | StorageError):
        return error
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return StorageError(
            f"{path} is in use by another process",
            hint="end it first, or give this one a folder of its own",
        )
    text = str(error)
    refused = ("unable to open", "readonly", "disk I/O", "full", "permission")
    if isinstance(error, sqlite3.OperationalError) and any(word in text for word in refused):
        return StorageError(f"cannot open {path}: {text}")
    return StateError(f"{path} is damaged: {text}")


def _is_full(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)  # Python 3.11 and newer
    return code == _SQLITE_FULL or (code is None and "is full" in str(error))


def described_ring(db: sqlite3.Connection, path: Path) -> RingMeta:
    """Return what a ring was made for, or raise StateError."""
    tables = dict(db.execute("SELECT name, sql FROM sqlite_master").fetchall())
    if not tables.items() <= _TABLES.items() or not {"meta", "ring"} <= tables.keys():
        raise StateError(f"{path} is no ring: it holds {sorted(tables)}")  # a trigger, a view
    found = db.execute("SELECT text FROM meta").fetchall()
    if len(found) != 1:
        raise StateError(f"{path} is damaged: it has {len(found)} descriptions")
    try:
        meta = msgspec.json.decode(found[0][0], type=RingMeta)
    except (msgspec.MsgspecError, TypeError) as error:
        raise StateError(f"{path} does not describe a ring: {error}") from error
    if meta.format_version != 1:
        raise StateError(
            f"{path} has format {meta.format_version}, this edge-cl reads 1", hint="update edge-cl"
        )
    if not (1 <= meta.rows <= 1 << 20 and 1 <= meta.d <= 1 << 20):
        raise StateError(f"{path} is damaged: {meta.rows} rows of {meta.d} features")
    return meta


def _has_archive(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT 1 FROM sqlite_master WHERE name='archive'").fetchall())


def all_rows(db: sqlite3.Connection, meta: RingMeta) -> list[bytes]:
    """Return all rows, in order of slot, or raise StateError."""
    size = row_bytes(meta.d)
    if db.execute("SELECT 1 FROM ring WHERE length(row) > ? LIMIT 1", (size,)).fetchall():
        raise StateError("the ring has rows that are too long")  # before they are read
    query = "SELECT slot, row FROM ring ORDER BY slot LIMIT ?"
    found = db.execute(query, (meta.rows + 1,)).fetchall()
    if [slot for slot, _ in found] != list(range(meta.rows)):
        raise StateError(f"the ring has not the {meta.rows} rows that it was made with")
    if any(not isinstance(row, bytes) for _, row in found):
        raise StateError("the ring has rows that are not rows")
    return [row for _, row in found]
