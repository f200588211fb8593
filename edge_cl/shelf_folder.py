"""The folder of a shelf: what may lie in it, its record, its links, its lock.

    SHELF/
      bundles/<sha256>.edgecl       never changed; the name is the bundle's identity
      bundles/<sha256>.edgecl.sig   its signature, where it came with one
      shelf.json                    the record: current, previous, the trial, what failed
      current -> bundles/...        what the record says, for people and other programs
      previous -> bundles/...
      updates/                      what `edge_cl.updates` remembers
      lock                          held while one process changes something

The record alone decides: it is one small file, replaced whole, so that a power cut leaves the
old shelf or the new one. The links follow it, and are mended the next time something changes.
Whatever else is in the folder, a link to elsewhere, or a file with a second name, is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from edge_cl import files
from edge_cl.errors import BundleError, StateError, StorageError
from edge_cl.manifest import MAX_BUNDLE_BYTES
from edge_cl.signing import MAX_SIGNATURE_BYTES

MAX_REMEMBERED = 64  # bundles that failed; the oldest are forgotten

_MAX_RECORD_BYTES = 16 << 10
_BUNDLE = re.compile(r"([0-9a-f]{64})\.edgecl")
_KEPT = re.compile(rf"{_BUNDLE.pattern}(\.sig)?")
_LEFT_BEHIND = re.compile(r"\.(shelf\.json|current|previous|[0-9a-f]{64}\.edgecl(\.sig)?)\..+")
_TARGET = re.compile(rf"bundles/{_BUNDLE.pattern}")

Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a shelf knows.

    current, previous : sha256 of bundles.
    starts : of `current` while it is on trial; None when it has proved itself.
    bad : bundles that were returned from, oldest first.
    """

    format_version: int = 1
    current: Digest | None = None
    previous: Digest | None = None
    starts: Annotated[int, msgspec.Meta(ge=0)] | None = None
    bad: tuple[Digest, ...] = ()


class ShelfFolder:
    """Files, links and lock of a shelf; which of them mean what is for `edge_cl.shelf`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bundles = path / "bundles"

    @contextlib.contextmanager
    def locked(self, *, patience_s: float, create: bool = False) -> Iterator[None]:
        """Be the only one that changes the shelf.

        Raises
        ------
        StorageError : the disk refused, or another process held the lock for too long.
        StateError : something in the folder does not belong there, or there is no shelf.
        """
        self.refuse_odd_entries()
        if not create and not self._bundles.is_dir():
            raise StateError(f"no bundles in {self.path}", hint="install one first")
        try:
            for folder in (self.path, self._bundles):
                if not folder.is_dir():
                    folder.mkdir(parents=True, exist_ok=True)
                    files.sync_folder(folder.parent)
            # For reading: a shelf on a read-only medium can be started from, too
            descriptor = os.open(
                self.path / "lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
        except OSError as error:
            raise StorageError(f"cannot open {self.path}: {error.strerror}") from error
        try:
            _wait_for(descriptor, self.path, patience_s)
            self._sweep()
            self._link(self.record())
            yield
        finally:
            os.close(descriptor)

    def record(self) -> Record:
        """Return the record, verified; an empty one where nothing was ever installed.

        Raises
        ------
        StateError : it is damaged, or something in the folder does not belong there.
        """
        self.refuse_odd_entries()
        path = self.path / "shelf.json"
        try:
            data = _read(path, _MAX_RECORD_BYTES)
        except FileNotFoundError:
            return Record()
        except OSError as error:
            raise StateError(f"cannot read {path}: {error.strerror}") from error
        text, _, found = data.partition(b"\n")
        hint = "remove it, and install the bundle again"
        if found != _digest_line(text):
            raise StateError(f"{path} is damaged: its digest does not match", hint=hint)
        try:
            return msgspec.json.decode(text, type=Record)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise StateError(f"{path} does not fit: {error}", hint=hint) from error

    def commit(self, record: Record) -> None:
        """Replace the record; this is the moment at which a shelf changes. Then the links.

        Raises
        ------
        StorageError : the disk refused; the shelf is the old one or the new one, never a mixture.
        """
        text = msgspec.json.encode(record)
        files.write_atomically(self.path / "shelf.json", text + b"\n" + _digest_line(text))
        self._link(record)

    def read(self, sha256: str) -> tuple[bytes, bytes | None]:
        """Return the bytes kept under this name, and their signature, as yet unverified.

        Raises
        ------
        BundleError : there is no such file, or it cannot be read.
        """
        path = self._bundles / f"{sha256}.edgecl"
        try:
            data = _read(path, MAX_BUNDLE_BYTES)
            with contextlib.suppress(FileNotFoundError):
                return data, _read(Path(f"{path}.sig"), MAX_SIGNATURE_BYTES)
        except OSError as error:
            raise BundleError(
                f"cannot read {path}: {error.strerror}", hint="install the bundle again"
            ) from error
        return data, None

    def keep(self, sha256: str, data: bytes, signature: bytes | None) -> None:
        """Write a bundle and its signature; nothing where the same bytes are there already."""
        path = self._bundles / f"{sha256}.edgecl"
        for file, blob in ((Path(f"{path}.sig"), signature), (path, data)):
            if blob is not None and not _holds(file, blob):
                files.write_atomically(file, blob)

    def held(self) -> list[str]:
        """Return the sha256 of every bundle in the folder, sorted."""
        names = _names(self._bundles)
        return sorted(match[1] for name in names if (match := _BUNDLE.fullmatch(name)))

    def drop(self, keep: set[str]) -> None:
        """Remove every bundle that is not to be kept, and every signature without its bundle."""
        try:
            for name in _names(self._bundles):
                match = _KEPT.fullmatch(name)
                if match and match[1] not in keep:
                    (self._bundles / name).unlink()
            files.sync_folder(self._bundles)
        except OSError as error:
            raise StorageError(f"cannot clear {self._bundles}: {error.strerror}") from error

    def refuse_odd_entries(self) -> None:
        """Raise StateError for whatever the folder holds that this module never makes."""
        for name in _names(self.path):
            path, text = self.path / name, f"{self.path} holds {name!r}"
            kind = _kind(path)
            if kind is None or (_LEFT_BEHIND.fullmatch(name) and kind != "folder"):
                continue
            if name in ("current", "previous"):
                target = _target(path)
                if kind != "link" or (target is not None and not _TARGET.fullmatch(target)):
                    raise StateError(f"{text}, which is not a link to a bundle beside it")
            elif kind != {"bundles": "folder", "updates": "folder"}.get(name, "file"):
                raise StateError(f"{text}, a {kind}")
            elif name not in ("bundles", "updates", "shelf.json", "lock"):
                raise StateError(f"{text}, which belongs to no shelf", hint="move it elsewhere")
        for name in _names(self._bundles):
            text = f"{self._bundles} holds {name!r}"
            kind = _kind(self._bundles / name)
            if kind is not None and kind != "file":
                raise StateError(f"{text}, a {kind}")
            if not (_KEPT.fullmatch(name) or _LEFT_BEHIND.fullmatch(name)):
                raise StateError(f"{text}, which is no bundle", hint="move it elsewhere")

    def _link(self, record: Record) -> None:
        """Let the links say what the record says."""
        try:
            for name, sha256 in (("previous", record.previous), ("current", record.current)):
                link = self.path / name
                target = f"bundles/{sha256}.edgecl" if sha256 else None
                if target == _target(link):
                    continue
                if target is None:
                    link.unlink()
                else:
                    new = self.path / f".{name}.new"
                    new.symlink_to(target)
                    new.replace(link)
                files.sync_folder(self.path)
        except OSError as error:
            raise StorageError(f"cannot link in {self.path}: {error.strerror}") from error

    def _sweep(self) -> None:
        """Remove what an interrupted write left behind."""
        self.refuse_odd_entries()
        for folder in (self.path, self._bundles):
            for name in _names(folder):
                if _LEFT_BEHIND.fullmatch(name):
                    with contextlib.suppress(OSError):
                        (folder / name).unlink()


def _wait_for(descriptor: int, path: Path, patience_s: float) -> None:
    until = time.monotonic() + patience_s
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= until:
                raise StorageError(
                    f"{path} is being changed by another process",
                    hint="try again when that has ended",
                ) from None
        time.sleep(0.02)


def _names(folder: Path) -> list[str]:
    """Return what is in a folder, sorted; nothing where there is none."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StateError(f"cannot read {folder}: {error.strerror}") from error


def _target(link: Path) -> str | None:
    """Return the text of a link, as it is; None where there is none, or no longer."""
    try:
        return os.readlink(link)  # noqa: PTH115 - Path drops a last /
    except OSError:
        return None


def _kind(path: Path) -> str | None:
    """Say what a name stands for, without following links; None: it has just gone."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        return "link"
    if stat.S_ISDIR(found.st_mode):
        return "folder"
    if not stat.S_ISREG(found.st_mode):
        return "device or socket"
    return "file" if found.st_nlink <= 1 else "file with a second name"


def _read(path: Path, limit: int) -> bytes:
    """Return a plain file's bytes; OSError for a link, a device, or one that is too large."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise OSError(0, "it is no plain file")
        data = stream.read(limit + 1) if found.st_size <= limit else b""
        if len(data) != found.st_size:
            raise OSError(0, f"it has {found.st_size} bytes, at most {limit} are read")
        return data


def _holds(path: Path, data: bytes) -> bool:
    try:
        return _read(path, len(data)) == data
    except OSError:
        return False


def _digest_line(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode() + b"\n"
