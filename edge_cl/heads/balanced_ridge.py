r"""Ridge regression in which every class counts alike, however many samples it has.

Of C classes seen, class c with n_c of N samples, weighs w_c a sample:

    w_c = N / (C n_c),    Σ_c w_c n_c = N                                               (1)
    W = (Σ_c w_c G_c + λI)⁻¹ Q diag(w)                                                  (2)

(2) minimises Σ_i w_{y_i} ‖Wᵀx_i - y_i‖² + λ‖W‖². `air` is (2) from the scatter G_c of each
class. `shared` gives all classes the covariance S / N of all, S = G - Σ_c Q_c Q_cᵀ / n_c, and
needs no more than the moments have:

    G_c ≈ Q_c Q_cᵀ / n_c + (n_c / N) S,   Σ_c w_c G_c ≈ G + Σ_c (w_c - 1) Q_c Q_cᵀ / n_c  (3)

It is exact where the classes have the same covariance. The means enter as they are.

AEF-OCL fills every class up to n⁺ = max n_c with pseudo-samples of a Gaussian with the class's
mean m_c and its variances v_c, unbiased, 0 where n_c = 1. In expectation, and drawn:

    aef           A = G + Σ_c (n⁺ - n_c)(m_c m_cᵀ + diag v_c)                           (4)
    aef-sampled   A = G + Σ_c Σ_j z_cj z_cjᵀ,  z_cj = m_c + √v_c ∘ ε_cj,  j <= n⁺ - n_c  (5)
    both          W = (A + λI)⁻¹ (Q + the sums of the pseudo-samples)                   (6)

(4) is what (5) tends to as draws are averaged; it needs no draws, and O(k d²) instead of
O(k n⁺ d²). The pseudo-samples never enter the moments.

On balanced data all four are ridge's W. Where this differs:

- AIR prints w_c = C (1/n_c) / Σ_j (1/n_j): (1) times the harmonic mean of the n_c over their
  arithmetic mean, so a λ of the paper is λ times the arithmetic over the harmonic mean here.
  Its code counts classes never seen into C; here they do not exist.
- AEF-OCL draws features of the backbone and sends them through its random buffer. Here they
  are drawn after the map, from the moments that are there: the same where the map is the
  identity. Its code asserts that variances are >= 0, which rounding breaks; here they are
  differences of exact integers, clamped at 0.

Solved when asked, O(d³), like LDA.

References
----------
Fang et al. AIR: Analytic imbalance rectifier for continual learning. arXiv 2408.10349, 2024.
Zhuang et al. Online analytic exemplar-free continual learning with large models for
    imbalanced autonomous driving task. IEEE Trans. Vehicular Technology, 2024.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from edge_cl.arrays import F64, I16, I64
from edge_cl.blas import add_outer_products, one_thread
from edge_cl.errors import InputError
from edge_cl.heads.masked import mask_unseen, simplex_projection
from edge_cl.heads.penalty import checked_ridge, ridge_or_default, visible_ridge
from edge_cl.heads.protocol import Promise, Scorer
from edge_cl.heads.stored import stored
from edge_cl.heads.triangular import inverse_spd
from edge_cl.moments import Moments

_DRAWS = 1024  # pseudo-samples at a time
_STATISTICS: dict[str, tuple[str, ...]] = {
    "air": ("scatter",),
    "shared": (),
    "aef": ("squares",),
    "aef-sampled": ("squares",),
}


class BalancedRidgeOptions(msgspec.Struct, frozen=True, kw_only=True, tag="ridge-balanced"):
    """How classes are made to count alike.

    method : "air" (2), "shared" (3), "aef" (4), or "aef-sampled" (5).
    ridge : λ in squared feature units, > 0; None stands for that of `RidgeOptions`.
    seed : of the draws of "aef-sampled".
    """

    method: Literal["air", "shared", "aef", "aef-sampled"] = "shared"
    ridge: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in _STATISTICS:
            raise InputError(
                f"unknown method {self.method!r}", hint=f"one of: {', '.join(_STATISTICS)}"
            )
        checked_ridge(self.ridge)
        if not 0 <= self.seed < 1 << 64:
            raise InputError(f"expected a seed in 0..2^64-1, got {self.seed}")

    @property
    def promise(self) -> Promise:
        """What holds for the head."""
        return Promise(statistics=_STATISTICS[self.method])

    def build(self, moments: Moments, *, scale: float, mean_square_norm: float) -> BalancedRidge:
        """Return the head with these options."""
        return BalancedRidge(moments, self, scale=scale, mean_square_norm=mean_square_norm)


class BalancedRidge:
    """Ridge over `moments` with classes weighed alike; features are q·`scale`."""

    def __init__(
        self,
        moments: Moments,
        options: BalancedRidgeOptions,
        *,
        scale: float,
        mean_square_norm: float,
    ) -> None:
        self._moments = moments
        self._options = options
        self._lambda = ridge_or_default(options.ridge, mean_square_norm) / scale**2
        self._W: F64 | None = None  # (d, k); None until it is asked for

    @property
    def nbytes(self) -> int:
        """See `Head.nbytes`."""
        return self._W.nbytes if self._W is not None else 0

    def update(self, q: I16, y: I64, sign: int) -> None:
        """See `Head.update`. O(1): the weights are solved when they are needed."""
        self._W = None

    def refresh(self) -> None:
        """See `Head.refresh`."""
        self._W = None

    def scores(self, q: I16) -> F64:
        """See `Head.scores`. Estimates of P(class | x) were all classes equally frequent."""
        return self.frozen()(q)

    def frozen(self) -> Scorer:
        """See `Head.frozen`."""
        W, n = self._weights(), self._moments.n.copy()
        return lambda q: mask_unseen(q.astype(np.float64) @ W, n)

    def probabilities(self, scores: F64, q: I16) -> F64:
        """See `Head.probabilities`. The distribution nearest to the scores."""
        return simplex_projection(scores)

    def tensors(self) -> dict[str, F64]:
        """See `Head.tensors`."""
        return {"W": self._weights()}

    def restore(self, tensors: dict[str, F64]) -> None:
        """See `Head.restore`."""
        self._W = stored(tensors, {"W": (self._moments.d, self._moments.k)})["W"]

    def _weights(self) -> F64:
        if self._W is None or self._W.shape[1] < self._moments.k:
            self._W = self._solve()
        return self._W

    def _solve(self) -> F64:
        m = self._moments
        if not m.samples:
            return np.zeros((m.d, m.k))
        with one_thread():
            if self._options.method in ("air", "shared"):
                A, targets = self._weighed()
            else:
                A, targets = self._filled()
            A.flat[:: m.d + 1] += visible_ridge(self._lambda, A, m.k)
            return np.asarray(inverse_spd(A) @ targets.T)  # (2), (6)

    def _weighed(self) -> tuple[F64, F64]:
        """Return Σ_c w_c G_c, by (2) or (3), and the rows w_c Q_c."""
        m = self._moments
        seen = np.flatnonzero(m.n)
        w = np.zeros(m.k)
        w[seen] = m.samples / (len(seen) * m.n[seen])  # (1)
        if self._options.method == "shared":
            scaled = np.sqrt(np.abs(w - 1) / np.maximum(m.n, 1))[:, None] * m.Q
            A = m.G.copy()
            for sign in (+1, -1):
                add_outer_products(A, scaled[np.sign(w - 1) == sign], sign)  # (3)
            return A, w[:, None] * m.Q
        A = np.zeros((m.d, m.d))
        for c in seen.tolist():
            A += w[c] * m.statistics["scatter"].of_class(c)  # (2)
        return A, w[:, None] * m.Q

    def _filled(self) -> tuple[F64, F64]:
        """Return G and the rows Q_c, with pseudo-samples by (4) or (5)."""
        m = self._moments
        n = np.maximum(m.n, 1)[:, None]
        means = m.Q / n
        squares = m.statistics["squares"].sums
        variances = np.maximum(squares / n - means**2, 0.0) * (n / np.maximum(n - 1, 1))
        missing = np.where(m.n > 0, m.n.max() - m.n, 0)
        if self._options.method == "aef":
            A, targets = m.G.copy(), m.Q + missing[:, None] * means
            add_outer_products(A, np.sqrt(missing)[:, None] * means)  # (4)
            A.flat[:: m.d + 1] += missing @ variances
            return A, targets
        A, targets = m.G.copy(), m.Q.copy()
        for c in np.flatnonzero(missing).tolist():
            # a stream a class: what one class draws moves no other
            key = np.array([self._options.seed, c], np.uint64)
            normal, left = np.random.Generator(np.random.Philox(key=key)), int(missing[c])
            while left:
                eps = normal.standard_normal((min(left, _DRAWS), m.d))
                z = means[c] + np.sqrt(variances[c]) * eps  # (5)
                add_outer_products(A, z)
                targets[c] += z.sum(axis=0)
                left -= len(z)
        return A, targets
