"""What comes out of a ready network file: which axes are pooled, and how wide embeddings are.

The rules are those of `embedding.Embedding`, for maps of either layout.
"""

from __future__ import annotations

import math
from typing import get_args

from edge_cl.errors import ExportError, InputError
from edge_cl_export.graph.embedding import Pool

__all__ = ["check_pool", "embedding_width", "pooled_axes"]


def check_pool(pool: str) -> None:
    """Do nothing if a pooling is called `pool`, else raise InputError."""
    if pool not in get_args(Pool):
        raise InputError(f"no pooling is called {pool!r}", hint=", ".join(get_args(Pool)))


def pooled_axes(shape: tuple[int, ...], pool: Pool, planes: bool, where: str) -> tuple[int, ...]:
    """Return the axes of features of `shape` that `pool` takes away, none for (n, d).

    Parameters
    ----------
    planes : whether maps are (n, c, h, w), else (n, h, w, c).

    Raises
    ------
    ExportError : features that this pooling does not fit.
    """
    if len(shape) not in (2, 3, 4):
        raise ExportError(
            f"{where} gives shape {shape}, expected (n, d), (n, t, c) or a feature map",
            hint="take another tensor by --layer NAME",
        )
    if pool == "none":
        return tuple(range(2, len(shape)))
    if len(shape) == 2:
        if pool != "mean":
            raise ExportError(
                f"{where} gives shape {shape}, there is nothing to pool by {pool!r}",
                hint="--pool none, or an earlier tensor by --layer NAME",
            )
        return ()
    if pool == "token" and len(shape) == 4:
        raise ExportError(
            f"{where} gives a feature map {shape}, which has no tokens",
            hint="--pool mean or --pool max",
        )
    if len(shape) == 3:
        return (1,)
    return (2, 3) if planes else (1, 2)


def embedding_width(shape: tuple[int, ...], pool: Pool, axes: tuple[int, ...]) -> int:
    """Return how many features are left of `shape` when `axes` are pooled, or put side by side."""
    if pool == "none":
        return math.prod(shape[1:])
    return next(side for axis, side in enumerate(shape) if axis and axis not in axes)
