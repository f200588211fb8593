r"""Nearest class mean, Euclidean or cosine.

With the class means μ_c = Q_c / n_c:

    euclidean   s_c(x) = xᵀμ_c - ‖μ_c‖² / 2        largest where ‖x - μ_c‖ is smallest     (1)
    cosine      s_c(x) = xᵀμ_c / (‖x‖ ‖μ_c‖)                                               (2)

(1) is the Bayes rule for Gaussians of one spherical covariance σ²I; σ² is the mean square
distance to the class mean, divided by d. Cost: O(d) to learn a sample, O(d k) to predict.

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

COSINE_SHARPNESS = 20.0  # cosines of one encoder differ by tenths; softmax wants units


class NearestMeanOptions(msgspec.Struct, frozen=True, kw_only=True, tag="ncm"):
    """Which distance."""

    metric: Literal["cosine", "euclidean"] = "cosine"

    def __post_init__(self) -> None:
        if self.metric not in ("cosine", "euclidean"):
            raise InputError(f"expected the metric cosine or euclidean, got {self.metric!r}")

    @property
    def promise(self) -> Promise:
        """What holds for the head."""
        return Promise()


class NearestMean:
    """Nearest class mean over `moments`."""

    def __init__(self, moments: Moments, options: NearestMeanOptions) -> None:
        self._moments = moments
        self._cosine = options.metric == "cosine"
        self._W: F64 = np.zeros((0, moments.d))
        self._bias: F64 = np.zeros(0)
        self.refresh()

    @property
    def nbytes(self) -> int:
        """See `Head.nbytes`."""
        return self._W.nbytes + self._bias.nbytes

    def update(self, q: I16, y: I64, sign: int) -> None:
        """See `Head.update`. Only the rows of the classes in `y` are computed again."""
        k = self._moments.k
        if k > len(self._W):
            self._W = np.concatenate([self._W, np.zeros((k - len(self._W), self._moments.d))])
            self._bias = np.concatenate([self._bias, np.zeros(k - len(self._bias))])
        self._solve(np.unique(y))

    def refresh(self) -> None:
        """See `Head.refresh`."""
        k = self._moments.k
        self._W, self._bias = np.zeros((k, self._moments.d)), np.zeros(k)
        self._solve(np.arange(k))

    def scores(self, q: I16) -> F64:
        """See `Head.scores`. Euclidean scores are in squared grid units, cosines in [-1, 1]."""
        return _scores(q, self._W, None if self._cosine else self._bias, self._moments.n)

    def probabilities(self, scores: F64, q: I16) -> F64:
        """See `Head.probabilities`. The Gaussian posterior of (1), or a softmax of cosines."""
        return softmax(scores * (COSINE_SHARPNESS if self._cosine else 1 / self._variance()))

    def frozen(self) -> Scorer:
        """See `Head.frozen`."""
        W, n = self._W.copy(), self._moments.n.copy()
        bias = None if self._cosine else self._bias.copy()
        return lambda q: _scores(q, W, bias, n)

    def tensors(self) -> dict[str, F64]:
        """See `Head.tensors`. Nothing: the means are a function of the moments, bit for bit."""
        return {}

    def restore(self, tensors: dict[str, F64]) -> None:
        """See `Head.restore`."""
        stored(tensors, {})
        self.refresh()

    def _solve(self, classes: I64) -> None:
        n = np.maximum(self._moments.n[classes], 1)
        mean = self._moments.Q[classes] / n[:, None]
        square = np.einsum("ij,ij->i", mean, mean)
        if self._cosine:
            mean /= np.sqrt(np.where(square > 0, square, 1.0))[:, None]
        self._W[classes] = mean
        self._bias[classes] = square / 2

    def _variance(self) -> float:
        m = self._moments
        n = m.n[m.n > 0]
        within = m.G.trace() - float((m.Q[m.n > 0] ** 2 / n[:, None]).sum())
        degrees = (m.samples - len(n)) * m.d
        return max(within / degrees, 1.0) if degrees > 0 else 1.0


def _scores(q: I16, W: F64, bias: F64 | None, n: I64) -> F64:
    """Return (1), or (2) where there is no bias."""
    x = q.astype(np.float64)
    s = x @ W.T
    if bias is None:
        norm = np.sqrt(np.einsum("ij,ij->i", x, x))
        s /= np.where(norm > 0, norm, 1.0)[:, None]  # (2)
    else:
        s -= bias  # (1)
    return mask_unseen(s, n)
