r"""The weights of ridge, and the inverse that lets them follow.

    W = P Q,   P = (G + λI)⁻¹                                                         (1)

With g, s of one sample x of class c, or V, L of the rows of X (`edge_cl.heads.inverse`):

    W ← W + w·(g / s)(e_c - Wᵀx)ᵀ                                                     (2)
    W ← W + Vᵀ L⁻¹ (Y - X W)                                                          (3)

G + λI has all eigenvalues >= λ, so (1) always has a solution. (2) is the recursion of ACIL and
G-ACIL; the latter's algorithm 1 prints R₀ = γI for what must be I/γ, its equation (7), like
ours, has it right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_cl.arrays import F64, I16, I64
from edge_cl.blas import one_thread
from edge_cl.heads.inverse import FollowedInverse
from edge_cl.heads.penalty import visible_ridge
from edge_cl.heads.triangular import inverse_spd
from edge_cl.moments import Moments

FEW = 8  # samples that are followed one by one; more go in blocks
_BLOCK = 256  # samples at a time

Rows = tuple[I16, I64, int]  # q (n, d), y (n,) and whether they were learned (+1) or lost (-1)


@dataclass(kw_only=True)
class Problem:
    """G and Q of some moment, copied; `solve` uses G up.

    ridge : λ, in squared grid steps.
    single : E‖x‖² in squared grid steps, if P may be float32; else None.
    """

    G: F64
    Q: F64
    ridge: float
    single: float | None

    @classmethod
    def of(cls, moments: Moments, *, ridge: float, single: float | None) -> Problem:
        """Copy what is needed of `moments`; features seen may raise E‖x‖²."""
        G, Q, N = moments.G.copy(), moments.Q.copy(), moments.samples
        if single is not None and N:
            single = max(single, float(G.trace()) / N)
        return cls(G=G, Q=Q, ridge=ridge, single=single)

    def residual(self, W: F64) -> float:
        """Return ‖(G + λI) W - Q‖ / ‖Q‖, the error of weights W (d, k); 0 where Q is."""
        size = float(np.linalg.norm(self.Q))
        with one_thread():
            left = self.G @ W + self.ridge * W - self.Q.T
        return float(np.linalg.norm(left)) / size if size else 0.0

    def solve(self) -> Solution:
        """Return (1)."""
        A, empty = self.G, not self.G.any()
        A.flat[:: len(A) + 1] += visible_ridge(self.ridge, A)
        P = np.diag(1.0 / A.diagonal()) if empty else inverse_spd(A)
        with one_thread():
            W = np.asarray(P @ self.Q.T)  # (1)
        return Solution(W, FollowedInverse(P, mean_square=self.single))


class Solution:
    """Weights `W` (d, k) and `inverse`, brought forward together."""

    def __init__(self, W: F64, inverse: FollowedInverse) -> None:
        self.W = W
        self.inverse = inverse

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self.W.nbytes + self.inverse.nbytes

    def grow(self, k: int) -> None:
        """Make room for k classes: a class never seen costs one zero column, and is exact."""
        new = k - self.W.shape[1]
        if new > 0:  # every earlier sample had target 0 for it
            self.W = np.concatenate([self.W, np.zeros((len(self.W), new))], axis=1)

    def follow(self, q: I16, y: I64, sign: int) -> bool:
        """Take samples in or back one by one; False where all must be computed anew."""
        for x, label in zip(q.astype(np.float64), y.tolist(), strict=True):
            if not self.inverse.follow(x, label, float(sign), self.W):  # (2)
                return False
        return True

    def follow_block(self, q: I16, y: I64) -> bool:
        """Take samples in at once; False where all must be computed anew."""
        x = q.astype(np.float64)
        gains = self.inverse.gains(x)
        if gains is None:
            return False
        V, root = gains  # root is L⁻¹
        with one_thread():
            R = -(x @ self.W)
            R[np.arange(len(y)), y] += 1.0
            self.W += V.T @ (root @ R)  # (3)
        return True

    def take(self, rows: list[Rows]) -> bool:
        """Follow `rows` in their order, many additions in blocks; False as in `follow`."""
        start = 0
        while start < len(rows):
            sign, stop = rows[start][2], start + 1
            while stop < len(rows) and rows[stop][2] == sign:
                stop += 1
            q = np.concatenate([q for q, _, _ in rows[start:stop]])
            y = np.concatenate([y for _, y, _ in rows[start:stop]])
            self.grow(int(y.max()) + 1)
            if sign < 0 or len(y) <= FEW:
                if not self.follow(q, y, sign):
                    return False
            else:
                for at in range(0, len(y), _BLOCK):
                    if not self.follow_block(q[at : at + _BLOCK], y[at : at + _BLOCK]):
                        return False
            start = stop
        return True


def count(rows: list[Rows]) -> int:
    """Return how many samples `rows` holds."""
    return sum(len(y) for _, y, _ in rows)
