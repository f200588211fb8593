"""Drawing into a file: what must be there first, and writing it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edge_cl.errors import InputError, MissingExtraError, StorageError

__all__ = ["can_plot", "require_plot", "save_picture"]

_KINDS = (".png", ".svg", ".pdf")


def can_plot() -> bool:
    """Say whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def require_plot(path: Path | None = None) -> None:
    """Refuse what can be refused before any work is done.

    path : of the picture; None: that is for the caller to know.

    Raises
    ------
    MissingExtraError : matplotlib is not installed.
    InputError : the name is not one of a picture.
    StorageError : the folder is not there.
    """
    if not can_plot():
        raise MissingExtraError("drawing a picture", "plot")
    if path is None:
        return
    if path.suffix not in _KINDS:
        raise InputError(f"expected a picture {', '.join(_KINDS)}, got {path}")
    if not path.parent.is_dir():
        raise StorageError(f"cannot write {path}: there is no folder {path.parent}")


def save_picture(figure: Any, path: Path, *, dpi: int) -> None:
    """Write a figure of matplotlib.

    Raises
    ------
    StorageError : the disk refused.
    """
    try:
        figure.savefig(path, dpi=dpi)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot write {path}: {error}") from error
