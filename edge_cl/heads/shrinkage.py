r"""How much of a covariance is kept, from its sums alone.

S is a scatter of d features about their centre, μ = tr(S)/d. Both rules have the form
Σ ← (1 - ρ) Σ + ρ tr(Σ)/d I, and ρ does not depend on the unit of S.

Chen's oracle-approximating shrinkage, f degrees of freedom, as scikit-learn has it (it drops
the -2/d of eq. 23):

    ρ = min(1, (a + μ²) / ((f + 1)(a - μ²/d))),  a = ‖S‖²_F / d²                       (1)

Ledoit and Wolf's, over N centred samples z_i, again as scikit-learn has it; it needs how far
their norms spread, F = Σ_i ‖z_i‖⁴:

    ρ = min(1, (N F - ‖S‖²_F) / (N (‖S‖²_F - d μ²)))                                   (2)

Of samples q about their mean m, nothing but sums is needed, however far the mean has moved
since a sample was learned (Q, G, and `norms` of `edge_cl.statistics`):

    F = Σ ‖q‖⁴ - 4 m·Σ‖q‖²q + 4 mᵀGm + 2 ‖m‖² tr G - 3 N ‖m‖⁴                          (3)

About class means (3) holds within each class, and asks for its own G: k d² numbers. That is
not offered.

References
----------
Chen et al. Shrinkage algorithms for MMSE covariance estimation. IEEE TSP 58 (2010), eq. 23.
Ledoit, Wolf. A well-conditioned estimator for large-dimensional covariance matrices.
    J. Multivariate Analysis 88 (2004) 365-411.
"""

from __future__ import annotations

import numpy as np

from edge_cl.arrays import F64
from edge_cl.blas import one_thread
from edge_cl.moments import Moments


def oas_shrinkage(S: F64, f: int) -> float:
    """Return ρ (1) for a scatter S (d, d) with f degrees of freedom."""
    d = len(S)
    mu = S.trace() / d
    a = _square(S) / d**2
    spread = (f + 1.0) * (a - mu * mu / d)
    return 1.0 if spread <= 0.0 else min(1.0, (a + mu * mu) / spread)  # (1)


def ledoit_wolf_shrinkage(S: F64, n: int, fourth: float) -> float:
    """Return ρ (2) for a scatter S (d, d) of n samples, the sum of ‖z‖⁴ given."""
    square = _square(S)
    spread = n * (square - S.trace() ** 2 / len(S))
    noise = n * fourth - square
    return 1.0 if spread <= 0.0 else min(1.0, max(0.0, noise / spread))  # (2)


def fourth_about_the_mean(moments: Moments) -> float:
    """Return F (3) over all samples; `moments` keep the statistic `norms`.

    The sums are exact, their difference rounds: to about 1e-16 times (‖m‖² / E‖z‖²)².
    """
    norms, N = moments.statistics["norms"], moments.samples
    m = moments.Q.sum(axis=0) / N
    b = float(m @ m)
    quadratic, squares = float(m @ (moments.G @ m)), float(moments.G.trace())
    about_origin = float(norms.fourth) - 4.0 * float(m @ norms.cubic)
    return about_origin + 4.0 * quadratic + 2.0 * b * squares - 3.0 * N * b * b  # (3)


def _square(S: F64) -> float:
    with one_thread():
        return float(np.vdot(S, S))
