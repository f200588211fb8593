"""What comes out of a ready network file: which axes are pooled, and how wide embeddings are.

The rules are those of `embedding.Embedding`, for maps of either layout.
"""

from __future__ import annotations

import math

from edge_cl.errors import ExportError
from edge_cl_export.graph.preparation import Pool

__all__ = ["embedding_width", "pooled_axes"]


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
