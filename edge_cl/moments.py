"""The truth of a learner: exact integer sums of grid features.

    n_c  = number of samples of class c                                  (k,)    (1)
    Q_c  = sum of the features of class c                                (k, d)  (2)
    G    = sum over all samples of q qᵀ                                  (d, d)  (3)

Features are integers q, |q| <= 2047 (`edge_cl.features`), so every entry of n, Q and G is an
integer, and float64 holds it without rounding while N <= 2³¹: |G_ij| <= 2047² N < 2⁵³.
Hence the sums are the same bits for any order, any split into batches, any BLAS and any
processor, and `subtract` is the exact inverse of `add`. Every head is a function of them.

Adding one sample writes O(d) bytes: rows wait in a block, and a full block enters G as one
matrix product. Reading `G` brings it up to date first.

The layout of Q is one row a class (the transpose of HᵀY), so that a class learned later is
one more row.
"""

from __future__ import annotations

import numpy as np

from edge_cl import arrays
from edge_cl.arrays import F64, I16, I64
from edge_cl.blas import one_thread
from edge_cl.errors import ForgetError, InputError, StateError

__all__ = ["GRID_MAX", "MAX_SAMPLES", "Moments", "scatter_rounding"]

GRID_MAX = 2047  # 12 bits and a sign
MAX_SAMPLES = 1 << 31

_BLOCK = 64  # rows that wait before they enter G together
_BAND = 128  # rows of G at a time
_BATCH = 1024  # rows converted to float64 at a time


class Moments:
    """Exact sums (n, Q, G) over the samples that are in.

    Parameters
    ----------
    d : number of features, >= 1.
    """

    def __init__(self, d: int) -> None:
        if d < 1:
            raise InputError(f"expected d >= 1 features, got {d}")
        self.d = d
        self.saturated = 0  # features at the rail, |q| = 2047, over all samples
        self._n: I64 = np.zeros(0, np.int64)
        self._Q: F64 = np.zeros((0, d))
        self._G: F64 = np.zeros((d, d))
        self._k = 0
        self._block: F64 = np.zeros((_BLOCK, d))
        self._signs: F64 = np.zeros(_BLOCK)
        self._waiting = 0

    @property
    def k(self) -> int:
        """Number of classes; some may have no sample (left)."""
        return self._k

    @property
    def n(self) -> I64:
        """Samples a class, shape (k,). A view: do not write."""
        return self._n[: self._k]

    @property
    def Q(self) -> F64:  # noqa: N802
        """Sum of features a class, shape (k, d). A view: do not write."""
        return self._Q[: self._k]

    @property
    def G(self) -> F64:  # noqa: N802
        """Sum of outer products, shape (d, d), symmetric. A view: do not write."""
        self._fold()
        return self._G

    @property
    def samples(self) -> int:
        """N, the number of samples that are in."""
        return int(self.n.sum())

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self._n.nbytes + self._Q.nbytes + self._G.nbytes + self._block.nbytes

    def add(self, q: I16, y: I64) -> None:
        """Add grid features `q` (n, d) int16 with class indices `y` (n,).

        An index >= k adds the classes up to it. O(n d) time, and O(d²) once a block.
        """
        q, y = self._checked(q, y)
        if self.samples + len(q) > MAX_SAMPLES:
            raise InputError(f"expected at most {MAX_SAMPLES} samples: beyond, sums would round")
        self.grow(int(y.max(initial=-1)) + 1)
        self._update(q, y, +1)

    def subtract(self, q: I16, y: I64) -> None:
        """Take back samples that were added.

        Raises
        ------
        ForgetError : no set of samples that contains these has the sums held here (as far
            as sums can tell). Nothing has changed.
        """
        q, y = self._checked(q, y)
        if y.size and y.max() >= self._k:
            raise ForgetError(f"class {y.max()} was never learned")
        n = self.n - np.bincount(y, minlength=self._k)
        Q = self.Q.copy()
        np.subtract.at(Q, y, q)
        if (n < 0).any():
            raise ForgetError(f"class {int(np.argmin(n))} does not have that many samples")
        x = q.astype(np.float64)
        with one_thread():
            G = self.G - x.T @ x
        if not _possible(n, Q, G, self.saturated - _at_the_rail(q)):
            raise ForgetError("the sample is not among those learned for this class")
        self._update(q, y, -1)

    def merge(self, other: Moments, classes: I64) -> None:
        """Add the sums of another learner; `classes[c]` is its class c here."""
        if other.d != self.d:
            raise InputError(f"expected moments of {self.d} features, got {other.d}")
        classes = arrays.class_indices(classes, other.k)
        if self.samples + other.samples > MAX_SAMPLES:
            raise InputError(f"expected at most {MAX_SAMPLES} samples: beyond, sums would round")
        self.grow(int(classes.max(initial=-1)) + 1)
        np.add.at(self.n, classes, other.n)
        np.add.at(self.Q, classes, other.Q)
        self._fold()
        self._G += other.G
        self.saturated += other.saturated

    def grow(self, k: int) -> None:
        """Make room for classes up to index k - 1."""
        if k > len(self._n):
            room = max(k, 2 * len(self._n), 8)
            self._n = np.concatenate([self._n, np.zeros(room - len(self._n), np.int64)])
            self._Q = np.concatenate([self._Q, np.zeros((room - len(self._Q), self.d))])
        self._k = max(self._k, k)

    def __eq__(self, other: object) -> bool:
        """Say whether both hold the same sums, bit for bit; classes without samples count."""
        if not isinstance(other, Moments):
            return NotImplemented
        mine, theirs = self.tensors(), other.tensors()
        return self.saturated == other.saturated and all(
            np.array_equal(mine[name], theirs[name]) for name in mine
        )

    __hash__ = None  # type: ignore[assignment]  # it changes

    def copy(self) -> Moments:
        """Return an independent copy."""
        other = Moments(self.d)
        other.merge(self, np.arange(self._k))
        return other

    def tensors(self) -> dict[str, F64 | I64]:
        """Return what has to be stored: n, Q, and the lower triangle of G, row by row."""
        packed = self.G[np.tril_indices(self.d)]
        return {"n": self.n.copy(), "Q": self.Q.copy(), "G": packed}

    @classmethod
    def from_tensors(cls, n: I64, Q: F64, G: F64, *, d: int, saturated: int) -> Moments:
        """Rebuild what `tensors` returned, after checking that it can be sums of samples.

        Raises
        ------
        StateError : shapes, dtypes or values that no set of samples has.
        """
        k = len(n) if n.ndim == 1 else -1
        if n.dtype != np.int64 or k < 0 or (n < 0).any() or sum(n.tolist()) > MAX_SAMPLES:
            raise StateError("the class counts of the state are not counts")
        if Q.dtype != np.float64 or Q.shape != (k, d) or not _integers(Q):
            raise StateError(f"the class sums of the state are not (k={k}, d={d}) integers")
        if G.dtype != np.float64 or G.shape != (d * (d + 1) // 2,) or not _integers(G):
            raise StateError(f"the outer products of the state are not a triangle of d={d}")
        moments = cls(d)
        moments.grow(k)
        moments.n[:], moments.Q[:] = n, Q
        lower = np.tril_indices(d)
        moments._G[lower] = G
        moments._G.T[lower] = G
        if not _possible(n, Q, moments._G, saturated):
            raise StateError("the sums of the state are not those of any samples")
        moments.saturated = saturated
        return moments

    def _checked(self, q: I16, y: I64) -> tuple[I16, I64]:
        q = arrays.grid_features(q, self.d)
        return q, arrays.class_indices(y, len(q))

    def _update(self, q: I16, y: I64, sign: int) -> None:
        np.add.at(self._n, y, sign)
        self.saturated += sign * _at_the_rail(q)
        for start in range(0, len(q), _BATCH):
            x = q[start : start + _BATCH].astype(np.float64)
            np.add.at(self._Q, y[start : start + _BATCH], sign * x)  # (2)
            if self._waiting + len(x) > _BLOCK:
                self._fold()
            if len(x) > _BLOCK:
                self._add_outer_products(x, sign)
            else:
                rows = slice(self._waiting, self._waiting + len(x))
                self._block[rows], self._signs[rows] = x, sign
                self._waiting += len(x)

    def _fold(self) -> None:
        x, signs = self._block[: self._waiting], self._signs[: self._waiting]
        for sign in (+1, -1):
            if (signs == sign).any():
                self._add_outer_products(x[signs == sign], sign)
        self._waiting = 0

    def _add_outer_products(self, x: F64, sign: int) -> None:
        with one_thread():
            for rows in _bands(self.d):  # a whole product would hold d² more
                # (3); exact: all partial sums are integers below 2^53
                self._G[rows] += sign * (x[:, rows].T @ x)


def _possible(n: I64, Q: F64, G: F64, saturated: int) -> bool:
    """Say whether sums may be those of grid samples. O(d³), a third of a matrix product."""
    N, seen, square = int(n.sum()), n > 0, G.diagonal()
    # Cauchy-Schwarz, twice: sum over classes of Q_c² / n_c <= G_ii, and G_ij² <= G_ii G_jj
    least = (Q[seen] ** 2 / n[seen, None]).sum(axis=0) * (1 - 1e-12)
    plausible = (
        (np.abs(Q) <= GRID_MAX * n[:, None]).all()
        and (square >= least).all()
        and (square <= GRID_MAX**2 * N).all()
        and (np.square(G) <= np.outer(square, square * (1 + 1e-12))).all()
        and 0 <= saturated <= N * len(G)
    )
    if not plausible or not G.any():
        return bool(plausible)
    # Whatever the samples: their within-class scatter has no negative eigenvalue
    root = Q[seen] / np.sqrt(n[seen])[:, None]
    with one_thread():
        scatter = G - root.T @ root
        scatter.flat[:: len(G) + 1] += scatter_rounding(G, len(root))
        try:
            np.linalg.cholesky(scatter)
        except np.linalg.LinAlgError:
            return False
    return True


def scatter_rounding(G: F64, classes: int) -> float:
    """Return a bound on the rounding, as an eigenvalue, of G - Σ_c Q_c Q_cᵀ / n_c."""
    return float(np.finfo(np.float64).eps * (len(G) + classes + 8) * G.trace())


def _at_the_rail(q: I16) -> int:
    return int((np.abs(q) == GRID_MAX).sum())


def _bands(d: int) -> list[slice]:
    return [slice(start, start + _BAND) for start in range(0, d, _BAND)]


def _integers(a: F64) -> bool:
    return bool(np.isfinite(a).all() and (a == np.rint(a)).all())
