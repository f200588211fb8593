"""The folder of a state: one writer, a ring of samples, two snapshots.

    STATE/
      events.db              the newest samples, each on disk before it is learned (`ring`)
      snapshot-0, -1         .safetensors: the sums, the heads, what can be undone (`snapshots`)
      encoder.edgecl         the bundle, where it is not the one that ships; .sig: its signature
      versions/              snapshots with a name
      lock                   held by the one process that may write
      *.corrupt-N            what was damaged, kept as it was found

Nothing is overwritten before two things hold it: a row leaves the ring when both snapshots have
seen it; a snapshot replaces the older of the two.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from edge_cl import files
from edge_cl.errors import FormatError, InputError, StateError, StorageError
from edge_cl.store.durability import Durability
from edge_cl.store.header import Saved
from edge_cl.store.migration import OLD_SNAPSHOT, migrated, retire
from edge_cl.store.reader import Held, archived_rows, held_rows, log_of
from edge_cl.store.recovery import Proven, Recovery, of_one_state, prove
from edge_cl.store.ring import Ring, RingMeta, create_ring
from edge_cl.store.rows import pack
from edge_cl.store.snapshots import (
    Found,
    newest,
    read_saved,
    read_snapshots,
    snapshot_paths,
    write_saved,
)

__all__ = ["Store", "is_state"]

_RING = "events.db"
_SUFFIX = ".safetensors"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_UNFINISHED = re.compile(r"\.(events\.db|encoder\.edgecl(\.sig)?|[A-Za-z0-9._-]+\.safetensors)\.")
_END = 1 << 62
_TRIES = 10

PRESENT = "before-rollback.new"  # what a rollback leaves behind, until it has happened


def is_state(folder: Path) -> bool:
    """Say whether something was saved in a folder, whole or not."""
    return any(path.exists() for path in (*snapshot_paths(folder), folder / OLD_SNAPSHOT))


class Store:
    """The state folder of one learner.

    Parameters
    ----------
    folder : created where it does not exist, unless `read_only`.
    read_only : take no lock and write nothing; another process may be writing.

    Raises
    ------
    StorageError : the folder cannot be made, or another process has it open for writing.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder = folder
        self.read_only = read_only
        self._closed = False
        self._uncertain = False
        self._ring: Ring | None = None
        self._found: tuple[Found, ...] = ()
        self._written: list[int] = [-1, -1]  # seq of the snapshot in each place; -1: none
        self._lock: int | None = None
        if not read_only:
            self._lock = _locked(folder)
            _sweep(folder)

    # -- opening ----------------------------------------------------------------------------

    def load(self) -> Proven | None:
        """Return what the folder proves, or None where no state began yet.

        Raises
        ------
        StateError : neither snapshot is whole, or this version does not know the format.
        StorageError : the disk refused to read, or the folder is in use by another process.
        """
        if not self.read_only:
            self._sync()
            return self._proven()
        for _ in range(_TRIES):  # a writer may have changed one file while another was read
            before = self._stamps()
            found = self._proven()
            if self._stamps() == before:
                break
        return found

    def _proven(self) -> Proven | None:
        self._found = read_snapshots(self.folder)
        for one in self._found:
            if isinstance(one.error, FormatError):
                raise one.error  # not damaged: too new
        self._written = [one.saved.header.seq if one.saved else -1 for one in self._found]
        ring = self._held()
        if newest(self._found) is None or ring is None:
            old = migrated(self.folder)
            if old is not None:  # whatever is there of the new state is not whole yet
                self._found, self._written = (), [-1, -1]
                return old
        nothing = not any(one.saved or one.error for one in self._found)
        if nothing and not _has_begun(ring):
            return None  # it ended before the first snapshot was written
        self._found = of_one_state(self._found, ring)
        self._written = [one.saved.header.seq if one.saved else -1 for one in self._found]
        return prove(self._found, ring)

    def begin(self, saved: Saved, durability: Durability) -> None:
        """Make the files of a new state, `saved` being where it begins.

        Raises
        ------
        StorageError : the disk refused; there is no state, as before.
        """
        self.refuse_unwritable()
        self._make_ring(saved, durability.ring)
        try:
            for place in (0, 1):
                self._write(place, saved)
        except BaseException:
            self._written = [-1, -1]
            for path in snapshot_paths(self.folder):
                with contextlib.suppress(OSError):  # what refused to write may refuse this too
                    path.unlink()
            raise

    def settle(
        self, proven: Proven, snapshot: Callable[[], Saved], durability: Durability
    ) -> Recovery:
        """Open for writing what `load` has proven, and mend what is not whole.

        `snapshot` gives the state (1) of `edge_cl.store.recovery`. Every step can be cut off
        and done again: what is written holds all that is proven before anything is moved.

        Raises
        ------
        StorageError : the disk refused.
        """
        self.refuse_unwritable()
        aside: list[str] = []
        floor = snapshot().header.floor if proven.damaged_ring else proven.saved.header.floor
        for place in self._older_first():
            if self._found and self._found[place].error:
                aside += _set_aside([self._found[place].path])
            if self._written[place] < floor or self._written[place] < 0:
                self._write(place, snapshot())  # what is there leads nowhere
        if proven.damaged_ring:
            path = self.folder / _RING
            self._close_ring()
            moved = _set_aside([path, *_companions(path)])
            aside += moved
            self._make_ring(snapshot(), proven.ring_rows or durability.ring)
            rows = [pack(*sample) for sample in (*proven.earlier, *proven.replay)]
            if self._open_ring.archives:
                for name in moved[:1]:
                    self._open_ring.archive(
                        archived_rows(self.folder / name, d=proven.saved.header.d, last=proven.seq)
                    )
                self._open_ring.archive(rows)
            self._open_ring.fill(rows[-self._open_ring.meta.rows :])
        elif self._ring is not None:
            self._ring.drop_archived([(proven.seq + 1, _END)])
        retire(self.folder)
        return Recovery(
            replayed=len(proven.replay),
            problems=proven.problems,
            lost=proven.lost,
            unfinished=proven.unfinished,
            set_aside=tuple(aside),
        )

    # -- writing ----------------------------------------------------------------------------

    def append(self, first: int, rows: Sequence[bytes]) -> None:
        """Make rows of seq `first` and on durable. See `Ring.append`.

        Raises
        ------
        StorageError : the disk refused, or snapshots have failed for so long that the ring is
            full of samples that no snapshot holds.
        """
        self.refuse_unwritable()
        if not self.room(first + len(rows) - 1):
            raise StorageError(
                f"{self.folder} takes no more: its snapshots could not be written for long",
                hint="make room on the disk, then go on",
            )
        self._open_ring.append(first, rows)

    def snapshot(self, saved: Saved, *, both: bool = False) -> StorageError | None:
        """Replace the older snapshot; or both, where the ring does not hold what has changed.

        Returns why the second of both could not be replaced: one holds it, the other is due.

        Raises
        ------
        StorageError : the disk refused; what was there before is still there.
        """
        self.refuse_unwritable()
        first, second = self._older_first()
        self._write(first, saved)
        if both:
            try:
                self._write(second, saved)
            except StorageError as error:
                return error
            except MemoryError:
                return StorageError(f"{self.folder}: there is no memory for the second snapshot")
        return None

    def room(self, seq: int) -> bool:
        """Say whether rows up to `seq` overwrite none that the older snapshot has not seen."""
        return seq - min(self._written) <= self._open_ring.meta.rows

    def most_rows(self, durability: Durability) -> int:
        """Return how many rows may be appended at once, and between snapshots."""
        return min(durability.snapshot_every, self._open_ring.meta.rows // 3)

    @property
    def behind(self) -> int:
        """Seq of the newest snapshot."""
        return max(self._written)

    @property
    def begun(self) -> bool:
        """Whether there is a state to append to."""
        return self._ring is not None and max(self._written) >= 0

    @property
    def ring(self) -> Ring:
        """The ring, for reading single rows and for the archive."""
        return self._open_ring

    # -- versions ---------------------------------------------------------------------------

    def save_version(self, name: str, saved: Saved) -> None:
        """Keep a snapshot under a name; one of that name is replaced.

        Raises
        ------
        InputError : not a name.
        StorageError : the disk refused.
        """
        self.refuse_unwritable()
        path = self._version(name)
        files.make_folder(path.parent)
        write_saved(path, saved)

    def load_version(self, name: str) -> Saved:
        """Return a snapshot that was kept under a name.

        Raises
        ------
        InputError : not a name, or there is none.
        StateError : it is damaged.
        """
        try:
            return read_saved(self._version(name))
        except FileNotFoundError:
            raise self._no_version(name) from None

    def drop_version(self, name: str) -> None:
        """Remove a version that is kept."""
        self.refuse_unwritable()
        path = self._version(name)
        if not path.exists():
            raise self._no_version(name)
        files.remove(path)  # one that is damaged, too

    def finish_rollback(self, gone: Sequence[tuple[int, int]]) -> None:
        """Give what was left behind by a rollback its name; remove it where there was none.

        It is not written under that name at once: what is returned to may have it.
        """
        self.refuse_unwritable()
        path = self._version(PRESENT)
        if not path.exists():
            return
        try:
            happened = read_saved(path).header.seq in {last for _, last in gone}
        except StateError:
            happened = False
        if happened:
            files.rename(path, self._version("before-rollback"))
        else:
            files.remove(path)

    def versions(self) -> tuple[str, ...]:
        """Return the names of what is kept, in order of name."""
        found = (self.folder / "versions").glob(f"*{_SUFFIX}")
        names = (path.name.removesuffix(_SUFFIX) for path in found)
        return tuple(sorted(name for name in names if _NAME.fullmatch(name)))

    def _no_version(self, name: str) -> InputError:
        some = ", ".join(self.versions()) or "none yet"
        return InputError(f"no version {name!r} is kept", hint=f"there are: {some}")

    def _version(self, name: str) -> Path:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputError(
                f"expected a name of 1..64 letters, digits, '.', '_' or '-', got {str(name)[:80]!r}"
            )
        return self.folder / "versions" / f"{name}{_SUFFIX}"

    # -- the bundle -------------------------------------------------------------------------

    @property
    def bundle(self) -> Path | None:
        """Path of the bundle kept with the state, or None where the shipped one is meant."""
        path = self.folder / "encoder.edgecl"
        return path if path.exists() else None

    def save_bundle(self, data: bytes, signature: bytes | None) -> None:
        """Keep a bundle with the state, so that the state opens on its own."""
        self.refuse_unwritable()
        if signature is not None:
            files.write_atomically(self.folder / "encoder.edgecl.sig", signature)
        files.write_atomically(self.folder / "encoder.edgecl", data)

    # -- the end ----------------------------------------------------------------------------

    def close(self) -> None:
        """Release the lock; nothing is written any more."""
        self._closed = True
        self._close_ring()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def refuse_unwritable(self) -> None:
        """Raise StorageError where nothing can be written: read-only, or closed."""
        if self._closed or self.read_only:
            how = "closed" if self._closed else "open for reading only"
            raise StorageError(f"{self.folder} is {how}")
        if self._uncertain:
            raise StorageError(
                f"{self.folder} takes nothing more: the disk failed",
                hint="look at the disk (dmesg), then open the state again",
            )

    # -- private ----------------------------------------------------------------------------

    @property
    def _open_ring(self) -> Ring:
        if self._ring is None:
            raise StorageError(f"{self.folder} has no ring that is open for writing")
        return self._ring

    def _sync(self) -> None:
        """Make durable what a writer that was killed has left to the page cache.

        Otherwise what is read now, and answered for, could still vanish with the power.
        """
        ring = self.folder / _RING
        for path in (*_companions(ring), ring, self.folder / "versions", self.folder):
            files.sync(path)

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        """Return what tells whether a file has changed, of all that are read."""
        ring = self.folder / _RING
        return [_stamp(path) for path in (*snapshot_paths(self.folder), ring, *_companions(ring))]

    def _held(self) -> Held | StateError | None:
        path = self.folder / _RING
        try:
            log = log_of(path)  # first: SQLite would ignore what stands behind damage
            if self.read_only or log.mended is not None:
                held = held_rows(path)
                if self.read_only or held.damage:
                    return held
            if not path.exists():
                return None
            self._ring = Ring(path)
            return Held(meta=self._ring.meta, rows=self._ring.rows(), unfinished=log.unfinished)
        except FileNotFoundError:
            return None
        except StateError as error:
            if isinstance(error, FormatError):
                raise
            return error

    def _make_ring(self, saved: Saved, size: int) -> None:
        self._close_ring()
        path = self.folder / _RING
        for companion in _companions(path):
            files.remove(companion)  # a log that is left would be taken for the new file's
        header = saved.header
        create_ring(path, RingMeta(rows=size, d=header.d, nonce=header.nonce))
        self._ring = Ring(path)
        if header.archive:
            self._ring.begin_archive()

    def _close_ring(self) -> None:
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _older_first(self) -> tuple[int, int]:
        return (0, 1) if self._written[0] <= self._written[1] else (1, 0)

    def _write(self, place: int, saved: Saved) -> None:
        path = snapshot_paths(self.folder)[place]
        before = _stamp(path)
        try:
            write_saved(path, saved)
        except StorageError:
            if _stamp(path) != before:  # renamed, and then refused: nobody knows what lasts
                self._uncertain = True
            raise
        self._written[place] = saved.header.seq


def _has_begun(ring: Held | StateError | None) -> bool:
    """Say whether a ring has rows: they are written after the first snapshot."""
    return isinstance(ring, Held) and any(row.strip(b"\0") for row in ring.rows)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_ino, told.st_size, told.st_mtime_ns


def _companions(path: Path) -> list[Path]:
    return [path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal")]


def _set_aside(paths: Iterable[Path]) -> list[str]:
    """Rename what is there to *.corrupt-N, N the next one that is free; return the new names."""
    there = [path for path in paths if path.exists()]
    n = 1
    while any(path.with_name(f"{path.name}.corrupt-{n}").exists() for path in there):
        n += 1
    for path in there:
        files.rename(path, path.with_name(f"{path.name}.corrupt-{n}"))
    return [f"{path.name}.corrupt-{n}" for path in there]


def _sweep(folder: Path) -> None:
    """Remove what a writer that was cut off left unfinished."""
    for place in (folder, folder / "versions"):
        for path in place.glob(".*"):
            if _UNFINISHED.match(path.name):
                with contextlib.suppress(OSError):
                    path.unlink()


def _locked(folder: Path) -> int:
    files.make_folder(folder)
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"cannot open {folder}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StorageError(
            f"{folder} is in use by another process",
            hint="end it first, or give this one a folder of its own",
        ) from None
    return descriptor
