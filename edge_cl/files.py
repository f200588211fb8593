"""Writing a file so that a reader, or a power cut, finds the old one or the new one."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from edge_cl.errors import StateError, StorageError


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `data`: temporary file beside it, fsync, rename, fsync of the folder.

    Raises
    ------
    StorageError : the disk refused; `path` is as it was and no temporary file remains.
    """
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()


def rename(path: Path, to: Path) -> None:
    """Rename a file inside its folder, durably.

    Raises
    ------
    StorageError : the disk refused.
    """
    try:
        path.replace(to)
        sync_folder(to.parent)
    except OSError as error:
        raise StorageError(f"cannot rename {path}: {error.strerror or error}") from error


def remove(path: Path) -> None:
    """Remove a file, durably; do nothing where there is none.

    Raises
    ------
    StorageError : the disk refused.
    """
    try:
        path.unlink()
        sync_folder(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"cannot remove {path}: {error.strerror or error}") from error


def make_folder(path: Path) -> None:
    """Make a folder that only its owner may enter, durably, with those above it.

    Raises
    ------
    StorageError : the disk refused.
    """
    missing = [one for one in (path, *path.parents) if not one.exists()]
    try:
        for one in reversed(missing):
            one.mkdir(mode=0o700, exist_ok=True)
            sync_folder(one.parent)
        if not path.is_dir():
            raise StorageError(f"{path} is not a folder")
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"cannot make {path}: {error.strerror or error}") from error


def refuse_special(path: Path) -> None:
    """Raise StateError unless there is a file of its own, or nothing: no link, no pipe."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # whoever opens it will say
    if not stat.S_ISREG(mode):
        raise StateError(f"{path} is not a file", hint="remove what was put in its place")


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable; do nothing where there is none.

    Raises
    ------
    StorageError : the disk refused.
    """
    if not (path.is_file() or path.is_dir()):
        return  # a pipe would wait for ever
    try:
        sync_folder(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"cannot sync {path}: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or removed in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
