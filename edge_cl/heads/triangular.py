"""Inverting a positive definite matrix at the speed of matrix products.

NumPy has a Cholesky factorisation but no triangular inverse; by halves it is four products.
"""

from __future__ import annotations

import numpy as np

from edge_cl.arrays import F64
from edge_cl.blas import one_thread

_SMALL = 64


def inverse_spd(A: F64) -> F64:
    """Return A⁻¹ for a symmetric positive definite A, exactly symmetric. d³ operations.

    Raises
    ------
    numpy.linalg.LinAlgError : A is not positive definite.
    """
    with one_thread():
        L = np.asarray(np.linalg.cholesky(A), np.float64)
        del A  # where the caller let go of it, its memory serves the product
        invert_lower(L)
        return np.asarray(L.T @ L)  # BLAS syrk: the same bits on both sides of the diagonal


def invert_lower(L: F64) -> None:
    """Replace a lower triangular L by L⁻¹: [[A, 0], [B, C]]⁻¹ = [[A⁻¹, 0], [-C⁻¹ B A⁻¹, C⁻¹]]."""
    d = len(L)
    if d <= _SMALL:
        L[:] = np.tril(np.linalg.inv(L))
        return
    h = d // 2
    invert_lower(L[:h, :h])
    invert_lower(L[h:, h:])
    L[h:, :h] = -L[h:, h:] @ (L[h:, :h] @ L[:h, :h])
