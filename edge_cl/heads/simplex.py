r"""Ridge on the vertices of a simplex instead of one-hot labels, from the same weights.

The k vertices are as far from each other as k unit vectors can be, and equally far:

    t_c = √(k/(k-1)) (e_c - 1/k),    t_c·t_c = 1,    t_b·t_c = -1/(k-1)               (1)

With T their rows, T = √(k/(k-1)) (I - J/k), J all ones, targets Y T in the place of Y make
ridge's weights (G + λI)⁻¹ Xᵀ Y T = W T, whatever the data: W is that of one-hot labels. A
sample is scored by its products with the vertices, and I - J/k is a projection, so

    s' = x W T Tᵀ = k/(k-1) · s (I - J/k) = k/(k-1) · (s - mean of s)                  (2)

an affine image of the scores s = x W. No class changes its rank, none is answered otherwise:
of what simplex targets are used for (MASIL; stationary representations), a head in closed
form keeps the geometry and gains no accuracy. The spread grows by k/(k-1), and with it the
confidence of the probabilities: twice for two classes, a tenth for eleven.

Those papers fix the vertices of all classes that may ever come. Here k counts the classes
seen: with a new one every vertex moves, and (2) is exact for the new ones, for all samples.

References
----------
Pernici et al. Class-incremental learning with pre-allocated fixed classifiers. ICPR 2020.
Khandelwal. MASIL: Towards maximum separable class representation for few shot class
    incremental learning. arXiv 2304.05362, 2023.
Biondi et al. Stationary representations: Optimally approximating compatibility and
    implications for improved model replacements. CVPR 2024.
"""

from __future__ import annotations

import math

import numpy as np

from edge_cl.arrays import F64, I64


def simplex_vertices(k: int) -> F64:
    """Return the rows t_c of (1), (k, k); for k = 1, where nothing is to be told apart, 0."""
    return math.sqrt(_stretch(k)) * (np.eye(k) - 1.0 / max(k, 1))  # (1)


def simplex_scores(scores: F64, n: I64) -> F64:
    """Return (2) for one-hot `scores` (m, k); -inf where n_c = 0, and such classes are not in k."""
    seen = n > 0
    coded = np.full(scores.shape, -np.inf)
    if seen.any():
        s = scores[:, seen]
        coded[:, seen] = _stretch(s.shape[1]) * (s - s.mean(axis=1, keepdims=True))  # (2)
    return coded


def _stretch(k: int) -> float:
    return k / (k - 1) if k > 1 else 1.0
