r"""Nearest class mean: Euclidean, cosine, centred cosine.

With the class means μ_c = Q_c / n_c and the mean m of all N samples, whatever their class:

    euclidean        s_c(x) = xᵀμ_c - ‖μ_c‖² / 2     largest where ‖x - μ_c‖ is smallest   (1)
    cosine           s_c(x) = xᵀμ_c / (‖x‖ ‖μ_c‖)                                          (2)
    centred-cosine   s_c(x) = (x - m)ᵀ(μ_c - m) / (‖x - m‖ ‖μ_c - m‖)                      (3)

(1) is the Bayes rule for Gaussians of one spherical covariance σ²I; σ² is the mean square
distance to the class mean, divided by d. (3) takes away what all pictures have in common,
which rectified features have much of. The literature centres with the mean of a first
session, for ever; m here is that of all samples held, so that the order does not matter and
a sample can be taken back. Every centred mean moves with every sample, so they are computed
for the first prediction after learning, from integers without rounding (below 2⁵³):

    x - m ∝ N x - Σ_c Q_c,     μ_c - m ∝ N Q_c - n_c Σ_c Q_c                               (4)

What equals m has no direction: its cosines are 0. Cost: O(d) to learn a sample, O(d k) to
predict. Everything is a function of exact sums: the same bits for any order and any split.

Published variants disagree: Janson et al. average unit vectors and do not normalise the
mean, which favours tight classes; Avalanche normalises x but not the mean. Both are other
rules than (2); the first is (1) behind the map `l2`.

References
----------
Janson et al. A simple baseline that questions the use of pretrained-models in continual
    learning. arXiv 2210.04428, 2022.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from edge_cl.arrays import F64, I16, I64
from edge_cl.errors import InputError
from edge_cl.heads.masked import mask_unseen, softmax
from edge_cl.heads.protocol import Promise, Scorer
from edge_cl.heads.stored import stored
from edge_cl.moments import Moments

# Cosines of one encoder differ by tenths, centred ones by more; softmax wants units
_SHARPNESS = {"cosine": 40.0, "centred-cosine": 15.0}


class NearestMeanOptions(msgspec.Struct, frozen=True, kw_only=True, tag="ncm"):
    """Which distance: (1), (2) or (3)."""

    metric: Literal["cosine", "euclidean", "centred-cosine"] = "cosine"

    def __post_init__(self) -> None:
        if self.metric not in ("cosine", "euclidean", "centred-cosine"):
            raise InputError(
                f"expected the metric cosine, euclidean or centred-cosine, got {self.metric!r}"
            )

    @property
    def promise(self) -> Promise:
        """What holds for the head."""
        return Promise()

    def build(self, moments: Moments, *, scale: float, mean_square_norm: float) -> NearestMean:
        """Return the head with these options."""
        return NearestMean(moments, self)


class NearestMean:
    """Nearest class mean over `moments`."""

    def __init__(self, moments: Moments, options: NearestMeanOptions) -> None:
        self._moments = moments
        self._metric = options.metric
        self._W: F64 = np.zeros((0, moments.d))  # means; of the cosines, unit vectors
        self._bias: F64 = np.zeros(0)
        self._total: F64 = np.zeros(moments.d)  # (3) only, as the next two
        self._N = 0
        self._stale = False
        self.refresh()

    @property
    def nbytes(self) -> int:
        """See `Head.nbytes`."""
        return self._W.nbytes + self._bias.nbytes + self._total.nbytes

    def update(self, q: I16, y: I64, sign: int) -> None:
        """See `Head.update`. Only the rows of the classes in `y` are computed again."""
        if self._metric == "centred-cosine":
            self._stale = True
        else:
            self._grow()
            self._solve(np.unique(y))

    def refresh(self) -> None:
        """See `Head.refresh`."""
        k = self._moments.k
        self._W, self._bias = np.zeros((k, self._moments.d)), np.zeros(k)
        if self._metric == "centred-cosine":
            self._stale = True
        else:
            self._solve(np.arange(k))

    def scores(self, q: I16) -> F64:
        """See `Head.scores`. Euclidean scores are in squared grid units, cosines in [-1, 1]."""
        self._follow()
        return self._rule(self._W, self._bias)(q)

    def probabilities(self, scores: F64, q: I16) -> F64:
        """See `Head.probabilities`. The Gaussian posterior of (1), or a softmax of cosines."""
        return softmax(scores * (_SHARPNESS.get(self._metric) or 1 / self._variance()))

    def frozen(self) -> Scorer:
        """See `Head.frozen`."""
        self._follow()
        return self._rule(self._W.copy(), self._bias.copy())

    def tensors(self) -> dict[str, F64]:
        """See `Head.tensors`. Nothing: the means are a function of the moments, bit for bit."""
        return {}

    def restore(self, tensors: dict[str, F64]) -> None:
        """See `Head.restore`."""
        stored(tensors, {})
        self.refresh()

    def _grow(self) -> None:
        new = self._moments.k - len(self._W)
        if new:
            self._W = np.pad(self._W, ((0, new), (0, 0)))
            self._bias = np.pad(self._bias, (0, new))

    def _follow(self) -> None:
        self._grow()
        if self._stale:
            m = self._moments
            self._N, self._total = m.samples, m.Q.sum(axis=0)
            self._W = _unit(self._N * m.Q - m.n[:, None] * self._total)  # (4)
            self._stale = False

    def _solve(self, classes: I64) -> None:
        n = np.maximum(self._moments.n[classes], 1)
        mean = self._moments.Q[classes] / n[:, None]
        self._W[classes] = _unit(mean) if self._metric == "cosine" else mean
        self._bias[classes] = np.einsum("ij,ij->i", mean, mean) / 2

    def _rule(self, W: F64, bias: F64) -> Scorer:
        n = self._moments.n.copy()
        if self._metric == "euclidean":
            return lambda q: mask_unseen(q.astype(np.float64) @ W.T - bias, n)  # (1)
        if self._metric == "cosine":
            return lambda q: mask_unseen(_unit(q.astype(np.float64)) @ W.T, n)  # (2)
        N, total = self._N, self._total
        return lambda q: mask_unseen(_unit(N * q.astype(np.float64) - total) @ W.T, n)  # (3)

    def _variance(self) -> float:
        m = self._moments
        n = m.n[m.n > 0]
        within = m.G.trace() - float((m.Q[m.n > 0] ** 2 / n[:, None]).sum())
        degrees = (m.samples - len(n)) * m.d
        return max(within / degrees, 1.0) if degrees > 0 else 1.0


def _unit(x: F64) -> F64:
    """Return the rows of x at length 1; what is 0 stays 0."""
    norm = np.sqrt(np.einsum("ij,ij->i", x, x))
    return np.asarray(x / np.where(norm > 0, norm, 1.0)[:, None])
