r"""Choosing ridge's λ in closed form, from the moments alone.

Generalised cross-validation approximates leave-one-out error without a second look at any
sample. With G = V diag(g) Vᵀ and a_i = ‖(Vᵀ Q)_i‖², and ‖Y‖² = N for one-hot labels:

    RSS(λ) = N - 2 Σ a_i / (g_i + λ) + Σ g_i a_i / (g_i + λ)²                         (1)
    df(λ)  = Σ g_i / (g_i + λ)                                                        (2)
    GCV(λ) = N · RSS(λ) / (N - df(λ))²                                                (3)

One O(d³) eigendecomposition, then O(d) a candidate.

Leaving one *frame* out is an honest test only where samples are independent. In a video the
neighbouring frame gives the answer away and (3) chooses λ far too small; there the default,
a strong λ, is the better choice, or one chosen by whole groups (`edge_cl.heads.group_choice`).

References
----------
Golub, Heath, Wahba. Generalized cross-validation as a method for choosing a good ridge
    parameter. Technometrics 21 (1979) 215-223, eq. 1.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_cl.arrays import F64
from edge_cl.blas import one_thread
from edge_cl.errors import InputError
from edge_cl.moments import Moments


@dataclass(frozen=True, slots=True, kw_only=True)
class RidgeChoice:
    """What was chosen, and from what.

    ridge : the λ of least GCV, in squared feature units.
    candidates, gcv : all that were tried, shape (m,), and their (3).
    degrees_of_freedom : (2) of the chosen λ.
    """

    ridge: float
    candidates: F64
    gcv: F64
    degrees_of_freedom: float


def choose_ridge(
    moments: Moments, *, scale: float, mean_square_norm: float, candidates: F64 | None = None
) -> RidgeChoice:
    """Return the λ of least generalised cross-validation error.

    Parameters
    ----------
    scale : grid step of the features.
    mean_square_norm : E‖x‖²; without `candidates`, 41 values from 1e-4 to 1e4 times it.

    Raises
    ------
    InputError : fewer than two samples.
    """
    N = moments.samples
    if N < 2:
        raise InputError(f"expected at least two samples to choose ridge from, got {N}")
    if candidates is None:
        candidates = default_candidates(mean_square_norm)
    with one_thread():
        g, V = np.linalg.eigh(moments.G)
        a = np.square(V.T @ moments.Q.T).sum(axis=1)
    g = np.maximum(g, 0.0)
    shifted = g + candidates[:, None] / scale**2  # (m, d)
    rss = N - 2 * (a / shifted).sum(axis=1) + (g * a / shifted**2).sum(axis=1)  # (1)
    df = (g / shifted).sum(axis=1)  # (2)
    # (3); df < N for every λ > 0, unless the sums were halved: then too weak a λ has no meaning
    left = np.where(df < N, N - df, 1.0)
    gcv = np.where(df < N, N * np.maximum(rss, 0.0) / left**2, np.inf)
    best = int(np.argmin(gcv))
    return RidgeChoice(
        ridge=float(candidates[best]),
        candidates=candidates,
        gcv=gcv,
        degrees_of_freedom=float(df[best]),
    )


def default_candidates(mean_square_norm: float) -> F64:
    """Return 41 values of λ, from 1e-4 to 1e4 times E‖x‖²."""
    return np.asarray(mean_square_norm * np.logspace(-4, 4, 41))
