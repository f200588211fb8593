"""Fewer features: the principal axes of calibration features, as one affine map.

For features X (n, d) with mean μ, and the singular value decomposition of what is left

    X - μ = U diag(s) Vᵀ,     s₁ ≥ s₂ ≥ …                                             (1)

the first k rows W of Vᵀ keep the most variance that k features can, sᵢ² / Σ sⱼ² each;

    y = W (x - μ) = W x + b,     b = -W μ                                              (2)

is one linear layer behind the pooling. Nothing is whitened: y keeps the distances of x as far
as k axes can, and all of them where k = d. The map stays in float: it is k·d weights, and a
head learns on what comes out of it. An axis has no sign of its own; each is turned so that its
largest weight is positive, as scikit-learn does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_cl.arrays import F32, F64
from edge_cl.errors import InputError

__all__ = ["Projection", "fit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """weight (k, d) float64, orthonormal rows; mean (d,); explained (k,), shares of variance."""

    weight: F64
    mean: F64
    explained: F64

    @property
    def bias(self) -> F64:
        """The constant b of equation (2), (k,)."""
        b: F64 = -self.weight @ self.mean  # (2)
        return b


def fit(features: F32, dims: int) -> Projection:
    """Return the projection of `features` (n, d) onto their first `dims` principal axes.

    Raises
    ------
    InputError : `dims` is not in 1..min(n - 1, d), or all features are the same.
    """
    n, d = features.shape
    most = min(n - 1, d)
    if not 1 <= dims <= most:
        hint = "calibrate on more pictures" if dims <= d else f"the network has {d} features"
        raise InputError(f"expected 1 to {max(most, 0)} dimensions, got {dims}", hint=hint)
    x = features.astype(np.float64)
    mean: F64 = x.mean(axis=0)
    _, s, axes = np.linalg.svd(x - mean, full_matrices=False)  # (1)
    total = float((s**2).sum())
    if not total > 0.0:
        raise InputError(f"all {n} calibration pictures have the same features")
    weight: F64 = axes[:dims]
    largest = np.abs(weight).argmax(axis=1)
    weight = weight * np.sign(weight[np.arange(dims), largest])[:, None]
    return Projection(weight=weight, mean=mean, explained=s[:dims] ** 2 / total)
