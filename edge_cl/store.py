"""Durable state: one folder, one writer, a snapshot that is whole or not there.

    STATE/
      snapshot.safetensors   the moments (integers held in float64), the head's weights, the
                             samples that can be undone; a header, and a digest of everything
      encoder.edgecl         the bundle, where it is not the one that ships with edge-cl
      lock                   held by the one process that may write

A snapshot is written beside the old one, synced, and renamed over it: a power cut leaves the
old or the new. `Store` is the door through which the learner reads and writes, so that a
journal of single events can come to stand behind it.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from edge_cl import files
from edge_cl.bundle import Bundle, open_bundle
from edge_cl.errors import StateError, StorageError
from edge_cl.features import MapSpec
from edge_cl.forgetting import Everything, Forgetting
from edge_cl.heads import HeadOptions
from edge_cl.sealed import seal, unseal

__all__ = ["FORMAT_VERSION", "TENSORS", "Saved", "StateHeader", "Store"]

FORMAT_VERSION = 1
TENSORS = {"n", "Q", "G", "undo_q", "undo_y"}  # of every state; parts of others have a dot


class StateHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the tensors of a snapshot mean, and which encoder they belong to."""

    format_version: int = FORMAT_VERSION
    bundle_name: str
    bundle_sha256: str
    encoder_sha256: str
    d: int
    scale: float
    map: MapSpec
    head: HeadOptions
    compared: tuple[HeadOptions, ...] = ()
    auto: bool = False
    statistics: tuple[str, ...] = ()
    forgetting: Forgetting = Everything()
    labels: tuple[str, ...]
    saturated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """One snapshot: what the tensors mean, and the tensors of all parts."""

    header: StateHeader
    tensors: dict[str, NDArray[Any]]


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
        self._lock: int | None = None
        if not read_only:
            self._lock = _locked(folder)

    @property
    def snapshot(self) -> Path:
        """The snapshot's path."""
        return self.folder / "snapshot.safetensors"

    def load(self) -> Saved | None:
        """Return the snapshot, verified, or None where there is none yet.

        Raises
        ------
        StateError : it is damaged, or of a format this version does not know.
        """
        try:
            header, tensors = unseal(self.snapshot, StateHeader, version=FORMAT_VERSION)
        except FileNotFoundError:
            return None
        if not tensors.keys() >= TENSORS:
            held = f"{self.snapshot} holds the tensors {sorted(tensors)}"
            raise StateError(f"{held}, which is not a state")
        return Saved(header=header, tensors=tensors)

    def save(self, saved: Saved) -> None:
        """Replace the snapshot, whole or not at all.

        Raises
        ------
        StorageError : the disk refused; the old snapshot is still there.
        """
        self.refuse_unwritable()
        files.write_atomically(self.snapshot, seal(saved.header, saved.tensors), mode=0o600)

    def load_bundle(self) -> Bundle | None:
        """Return the bundle kept with the state, or None where the shipped one is meant."""
        path = self.folder / "encoder.edgecl"
        return open_bundle(path) if path.exists() else None

    def save_bundle(self, data: bytes) -> None:
        """Keep a bundle with the state, so that the state opens on its own."""
        self.refuse_unwritable()
        files.write_atomically(self.folder / "encoder.edgecl", data)

    def close(self) -> None:
        """Release the lock; nothing is written any more."""
        self._closed = True
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


def _locked(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
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
