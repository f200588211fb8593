"""Two snapshots that take turns, so that one of them is whole whatever happens to the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_cl import files
from edge_cl.errors import StateError
from edge_cl.sealed import seal, unseal
from edge_cl.store.header import FORMAT_VERSION, TENSORS, Saved, StateHeader

__all__ = ["Found", "newest", "read_saved", "read_snapshots", "snapshot_paths", "write_saved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is in one of the two places: a snapshot, an error, or (both None) nothing."""

    path: Path
    saved: Saved | None = None
    error: StateError | None = None


def snapshot_paths(folder: Path) -> tuple[Path, Path]:
    """Return where the snapshots of a state are."""
    return folder / "snapshot-0.safetensors", folder / "snapshot-1.safetensors"


def read_snapshots(folder: Path) -> tuple[Found, Found]:
    """Read and verify both."""
    first, second = (_read(path) for path in snapshot_paths(folder))
    return first, second


def newest(found: tuple[Found, Found]) -> Saved | None:
    """Return the newest of those that are whole."""
    whole = [one.saved for one in found if one.saved]
    return max(whole, key=lambda saved: saved.header.seq, default=None)


def read_saved(path: Path) -> Saved:
    """Read and verify one file.

    Raises
    ------
    FileNotFoundError : there is none.
    StateError : it is damaged, or of a format this version does not know.
    """
    header, tensors = unseal(path, StateHeader, version=FORMAT_VERSION)
    if not tensors.keys() >= TENSORS:
        raise StateError(f"{path} holds the tensors {sorted(tensors)}, which is not a state")
    if not 0 <= header.floor <= header.seq < 1 << 62:
        raise StateError(f"{path} has seen {header.seq} changes, {header.floor} of them apart")
    return Saved(header=header, tensors=tensors)


def write_saved(path: Path, saved: Saved) -> None:
    """Replace a file, whole or not at all.

    Raises
    ------
    StorageError : the disk refused; the old file is still there.
    """
    files.write_atomically(path, seal(saved.header, saved.tensors), mode=0o600)


def _read(path: Path) -> Found:
    try:
        return Found(path=path, saved=read_saved(path))
    except FileNotFoundError:
        return Found(path=path)
    except StateError as error:
        return Found(path=path, error=error)
