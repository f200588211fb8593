"""Bundles without a network: sensor vectors, or features that were computed elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from edge_cl import arrays
from edge_cl.bundle import Bundle, EmbeddingSpec, InputSpec, Manifest, pack_bundle, read_bundle
from edge_cl.errors import InputError
from edge_cl.features import grid_step


def features_bundle(
    sample: ArrayLike, *, name: str = "features", description: str = "", licence: str = "none"
) -> Bundle:
    """Return a bundle whose inputs are vectors (d,), with a grid that fits `sample`.

    Parameters
    ----------
    sample : (n, d), n >= 1: typical vectors, from which the grid step and E‖x‖² are taken.
        Features of very different ranges should be standardised first: they share one grid.

    Raises
    ------
    InputError : not finite numbers of shape (n, d), or all zero.
    """
    a = arrays.as_array(sample, "sample vectors")
    if a.ndim != 2 or 0 in a.shape:
        raise InputError(f"expected sample vectors of shape (n, d), got {a.shape}")
    x = arrays.features(a, a.shape[1])
    if not x.any():
        raise InputError("expected sample vectors that are not all zero")
    d = x.shape[1]
    manifest = Manifest(
        name=name,
        version="1",
        description=description or f"vectors of {d} ready-made features",
        licence=licence,
        source="edge_cl.features_bundle",
        input=InputSpec(kind="vector", shape=(d,), dtype="float32", layout="D"),
        embedding=EmbeddingSpec(
            d=d,
            scale=grid_step(float(np.abs(x).max())),
            signed=bool((x < 0).any()),
            mean_square_norm=float(np.square(x, dtype=np.float64).sum(axis=1).mean()),
        ),
        encoders=(),
        tools={},
        created="",
    )
    return read_bundle(pack_bundle(manifest, {}))
