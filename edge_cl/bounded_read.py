"""Reading a file that comes from elsewhere: a regular one, and no larger than it can rightly be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edge_cl.errors import EdgeCLError

__all__ = ["read_bounded"]


def read_bounded(path: Path, most: int, *, error: type[EdgeCLError], hint: str = "") -> bytes:
    """Return the bytes of a file of at most `most` bytes.

    Raises
    ------
    error : it is not there, larger, or no file; a pipe would wait, and a device never end.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise error(f"cannot read {path}: not a file")
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > most:
                raise error(f"{path} has {size} bytes, at most {most} may be")
            return stream.read(size)
    except OSError as problem:
        if isinstance(problem, EdgeCLError):
            raise
        raise error(f"cannot read {path}: {problem.strerror or problem}", hint=hint) from problem
