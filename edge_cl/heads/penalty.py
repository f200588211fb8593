"""λ of ridge: which values are one, the default, and the least that a factorisation can see."""

from __future__ import annotations

import math

from edge_cl.arrays import F64
from edge_cl.errors import InputError
from edge_cl.moments import scatter_rounding

DEFAULT_RIDGE = 0.3  # in units of the bundle's E‖x‖²; docs/decisions/0004


def checked_ridge(ridge: float | None) -> None:
    """Raise InputError unless `ridge` is a positive number, or None for the default."""
    if ridge is not None and not (math.isfinite(ridge) and ridge > 0.0):
        raise InputError(f"expected ridge to be a positive number, got {ridge}")


def ridge_or_default(ridge: float | None, mean_square_norm: float) -> float:
    """Return λ in squared feature units: the one given, else the default for this E‖x‖²."""
    return DEFAULT_RIDGE * mean_square_norm if ridge is None else ridge


def visible_ridge(ridge: float, G: F64, classes: int = 0) -> float:
    """Return λ, raised to where G + λI can be told from G; both in squared grid steps.

    Below the rounding of a factorisation it cannot, and G may lack rank. `classes` : how many
    terms of the kind Q_c Q_cᵀ / n_c rounding has entered G with.
    """
    return max(ridge, 4 * scatter_rounding(G, classes))
