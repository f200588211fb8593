r"""Ridge regression on one-hot labels, exact after every sample.

The weights are the minimiser of ‖X W - Y‖² + λ‖W‖² over the samples that are in, whatever
their order, whatever was added or taken back in between:

    W = (G + λI)⁻¹ Q                                                                  (1)

With a random-ReLU map in front this is ACIL / G-ACIL (Zhuang et al.) and RanPAC's second
phase (McDonnell et al.). A class never seen before costs one zero column, which is exact,
because every earlier sample had target 0 for it.

The truth is (G, Q). To predict after each sample without solving (1) each time, the inverse
is followed from the last factorisation P₀ by one row a sample, newest last:

    P = P₀ - Aᵀ diag(w) A                                                             (2)
    g = P x,   s = 1 + w·xᵀg          w = +1 to add the sample, -1 to take it back     (3)
    W ← W + w·(g / s)(y - Wᵀx)ᵀ,   next row of A: g / √s                              (4)

(2)-(4) are Sherman and Morrison's formula, unfolded. After `_PENDING` rows they enter P₀ as
one matrix product; after `_AGE` samples P₀ and W are computed anew from (G, Q), so that
rounding has no time to add up. Taking back a sample that nearly alone spans a direction
(s close to 0) would lose digits: then they are computed anew at once. G + λI has all
eigenvalues >= λ, so (1) always has a solution. (Algorithm 1 of G-ACIL prints R₀ = γI for
what must be I/γ; its equation (7), like ours, has it right.)

Everything here is in grid units, x = scale·q: λ becomes λ / scale², scores do not change.
Cost of a sample: half of P₀ read once, O(d m) for the pending rows, O(d k) for W.

References
----------
Sherman, Morrison. Adjustment of an inverse matrix. Ann. Math. Stat. 21 (1950) 124-127.
Zhuang et al. ACIL, NeurIPS 2022; GACL, NeurIPS 2024. McDonnell et al. RanPAC, NeurIPS 2023.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from edge_cl import kernels
from edge_cl.arrays import F64, I16, I64
from edge_cl.blas import one_thread
from edge_cl.errors import InputError
from edge_cl.heads.masked import mask_unseen, simplex_projection
from edge_cl.heads.protocol import Promise, Scorer
from edge_cl.heads.stored import stored
from edge_cl.heads.triangular import inverse_spd
from edge_cl.moments import Moments, scatter_rounding

DEFAULT_RIDGE = 0.3  # in units of the bundle's E‖x‖²; docs/decisions/0004

_PENDING = 64  # rows of A before they enter P₀
_BAND = 128  # rows of P₀ at a time
_AGE = 1 << 16  # samples before P₀ and W are computed anew; docs/decisions/0003
_SMALLEST_PIVOT = 1e-6  # of s in (3), below which digits would be lost


class RidgeOptions(msgspec.Struct, frozen=True, kw_only=True, tag="ridge"):
    """`ridge`: λ in squared feature units, > 0; None stands for 0.3·E‖x‖² of the bundle."""

    ridge: float | None = None

    def __post_init__(self) -> None:
        if self.ridge is not None and not (math.isfinite(self.ridge) and self.ridge > 0.0):
            raise InputError(f"expected ridge to be a positive number, got {self.ridge}")

    @property
    def promise(self) -> Promise:
        """What holds for the head."""
        return Promise()


class Ridge:
    """Ridge regression over `moments`, whose features are q·`scale`.

    Attributes
    ----------
    ridge : λ in use, in squared feature units.
    """

    def __init__(
        self, moments: Moments, options: RidgeOptions, *, scale: float, mean_square_norm: float
    ) -> None:
        self._moments = moments
        self.ridge = DEFAULT_RIDGE * mean_square_norm if options.ridge is None else options.ridge
        self._lambda = self.ridge / scale**2
        d = moments.d
        self._P: F64 | None = None  # (d, d); None until the next update needs it
        self._W: F64 | None = None  # (d, k); None until it is asked for
        self._A: F64 = np.empty((_PENDING, d))
        self._w: F64 = np.empty(_PENDING)
        self._rows = 0
        self._age = 0
        self._g: F64 = np.empty(d)

    @property
    def nbytes(self) -> int:
        """See `Head.nbytes`."""
        return self._A.nbytes + sum(a.nbytes for a in (self._P, self._W) if a is not None)

    def update(self, q: I16, y: I64, sign: int) -> None:
        """See `Head.update`. Many samples at once, or the age limit, leave it to `scores`."""
        d, n = self._moments.d, len(q)
        if not n:
            return
        # After `restore` there is W but no P₀, and the moments have moved on already.
        if self._W is None or self._P is None or self._age + n > _AGE or n > d // 2:
            self.refresh()
            return
        W = self._grown(self._W)
        for x, label in zip(q.astype(np.float64), y.tolist(), strict=True):
            if not self._follow(self._P, W, x, label, float(sign)):
                self.refresh()
                return
        self._W = W
        self._age += n

    def refresh(self) -> None:
        """See `Head.refresh`."""
        self._P = self._W = None
        self._rows = self._age = 0

    def scores(self, q: I16) -> F64:
        """See `Head.scores`. Estimates of P(class | x), not confined to [0, 1]."""
        return mask_unseen(q.astype(np.float64) @ self._weights(), self._moments.n)

    def probabilities(self, scores: F64, q: I16) -> F64:
        """See `Head.probabilities`. The distribution nearest to the scores."""
        return simplex_projection(scores)

    def frozen(self) -> Scorer:
        """See `Head.frozen`."""
        W, n = self._weights().copy(), self._moments.n.copy()
        return lambda q: mask_unseen(q.astype(np.float64) @ W, n)

    def tensors(self) -> dict[str, F64]:
        """See `Head.tensors`."""
        return {"W": self._weights()}

    def restore(self, tensors: dict[str, F64]) -> None:
        """See `Head.restore`."""
        tensors = stored(tensors, {"W": (self._moments.d, self._moments.k)})
        self.refresh()
        self._W = tensors["W"]

    def _weights(self) -> F64:
        if self._W is None:
            self._P = self._inverse()
            with one_thread():
                self._W = self._P @ self._moments.Q.T  # (1)
        elif self._W.shape[1] < self._moments.k:
            self._W = self._grown(self._W)
        return self._W

    def _inverse(self) -> F64:
        d = self._moments.d
        if not self._moments.samples:
            return np.eye(d) / self._lambda
        A = self._moments.G.copy()
        # A λ below the rounding of a factorisation cannot be told from 0: it is raised to that
        smallest = 4 * scatter_rounding(A, 0)
        A.flat[:: d + 1] += max(self._lambda, smallest)
        return inverse_spd(A)

    def _grown(self, W: F64) -> F64:
        new = self._moments.k - W.shape[1]
        return np.concatenate([W, np.zeros((len(W), new))], axis=1) if new else W

    def _follow(self, P: F64, W: F64, x: F64, label: int, sign: float) -> bool:
        """Apply (3) and (4) to one sample; False where digits would be lost."""
        g, row = self._g, self._rows
        s = 1.0 + sign * kernels.corrected_product(P, self._A, self._w, row, x, g)  # (3)
        if not _SMALLEST_PIVOT < s < math.inf:
            return False
        r = -(x @ W)
        r[label] += 1.0
        kernels.add_outer(g, r, sign / s, W)  # (4)
        np.multiply(g, 1.0 / math.sqrt(s), out=self._A[row])
        self._w[row] = sign
        self._rows += 1
        if self._rows == _PENDING:
            with one_thread():
                for start in range(0, len(P), _BAND):  # a whole product would hold d² more
                    rows = slice(start, start + _BAND)
                    P[rows] -= (self._A[:, rows].T * self._w) @ self._A  # (2)
            self._rows = 0
        return True
