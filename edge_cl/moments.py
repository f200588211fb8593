"""The truth of a learner: exact integer sums of grid features.

    n_c  = number of samples of class c                                  (k,)    (1)
    Q_c  = sum of the features of class c                                (k, d)  (2)
    G    = sum over all samples of q qᵀ                                  (d, d)  (3)

Features are integers q, |q| <= 2047 (`edge_cl.features`), so every entry of n, Q and G is an
integer, and float64 holds it without rounding while N <= 2³¹: |G_ij| <= 2047² N < 2⁵³.
Hence the sums are the same bits for any order, any split into batches, any BLAS and any
processor, and `subtract` is the exact inverse of `add`. Every head is a function of them.

Some heads need more: the moments keep the `statistics` they are asked to, under the same laws
(`edge_cl.statistics`). A stream that drifts can be forgotten by halves (`edge_cl.halving`).

Adding one sample writes O(d) bytes: rows wait in a block, and a full block enters G as one
matrix product. Reading `G` brings it up to date first.

The layout of Q is one row a class (the transpose of HᵀY), so that a class learned later is
one more row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from edge_cl import arrays, kernels
from edge_cl.arrays import F64, I16, I64
from edge_cl.blas import add_integer_products, mirror_lower, one_thread
from edge_cl.errors import ForgetError, InputError, StateError
from edge_cl.halving import halve_products, halved_classes
from edge_cl.plausible import GRID_MAX, integers, possible, scatter_rounding, trace
from edge_cl.statistics import STATISTICS, Kept, Statistic, statistic

__all__ = ["GRID_MAX", "MAX_SAMPLES", "Moments", "scatter_rounding"]

MAX_SAMPLES = 1 << 31

_BLOCK = 256  # rows that wait before they enter G together
_BATCH = 1024  # rows at a time
_NOT_AMONG = "the sample is not among those learned for this class"


class Moments:
    """Exact sums (n, Q, G) over the samples that are in.

    Parameters
    ----------
    d : number of features, >= 1.
    statistics : names of `edge_cl.statistics.STATISTICS` to keep besides.
    """

    def __init__(self, d: int, *, statistics: Sequence[str] = ()) -> None:
        if d < 1:
            raise InputError(f"expected d >= 1 features, got {d}")
        self.d = d
        self.saturated = 0  # features at the rail, |q| = 2047, over all samples
        self._n: I64 = np.zeros(0, np.int64)
        self._Q: F64 = np.zeros((0, d))
        self._G: F64 = np.zeros((d, d))
        self._mirrored = True  # whether the upper triangle of _G is up to date as well
        self._k = 0
        self._block: I16 = np.zeros((_BLOCK, d), np.int16)
        self._signs: F64 = np.zeros(_BLOCK)
        self._waiting = 0
        self._kept: dict[str, Statistic] = {name: statistic(name, d) for name in statistics}

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
        if not self._mirrored:
            mirror_lower(self._G)
            self._mirrored = True
        return self._G

    @property
    def samples(self) -> int:
        """N, the number of samples that are in."""
        return int(self.n.sum())

    @property
    def statistics(self) -> Kept:
        """What is kept besides, by name. Views: do not write."""
        return cast(Kept, self._kept)

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        own = self._n.nbytes + self._Q.nbytes + self._G.nbytes + self._block.nbytes
        return own + sum(kept.nbytes for kept in self._kept.values())

    def add(self, q: I16, y: I64) -> None:
        """Add grid features `q` (n, d) int16 with class indices `y` (n,).

        An index >= k adds the classes up to it. O(n d) time, and O(d²) once a block.
        """
        q, y = self._checked(q, y)
        self.refuse_beyond(len(q))
        self.grow(int(y.max(initial=-1)) + 1)
        self._update(q, y, +1)
        self._update_kept(q, y, +1)

    def subtract(self, q: I16, y: I64) -> None:
        """Take back samples that were added.

        Raises
        ------
        ForgetError : no set of samples that contains these has the sums held here (as far
            as sums can tell). Nothing has changed.
        """
        self.subtraction(q, y)()

    def subtraction(self, q: I16, y: I64) -> Callable[[], None]:
        """Return what `subtract` would do, after all that it could refuse.

        The sums must not change before it is called.
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
        self._refuse_impossible(n, Q, G, self.saturated - _at_the_rail(q))
        if self._kept:
            self._update_kept(q, y, -1)
            kept_possible = self._kept_possible(n, Q, G, np.unique(y))
            self._update_kept(q, y, +1)  # the exact inverse
            if not kept_possible:
                raise ForgetError(_NOT_AMONG)

        def subtract() -> None:
            self._update_kept(q, y, -1)
            self._update(q, y, -1)

        return subtract

    def halve(self) -> None:
        """Halve every sum, rounded so that they stay those of a possible stream.

        See `edge_cl.halving`: a class keeps its mean and at least one sample. What was added
        before can no longer be taken back exactly. O(k d²).
        """
        classes = halved_classes(self.n, self.Q)
        G = self.G
        before = trace(G)
        halve_products(G, classes)
        self.n[:], self.Q[:] = classes.n_after, classes.Q_after
        self.saturated = min((self.saturated + 1) // 2, self.samples * self.d)
        for kept in self._kept.values():
            kept.halve(classes, (before, trace(G)))

    def merge(self, other: Moments, classes: I64) -> None:
        """Add the sums of another learner; `classes[c]` is its class c here.

        Raises
        ------
        InputError : it has another d, lacks a statistic that is kept here, or holds so many
            samples that sums would round. Nothing has changed.
        """
        classes = self._mergeable(other, classes)
        self.refuse_beyond(other.samples)
        self.grow(int(classes.max(initial=-1)) + 1)
        self._merge(other, classes, +1)
        self._merge_kept(other, classes, +1)

    def unmerge(self, other: Moments, classes: I64) -> None:
        """Take back what `merge` has added.

        Raises
        ------
        InputError : as for `merge`.
        ForgetError : the sums show that it is not in. Nothing has changed.
        """
        classes = self._mergeable(other, classes)
        if classes.size and classes.max() >= self._k:
            raise ForgetError(f"class {classes.max()} was never learned")
        n, Q = self.n.copy(), self.Q.copy()
        np.subtract.at(n, classes, other.n)
        np.subtract.at(Q, classes, other.Q)
        if (n < 0).any():
            raise ForgetError(f"class {int(np.argmin(n))} does not have that many samples")
        G = self.G - other.G
        self._refuse_impossible(n, Q, G, self.saturated - other.saturated)
        self._merge_kept(other, classes, -1)
        if not self._kept_possible(n, Q, G, np.unique(classes)):
            self._merge_kept(other, classes, +1)  # the exact inverse
            raise ForgetError(_NOT_AMONG)
        self._merge(other, classes, -1)

    def refuse_beyond(self, n: int) -> None:
        """Raise InputError where there is no room for `n` samples more."""
        if self.samples + n > MAX_SAMPLES:
            raise InputError(f"expected at most {MAX_SAMPLES} samples: beyond, sums would round")

    def grow(self, k: int) -> None:
        """Make room for classes up to index k - 1."""
        if k > len(self._n):
            room = max(k, 2 * len(self._n), 8)
            self._n = np.concatenate([self._n, np.zeros(room - len(self._n), np.int64)])
            self._Q = np.concatenate([self._Q, np.zeros((room - len(self._Q), self.d))])
        self._k = max(self._k, k)
        for kept in self._kept.values():
            kept.grow(self._k)

    def __eq__(self, other: object) -> bool:
        """Say whether both hold the same sums, bit for bit; classes without samples count."""
        if not isinstance(other, Moments):
            return NotImplemented
        mine, theirs = self.tensors(), other.tensors()
        return (
            self.saturated == other.saturated
            and mine.keys() == theirs.keys()
            and all(np.array_equal(mine[name], theirs[name]) for name in mine)
        )

    __hash__ = None  # type: ignore[assignment]  # it changes

    def copy(self) -> Moments:
        """Return an independent copy."""
        return self.relabelled(np.arange(self._k), self._k)

    def relabelled(self, classes: I64, k: int) -> Moments:
        """Return the same sums with class c as class `classes[c]` of `k`; several may become one.

        A class without samples may go anywhere: it adds nothing.
        """
        other = Moments(self.d, statistics=tuple(self._kept))
        other.grow(k)
        if k:
            other.merge(self, classes)
        return other

    def tensors(self) -> dict[str, F64 | I64]:
        """Return what has to be stored: n, Q, and the lower triangle of G, row by row.

        And the tensors of the statistics that are kept.
        """
        tensors: dict[str, F64 | I64] = {"n": self.n.copy(), "Q": self.Q.copy()}
        tensors["G"] = self.G[np.tril_indices(self.d)]
        for kept in self._kept.values():
            tensors.update(kept.tensors())
        return tensors

    @classmethod
    def from_tensors(
        cls,
        n: I64,
        Q: F64,
        G: F64,
        *,
        d: int,
        saturated: int,
        squares: F64 | None = None,
        scatter: F64 | None = None,
        fourth: I64 | None = None,
        cubic: I64 | None = None,
    ) -> Moments:
        """Rebuild what `tensors` returned, after checking that it can be sums of samples.

        The statistics whose tensors are given are kept.

        Raises
        ------
        StateError : shapes, dtypes or values that no set of samples has.
        """
        besides = {"squares": squares, "scatter": scatter, "fourth": fourth, "cubic": cubic}
        given = {name: a for name, a in besides.items() if a is not None}
        names = [name for name, (_, own) in STATISTICS.items() if given.keys() & set(own)]
        if len(given) != sum(len(STATISTICS[name][1]) for name in names):
            raise StateError(f"the statistics of the state are not whole: {sorted(given)}")
        k = len(n) if n.ndim == 1 else -1
        if n.dtype != np.int64 or k < 0 or (n < 0).any() or sum(n.tolist()) > MAX_SAMPLES:
            raise StateError("the class counts of the state are not counts")
        if Q.dtype != np.float64 or Q.shape != (k, d) or not integers(Q):
            raise StateError(f"the class sums of the state are not (k={k}, d={d}) integers")
        if G.dtype != np.float64 or G.shape != (d * (d + 1) // 2,) or not integers(G):
            raise StateError(f"the outer products of the state are not a triangle of d={d}")
        moments = cls(d, statistics=names)
        moments.grow(k)
        moments.n[:], moments.Q[:] = n, Q
        lower = np.tril_indices(d)
        moments._G[lower] = G
        moments._G.T[lower] = G
        for kept in moments._kept.values():
            kept.restore(given, k)
        if not (
            0 <= saturated <= moments.samples * d
            and possible(n, Q, moments._G)
            and moments._kept_possible(n, Q, moments._G, np.arange(k))
        ):
            raise StateError("the sums of the state are not those of any samples")
        moments.saturated = saturated
        return moments

    def _checked(self, q: I16, y: I64) -> tuple[I16, I64]:
        q = arrays.grid_features(q, self.d)
        return q, arrays.class_indices(y, len(q))

    def _mergeable(self, other: Moments, classes: I64) -> I64:
        if other.d != self.d:
            raise InputError(f"expected moments of {self.d} features, got {other.d}")
        if missing := self._kept.keys() - other._kept.keys():
            raise InputError(f"expected moments that keep {', '.join(sorted(missing))} too")
        return arrays.class_indices(classes, other.k)

    def _merge(self, other: Moments, classes: I64, sign: int) -> None:
        np.add.at(self.n, classes, sign * other.n)
        np.add.at(self.Q, classes, sign * other.Q)
        mine = self.G
        mine += sign * other.G
        self.saturated += sign * other.saturated

    def _merge_kept(self, other: Moments, classes: I64, sign: int) -> None:
        for name, kept in self._kept.items():
            kept.merge(other._kept[name], classes, sign)

    def _refuse_impossible(self, n: I64, Q: F64, G: F64, saturated: int) -> None:
        if not (0 <= saturated <= n.sum() * self.d and possible(n, Q, G)):
            raise ForgetError(_NOT_AMONG)

    def _kept_possible(self, n: I64, Q: F64, G: F64, classes: I64) -> bool:
        return all(kept.possible(n, Q, G, classes) for kept in self._kept.values())

    def _update_kept(self, q: I16, y: I64, sign: int) -> None:
        if not self._kept:
            return
        for start in range(0, len(q), _BATCH):
            part = slice(start, start + _BATCH)
            x = q[part].astype(np.float64)
            for kept in self._kept.values():
                kept.update(x, y[part], sign)

    def _update(self, q: I16, y: I64, sign: int) -> None:
        np.add.at(self._n, y, sign)
        self.saturated += sign * _at_the_rail(q)
        for start in range(0, len(q), _BATCH):
            part, labels = q[start : start + _BATCH], y[start : start + _BATCH]
            kernels.add_rows(part, labels, sign, self._Q)  # (2)
            if self._waiting + len(part) > _BLOCK:
                self._fold()
            if len(part) > _BLOCK:
                add_integer_products(self._G, part, sign, mirror=False)  # (3)
                self._mirrored = False
            else:
                rows = slice(self._waiting, self._waiting + len(part))
                self._block[rows], self._signs[rows] = part, sign
                self._waiting += len(part)

    def _fold(self) -> None:
        x, signs = self._block[: self._waiting], self._signs[: self._waiting]
        for sign in (+1, -1):
            if (signs == sign).any():
                add_integer_products(self._G, x[signs == sign], sign, mirror=False)  # (3)
                self._mirrored = False
        self._waiting = 0


def _at_the_rail(q: I16) -> int:
    return int(np.count_nonzero(np.abs(q) == GRID_MAX))
