"""Checking what a head gets back from disk."""

from __future__ import annotations

import numpy as np

from edge_cl.arrays import F64
from edge_cl.errors import StateError

_LARGEST = 1e100  # whatever is computed from it is still a number


def stored(tensors: dict[str, F64], shapes: dict[str, tuple[int, ...]]) -> dict[str, F64]:
    """Return `tensors` if they are exactly the finite float64 arrays that `shapes` names.

    Raises
    ------
    StateError : a tensor is missing, unknown, or of another shape, dtype or value.
    """
    if set(tensors) != set(shapes):
        raise StateError(f"expected the head's tensors {sorted(shapes)}, got {sorted(tensors)}")
    for name, shape in shapes.items():
        a = tensors[name]
        if a.shape != shape or a.dtype != np.float64 or not (np.abs(a) <= _LARGEST).all():
            raise StateError(f"the head's {name} is not a finite float64 array of shape {shape}")
    return tensors
