"""Sums that some heads need beside n, Q and G; `Moments` keeps those it is asked to.

    squares   Σ q∘q              a class, (k, d)                                        (1)
    scatter   Σ q qᵀ             a class, (k, d, d)                                     (2)
    norms     fourth Σ ‖q‖⁴,     over all samples, a number,                            (3)
              cubic  Σ ‖q‖² q    over all samples, (d,)                                 (4)

All are integers, held without rounding: the same bits for any order, any split and any
merge, and taking back is the exact inverse of adding. (1) and (2) are float64, exact as G is
(`edge_cl.moments`). (3) is a Python integer. In (4) ‖q‖² < 2³⁷ for d <= 2¹⁵, so a sum may
reach 2⁷⁹. With ‖q‖² = 2²⁰ a + b, 0 <= b < 2²⁰ and a < 2¹⁷, it is held as two vectors of int64,

    cubic = 2²⁰ Σ a q + Σ b q,   |Σ b q| < 2²⁰ 2¹¹ 2³¹ = 2⁶²,   |Σ a q| < 2⁵⁹          (5)

for the 2³¹ samples that moments hold at most.

(2) costs k d² numbers and a rank-one update of d² a sample; rows wait in a block and
enter a class together, so samples of few classes cost less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypedDict

import numpy as np

from edge_cl.arrays import F64, I64
from edge_cl.blas import add_integer_products
from edge_cl.errors import InputError, StateError
from edge_cl.halving import Halved, halve_products, halve_squares
from edge_cl.plausible import GRID_MAX, integers, largest_square, possible, trace

__all__ = ["STATISTICS", "Kept", "Norms", "Scatter", "Squares", "Statistic", "statistic"]

_BLOCK = 64  # rows that wait before they enter their classes
_LOW = 1 << 20  # (5)
_LIMB = 1 << 32  # of `fourth` on disk
_LARGEST_D = 1 << 15  # for (5)


class Statistic(Protocol):
    """What `Moments` needs of a statistic; `x` are grid features as float64, (n, d)."""

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""

    def grow(self, k: int) -> None:
        """Make room for classes up to index k - 1."""

    def update(self, x: F64, y: I64, sign: int) -> None:
        """Add (+1) or take back (-1) samples; classes below k."""

    def merge(self, other: Any, classes: I64, sign: int) -> None:
        """Add (+1) or take back (-1) the sums of another of this kind; see `Moments.merge`."""

    def halve(self, classes: Halved, squares: tuple[int, int]) -> None:
        """Halve the sums, as n, Q and G have just been; `squares` is tr G before and after."""

    def possible(self, n: I64, Q: F64, G: F64, classes: I64) -> bool:
        """Say whether the sums of `classes` may be those of samples with these n, Q, G."""

    def tensors(self) -> dict[str, F64 | I64]:
        """Return what has to be stored."""

    def restore(self, tensors: Mapping[str, F64 | I64], k: int) -> None:
        """Take back what `tensors` returned, for k classes.

        Raises
        ------
        StateError : shapes, dtypes or values that no sums have.
        """


class Squares:
    """Per-class sums of squares (1)."""

    def __init__(self, d: int) -> None:
        self._sums: F64 = np.zeros((0, d))
        self._k = 0

    @property
    def sums(self) -> F64:
        """Σ q∘q a class, (k, d). A view: do not write."""
        return self._sums[: self._k]

    @property
    def nbytes(self) -> int:
        """See `Statistic.nbytes`."""
        return self._sums.nbytes

    def grow(self, k: int) -> None:
        """See `Statistic.grow`."""
        if k > len(self._sums):
            room = np.zeros((max(k, 2 * len(self._sums), 8), self._sums.shape[1]))
            room[: self._k] = self.sums
            self._sums = room
        self._k = max(self._k, k)

    def update(self, x: F64, y: I64, sign: int) -> None:
        """See `Statistic.update`."""
        np.add.at(self._sums, y, sign * np.square(x))  # (1)

    def merge(self, other: Squares, classes: I64, sign: int) -> None:
        """See `Statistic.merge`."""
        np.add.at(self._sums, classes, sign * other.sums)

    def halve(self, classes: Halved, squares: tuple[int, int]) -> None:
        """See `Statistic.halve`."""
        self.sums[:] = halve_squares(self.sums, classes)

    def possible(self, n: I64, Q: F64, G: F64, classes: I64) -> bool:
        """See `Statistic.possible`."""
        least = Q[classes] ** 2 / np.maximum(n[classes], 1)[:, None] * (1 - 1e-12)
        sums, largest = self.sums[classes], largest_square(len(G)) * n[classes, None]
        return bool(((sums >= least) & (sums <= largest)).all())

    def tensors(self) -> dict[str, F64 | I64]:
        """See `Statistic.tensors`."""
        return {"squares": self.sums.copy()}

    def restore(self, tensors: Mapping[str, F64 | I64], k: int) -> None:
        """See `Statistic.restore`."""
        sums = _checked(tensors["squares"], np.float64, (k, self._sums.shape[1]), "squares")
        self._sums, self._k = sums.astype(np.float64), k


class Scatter:
    """Per-class sums of outer products (2), about the origin."""

    def __init__(self, d: int) -> None:
        self._d = d
        self._sums: list[F64 | None] = []  # None where a class never had a sample
        self._rows: F64 = np.zeros((_BLOCK, d))
        self._labels: I64 = np.zeros(_BLOCK, np.int64)
        self._signs: I64 = np.zeros(_BLOCK, np.int64)
        self._waiting = 0

    def of_class(self, c: int) -> F64:
        """Σ q qᵀ over class c, (d, d), symmetric. A view: do not write."""
        self._fold()
        found = self._sums[c]
        return np.zeros((self._d, self._d)) if found is None else found

    @property
    def nbytes(self) -> int:
        """See `Statistic.nbytes`."""
        return self._rows.nbytes + sum(a.nbytes for a in self._sums if a is not None)

    def grow(self, k: int) -> None:
        """See `Statistic.grow`."""
        self._sums += [None] * (k - len(self._sums))

    def update(self, x: F64, y: I64, sign: int) -> None:
        """See `Statistic.update`."""
        if self._waiting + len(x) > _BLOCK:
            self._fold()
        if len(x) > _BLOCK:
            self._add(x, y, sign)
            return
        rows = slice(self._waiting, self._waiting + len(x))
        self._rows[rows], self._labels[rows], self._signs[rows] = x, y, sign
        self._waiting += len(x)

    def merge(self, other: Scatter, classes: I64, sign: int) -> None:
        """See `Statistic.merge`."""
        self._fold()
        other._fold()
        for theirs, c in zip(other._sums, classes.tolist(), strict=True):
            if theirs is not None:
                self._own(c)[:] += sign * theirs

    def halve(self, classes: Halved, squares: tuple[int, int]) -> None:
        """See `Statistic.halve`."""
        self._fold()
        for c, own in enumerate(self._sums):
            if own is not None:
                halve_products(own, classes.of_class(c))

    def possible(self, n: I64, Q: F64, G: F64, classes: I64) -> bool:
        """See `Statistic.possible`."""
        return all(
            possible(n[c : c + 1], Q[c : c + 1], self.of_class(c))
            for c in np.unique(classes).tolist()
        )

    def tensors(self) -> dict[str, F64 | I64]:
        """See `Statistic.tensors`. The lower triangles, row by row: (k, d (d + 1) / 2)."""
        self._fold()
        lower = np.tril_indices(self._d)
        packed = np.zeros((len(self._sums), len(lower[0])))
        for row, own in zip(packed, self._sums, strict=True):
            if own is not None:
                row[:] = own[lower]
        return {"scatter": packed}

    def restore(self, tensors: Mapping[str, F64 | I64], k: int) -> None:
        """See `Statistic.restore`."""
        lower = np.tril_indices(self._d)
        packed = _checked(tensors["scatter"], np.float64, (k, len(lower[0])), "scatter")
        self._sums, self._waiting = [None] * k, 0
        for c in np.flatnonzero(packed.any(axis=1)).tolist():
            own = self._own(c)
            own[lower] = packed[c]
            own.T[lower] = packed[c]

    def _own(self, c: int) -> F64:
        own = self._sums[c]
        if own is None:
            own = self._sums[c] = np.zeros((self._d, self._d))
        return own

    def _fold(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = slice(0, self._waiting), 0
        signs = self._signs[waiting]
        for sign in (+1, -1):
            these = signs == sign
            self._add(self._rows[waiting][these], self._labels[waiting][these], sign)

    def _add(self, x: F64, y: I64, sign: int) -> None:
        for c in np.unique(y).tolist():
            add_integer_products(self._own(c), x[y == c], sign)  # (2)


class Norms:
    """Sums of ‖q‖⁴ and ‖q‖² q over all samples: what spreads of norms are made of."""

    def __init__(self, d: int) -> None:
        if d > _LARGEST_D:
            raise InputError(f"expected d <= {_LARGEST_D} for exact sums of norms, got {d}")
        self._fourth = 0
        self._cubic: I64 = np.zeros((2, d), np.int64)  # (5)

    @property
    def fourth(self) -> int:
        """Σ ‖q‖⁴ (3), exact."""
        return self._fourth

    @property
    def cubic(self) -> F64:
        """Σ ‖q‖² q (4), (d,), the exact sum rounded to float64."""
        return np.array([float(v) for v in self._exact_cubic()])

    @property
    def nbytes(self) -> int:
        """See `Statistic.nbytes`."""
        return self._cubic.nbytes

    def grow(self, k: int) -> None:
        """See `Statistic.grow`. Nothing here is kept a class."""

    def update(self, x: F64, y: I64, sign: int) -> None:
        """See `Statistic.update`."""
        norms = np.square(x).sum(axis=1)  # integers below 2^37
        self._fourth += sign * sum(int(v) ** 2 for v in norms.tolist())  # (3)
        high, low = np.divmod(norms, _LOW)
        for part, sums in zip((high, low), self._cubic, strict=True):
            sums += sign * (part @ x).astype(np.int64)  # (5); exact: |b q| < 2^31 a row

    def merge(self, other: Norms, classes: I64, sign: int) -> None:
        """See `Statistic.merge`."""
        self._fourth += sign * other._fourth
        self._cubic += sign * other._cubic

    def halve(self, classes: Halved, squares: tuple[int, int]) -> None:
        """See `Statistic.halve`. Both become their share tr G' / tr G, and stay possible."""
        before, after = squares
        if not before:
            return
        cubic = [_nearest(v * after, before) for v in self._exact_cubic()]
        self._cubic[:] = np.array([[v // _LOW for v in cubic], [v % _LOW for v in cubic]])
        least = -(-(after**2) // int(classes.n_after.sum()))
        self._fourth = max(_nearest(self._fourth * after, before), least)

    def possible(self, n: I64, Q: F64, G: F64, classes: I64) -> bool:
        """See `Statistic.possible`."""
        square, d = trace(G), len(G)
        return (
            square**2 <= self._fourth * int(n.sum())  # Cauchy-Schwarz
            and 0 <= self._fourth <= d * largest_square(d) * square
            and max((abs(v) for v in self._exact_cubic()), default=0) <= GRID_MAX * square
        )

    def tensors(self) -> dict[str, F64 | I64]:
        """See `Statistic.tensors`. `fourth` is four limbs of 32 bits, lowest first."""
        limbs = [self._fourth // _LIMB**i % _LIMB for i in range(4)]
        return {"fourth": np.array(limbs, np.int64), "cubic": self._cubic.copy()}

    def restore(self, tensors: Mapping[str, F64 | I64], k: int) -> None:
        """See `Statistic.restore`."""
        limbs = _checked(tensors["fourth"], np.int64, (4,), "fourth").tolist()
        cubic = _checked(tensors["cubic"], np.int64, self._cubic.shape, "cubic")
        if not all(0 <= limb < _LIMB for limb in limbs):
            raise StateError("the fourth of the state is not a sum of norms")
        self._fourth = sum(int(limb) * _LIMB**i for i, limb in enumerate(limbs))
        self._cubic = cubic.astype(np.int64)

    def _exact_cubic(self) -> list[int]:
        return [a * _LOW + b for a, b in zip(*self._cubic.tolist(), strict=True)]  # (5)


class Kept(TypedDict, total=False):
    """The statistics that moments keep, by name."""

    squares: Squares
    scatter: Scatter
    norms: Norms


# name -> how it is made, and the names of its tensors
STATISTICS: dict[str, tuple[Callable[[int], Statistic], tuple[str, ...]]] = {
    "squares": (Squares, ("squares",)),
    "scatter": (Scatter, ("scatter",)),
    "norms": (Norms, ("fourth", "cubic")),
}


def statistic(name: str, d: int) -> Statistic:
    """Return the statistic of that name, over no samples.

    Raises
    ------
    InputError : there is none of that name.
    """
    if name not in STATISTICS:
        raise InputError(f"unknown statistic {name!r}", hint=f"one of: {', '.join(STATISTICS)}")
    return STATISTICS[name][0](d)


def _nearest(a: int, b: int) -> int:
    """Return a / b to the nearest integer, b > 0, without rounding in between."""
    return (2 * a + b) // (2 * b)


def _checked(a: F64 | I64, dtype: type, shape: tuple[int, ...], name: str) -> F64 | I64:
    if a.dtype != dtype or a.shape != shape or not integers(np.asarray(a, np.float64)):
        raise StateError(f"the {name} of the state are not {np.dtype(dtype)} integers {shape}")
    return a
