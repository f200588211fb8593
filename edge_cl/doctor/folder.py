"""Is there a folder to look at."""

from __future__ import annotations

from pathlib import Path

from edge_cl.errors import StateError

__all__ = ["require_folder"]


def require_folder(folder: Path) -> None:
    """Raise StateError unless `folder` is one."""
    try:
        there = folder.is_dir()
    except OSError as error:
        raise StateError(f"cannot look at {folder}: {error.strerror}") from error
    if not there:
        raise StateError(f"there is no folder {folder}", hint="name the folder of a state")
