"""What a device remembers of a repository: the newest metadata that it has believed.

    CACHE/
      trusted/root_history/N.root.json
      trusted/timestamp.json, snapshot.json, targets.json
      work/      of an update under way; removed afterwards
      lock

Rollback and freeze are seen by comparing with these files, so they are kept durably:
python-tuf works on a copy, and what it has believed is written back, each file whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from edge_cl import files
from edge_cl.errors import StorageError
from edge_cl.updates.transport import MAX_METADATA_BYTES

_ROLES = ("timestamp.json", "snapshot.json", "targets.json")
_ROOT = re.compile(r"[1-9][0-9]{0,8}\.root\.json")


class Remembered:
    """The copy that one update works on.

    work : folder for python-tuf and for downloads.
    before : name -> bytes of the role files as they were when the update began.
    """

    def __init__(self, cache: Path) -> None:
        self._trusted = cache / "trusted"
        self.work = cache / "work"
        self.before = {
            name: data for name in _ROLES if (data := _read(self._trusted / name)) is not None
        }

    def prepare(self) -> None:
        """Fill the copy."""
        if self.work.exists():
            shutil.rmtree(self.work)  # of an update that was interrupted
        (self.work / "root_history").mkdir(parents=True)
        for name in self._names(self._trusted):
            data = _read(self._trusted / name)
            if data is not None:
                (self.work / name).write_bytes(data)

    def keep(self) -> None:
        """Remember what the copy holds now.

        Raises
        ------
        StorageError : the disk refused; each file is the old one or the new one.
        """
        history = self._trusted / "root_history"
        if not history.is_dir():
            history.mkdir(parents=True)
            files.sync_folder(self._trusted.parent)
        for name in self._names(self.work):
            data = _read(self.work / name)
            if data is not None and data != _read(self._trusted / name):
                files.write_atomically(self._trusted / name, data)

    def newest_root(self) -> bytes | None:
        """Return the newest root metadata in the copy."""
        names = [name for name in self._names(self.work) if name not in _ROLES]
        return _read(self.work / names[-1]) if names else None

    def now(self, role: str) -> bytes | None:
        """Return the metadata of a role in the copy."""
        return _read(self.work / f"{role}.json")

    def _names(self, folder: Path) -> list[str]:
        """Return the names that are ours, roots first and in the order of their versions."""
        history = folder / "root_history"
        found = [p.name for p in history.iterdir()] if history.is_dir() else []
        roots = sorted((n for n in found if _ROOT.fullmatch(n)), key=lambda n: int(n.split(".")[0]))
        return [*(f"root_history/{n}" for n in roots), *_ROLES]


@contextlib.contextmanager
def remembered(cache: Path) -> Iterator[Remembered]:
    """Hand out the copy; it is gone afterwards, and what was not kept with it.

    Raises
    ------
    StorageError : the disk refused, or another update is under way.
    """
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(cache / "lock", flags, 0o600)
    except OSError as error:
        raise StorageError(f"cannot open {cache}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StorageError(f"another update is under way in {cache}") from None
        memory = Remembered(cache)
        try:
            memory.prepare()
            yield memory
        finally:
            shutil.rmtree(memory.work, ignore_errors=True)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"cannot write {cache}: {error.strerror or error}") from error
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes | None:
    """Return a plain file's bytes; None where there is none, or it is nothing of ours.

    The root.json of python-tuf is a link to the newest root, and not needed.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_METADATA_BYTES:
            return None
        return stream.read(MAX_METADATA_BYTES)
