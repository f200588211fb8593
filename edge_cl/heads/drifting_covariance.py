r"""The covariance of weights that drift: transitions that touch no matrix.

In units of the noise, with 1/λ the variance of a weight before any sample:

    P ← γ²P + (1 - γ²) I/λ                        a transition                          (1)
    P ← P - g gᵀ/s,   g = P x,   s = 1 + xᵀg      a sample                              (2)

P is held as

    P = a(B - RᵀR) + cI                                                                 (3)

where (1) changes a and c, and (2) appends the row g/√(s a) to R. At the last row, or where a
has become small, all of it enters B. The symmetric product P x reads half of B once.

P never falls below a bound that needs one number: f ← γ²f + (1 - γ²)/λ, 1/f ← 1/f + xᵀx,
hence xᵀPx >= f xᵀx (4). Where rounding has broken this, which takes xᵀx/λ beyond 1e12 or so,
the eigenvalues of P are put back between f and 1/λ, in O(d³), and `repairs` counts it.
"""

from __future__ import annotations

import math

import numpy as np

from edge_cl import kernels
from edge_cl.arrays import F64
from edge_cl.blas import add_outer_products, one_thread
from edge_cl.errors import StateError
from edge_cl.heads.stored import stored

_PENDING = 64  # rows of R before they enter B
_SMALLEST = 2.0**-40  # of a in (3)


class DriftingCovariance:
    """P, from I/λ on.

    Parameters
    ----------
    d : features.
    prior : 1/λ.

    Attributes
    ----------
    repairs : times that rounding had broken (4).
    """

    def __init__(self, d: int, prior: float) -> None:
        self.d = d
        self.prior = prior
        self.repairs = 0
        self._B: F64 = np.zeros((d, d))
        self._R: F64 = np.zeros((_PENDING, d))
        self._rows = 0
        self._a, self._c = 1.0, prior
        self._floor = prior  # f of (4)
        self._ones: F64 = np.ones(_PENDING)

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self._B.nbytes + self._R.nbytes

    def dense(self) -> F64:
        """Return P, (d, d)."""
        with one_thread():
            P = self._a * (self._B - self._R[: self._rows].T @ self._R[: self._rows])
        P.flat[:: self.d + 1] += self._c
        return P

    def anchor(self, P: F64, floor: float) -> None:
        """Start from P, which is kept, with no eigenvalue below `floor`."""
        self._B, self._floor = P, floor
        self._rows, self._a, self._c = 0, 1.0, 0.0

    def product(self, x: F64, square: float, g: F64) -> float:
        """Set g = P x; return xᵀP x. `square` is xᵀx. Repairs P where (4) does not hold."""
        v = self._product(x, square, g)
        if v < self._floor * square / 2:  # (4)
            self._repair()
            v = self._product(x, square, g)
        return v

    def quadratic(self, X: F64) -> F64:
        """Return xᵀP x, (n,), at the rows of X (n, d)."""
        square, g = np.einsum("nd,nd->n", X, X), np.empty(self.d)
        if len(X) == 1:  # half of B is read
            v = np.array([self._product(X[0], float(square[0]), g)])
        else:
            with one_thread():
                v = np.einsum("nd,nd->n", X @ self._B, X)
                v -= np.square(X @ self._R[: self._rows].T).sum(axis=1)
            v = self._a * v + self._c * square
        return np.asarray(np.maximum(v, self._floor * square))  # (4)

    def transition(self, gamma: float) -> None:
        """Let weights drift by (1)."""
        keep = gamma * gamma
        self._a *= keep
        self._c = keep * self._c + (1 - keep) * self.prior
        self._floor = keep * self._floor + (1 - keep) * self.prior
        if self._a < _SMALLEST:
            self._fold()

    def learn(self, g: F64, s: float, square: float) -> None:
        """Take in a sample by (2)."""
        np.multiply(g, 1.0 / math.sqrt(s * self._a), out=self._R[self._rows])
        self._rows += 1
        self._floor = 1.0 / (1.0 / self._floor + square)
        if self._rows == _PENDING:
            self._fold()

    def tensors(self) -> dict[str, F64]:
        """Return what `restore` needs to go on with the same bits."""
        scalars = (self._a, self._c, self._floor, self._rows, self.repairs)
        return {
            "B": self._B[np.tril_indices(self.d)],
            "R": self._R.copy(),
            "covariance": np.array(scalars, np.float64),
        }

    def restore(self, tensors: dict[str, F64]) -> None:
        """Take back what `tensors` returned.

        Raises
        ------
        StateError : shapes or values that no covariance with this prior has.
        """
        d, largest = self.d, self.prior * (1 + 1e-6)
        shapes = {"B": (d * (d + 1) // 2,), "R": (_PENDING, d), "covariance": (5,)}
        t = stored(tensors, shapes)
        a, c, floor, rows, repairs = t["covariance"].tolist()
        plausible = (
            (_SMALLEST <= a <= 1.0 and 0.0 <= c <= largest and 0.0 < floor <= largest)
            and (rows in range(_PENDING) and repairs >= 0.0 and repairs.is_integer())
        )  # fmt: skip
        if not plausible:
            raise StateError("the filter's scalars are not those of any filter")
        found = DriftingCovariance(d, self.prior)
        lower = np.tril_indices(d)
        found._B[lower] = found._B.T[lower] = t["B"]
        found._R[:] = t["R"]
        found._a, found._c, found._floor = a, c, floor
        found._rows, found.repairs = int(rows), int(repairs)
        P = found.dense()
        if P.trace() > d * largest:
            raise StateError("the filter's covariance is larger than before any sample")
        P.flat[:: d + 1] += 1e-9 * self.prior  # `product` repairs what rounding did
        try:
            with one_thread():
                np.linalg.cholesky(P)
        except np.linalg.LinAlgError:
            raise StateError("the filter's covariance is not that of any weights") from None
        vars(self).update(vars(found))

    def _product(self, x: F64, square: float, g: F64) -> float:
        v = kernels.corrected_product(self._B, self._R, self._ones, self._rows, x, g)
        g *= self._a
        g += self._c * x
        return self._a * v + self._c * square

    def _fold(self) -> None:
        """Bring (3) to R = 0, a = 1, c = 0."""
        add_outer_products(self._B, self._R[: self._rows], -1.0)
        self._B *= self._a
        self._B.flat[:: self.d + 1] += self._c
        self._rows, self._a, self._c = 0, 1.0, 0.0

    def _repair(self) -> None:
        self._fold()
        self.repairs += 1
        least = max(self._floor, self.d * np.finfo(np.float64).eps * self.prior)
        with one_thread():
            values, vectors = np.linalg.eigh(self._B)
            root = vectors * np.sqrt(np.clip(values, least, self.prior))
            self._B = root @ root.T
