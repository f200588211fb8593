r"""An inverse of a positive definite matrix, followed from sample to sample.

M = G + λI gains a row x xᵀ with every sample (w = +1), or loses one (w = -1). Its inverse P is
kept as the last one computed as a whole, P₀, and one row a sample since then, newest last:

    P = P₀ - Aᵀ diag(w) A                                                             (1)
    g = P x,   s = 1 + w·xᵀg,   next row of A: g / √s                                 (2)

This is Sherman and Morrison's formula, unfolded. After `PENDING` rows they enter P₀ as one
matrix product. m samples at once, the rows of X, are Woodbury's formula:

    S = I + X P Xᵀ = L Lᵀ,   V = L⁻¹ X P,   P ← P - VᵀV                               (3)

s, or a squared diagonal entry of L, is the factor by which P shrinks along a new row. Where it
is close to 0 (a sample is taken back that nearly alone spans a direction), digits are lost in
the difference; then nothing is done, and who asked computes P anew.

The rounding of P₀ is relative to what P was when it was computed: at first as large as 1/λ. When
samples have shrunk P as a whole by five orders of magnitude (two in float32), it is `worn`: it
serves on, but should be computed anew soon.

P₀ is float64, or float32 where the caller allows it and it is safe: half the memory, and half
the traffic of (2). Its rounding, ε = 6e-8 of its largest entries, must stay far below what a
sample changes: max P_ii · E‖x‖² <= 30 keeps W within 1e-5 (docs/decisions/0007). Otherwise,
as long as λ is small and directions are undetermined, P₀ stays float64.

References
----------
Sherman, Morrison. Adjustment of an inverse matrix. Ann. Math. Stat. 21 (1950) 124-127.
Woodbury. Inverting modified matrices. Princeton statistical research group, memo 42, 1950.
"""

from __future__ import annotations

import math

import numpy as np

from edge_cl import kernels
from edge_cl.arrays import F32, F64
from edge_cl.blas import add_outer_products, mirror_lower, one_thread
from edge_cl.heads.triangular import invert_lower

PENDING = 64  # rows of A before they enter P₀

_FACTORS = {np.dtype(np.float64): (1e-6, math.inf), np.dtype(np.float32): (1e-2, 1e4)}  # of s
_WEAR = {np.dtype(np.float64): 1e5, np.dtype(np.float32): 1e2}  # of P; docs/decisions/0007
_LARGEST_FACTOR_OF_MANY = 1e4  # of S: beyond, L⁻¹ would lose digits
_LARGEST_LEVERAGE = 30.0  # max P_ii · E‖x‖² with which float32 is safe; docs/decisions/0007


class FollowedInverse:
    """The inverse `P` (d, d), float64 and exactly symmetric; taken over, not copied.

    Parameters
    ----------
    P : what to follow from.
    mean_square : E‖x‖² of the samples, where float32 is allowed; None keeps float64.

    Attributes
    ----------
    worn : whether P has shrunk so much that it should be computed anew soon.
    """

    def __init__(self, P: F64, *, mean_square: float | None = None) -> None:
        d = len(P)
        self._mean_square = math.inf if mean_square is None else mean_square
        self._at_first = float(P.diagonal().max())
        single = self._at_first * self._mean_square <= _LARGEST_LEVERAGE
        self._P: F64 | F32 = P.astype(np.float32) if single else P
        self._least, self._largest = _FACTORS[self._P.dtype]
        self._A: F64 = np.empty((PENDING, d))
        self._w: F64 = np.empty(PENDING)
        self._rows = 0
        self._g: F64 = np.empty(d)
        self._mirrored = True  # whether the upper triangle is up to date as well
        self.worn = False

    @property
    def single(self) -> bool:
        """Whether P₀ is held in float32."""
        return self._P.dtype == np.float32

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self._P.nbytes + self._A.nbytes + self._w.nbytes + self._g.nbytes

    def follow(self, x: F64, label: int, sign: float, W: F64) -> bool:
        """Let a sample x (d,) of class `label` in or out, and W (d, k) of ridge follow.

        False where digits would be lost, or where P must be computed anew.
        """
        s = kernels.follow(  # (2)
            self._P,
            self._A,
            self._w,
            self._rows,
            x,
            label,
            sign,
            self._least,
            self._largest,
            self._g,
            W,
        )
        if not self._least < s < self._largest:
            return False
        if not np.isfinite(W[int(np.abs(self._g).argmax())]).all():
            return False  # λ so small that weights overflow: where g is largest they do first
        self._rows += 1
        return self._rows < PENDING or self._fold()

    def gains(self, x: F64) -> tuple[F64, F64] | None:
        """Add the samples x (m, d) at once; return V (m, d) and L⁻¹ (m, m) of (3).

        None where digits would be lost, or where P must be computed anew.
        """
        if self._rows and not self._fold():
            return None
        self._mirror()
        with one_thread():
            B = np.asarray(self._typed(x) @ self._P, np.float64)
            S = B @ x.T
            S.flat[:: len(S) + 1] += 1.0
            try:
                L = np.asarray(np.linalg.cholesky(S), np.float64)  # (3)
            except np.linalg.LinAlgError:  # P was not positive definite any more
                return None
            if not np.square(L.diagonal()).max() < _LARGEST_FACTOR_OF_MANY:
                return None
            invert_lower(L)
            V = np.asarray(L @ B)  # (3)
        add_outer_products(self._P, self._typed(V), -1.0)  # (3)
        return (V, L) if self._sound() else None

    def _fold(self) -> bool:
        A, w = self._A[: self._rows], self._w[: self._rows]
        for sign in (+1.0, -1.0):
            if (w == sign).any():
                rows = A if (w == sign).all() else A[w == sign]
                add_outer_products(self._P, self._typed(rows), -sign, mirror=False)  # (1)
                self._mirrored = False
        if kernels.BACKEND == "numpy":  # which reads both triangles; the others one
            self._mirror()
        self._rows = 0
        return self._sound()

    def _mirror(self) -> None:
        if not self._mirrored:
            mirror_lower(self._P)
            self._mirrored = True

    def _sound(self) -> bool:
        """See whether P₀ is worn, and whether its precision still suffices."""
        largest = float(self._P.diagonal().max())
        self.worn = self._at_first > _WEAR[self._P.dtype] * largest
        # What was taken back may leave directions undetermined again
        return not self.single or largest * self._mean_square <= 2 * _LARGEST_LEVERAGE

    def _typed(self, x: F64) -> F64 | F32:
        return x.astype(np.float32) if self.single else x
