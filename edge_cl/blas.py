"""BLAS threads: one, while the runtime solves. And sums of outer products at its speed.

A second BLAS thread on a busy two-core board was seen to turn a 23 ms solve into 1,780 ms,
and the core it takes is the one that encodes the next picture. The caller's own setting is
restored when the last of our threads has left: BLAS has one setting for all of them.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from edge_cl.arrays import F32, F64, I16

_BAND = 128  # rows of the matrix at a time: a whole product would hold d² more
_EXACT_IN_SINGLE = float(1 << 24)
_SHORTEST = 48  # rows for which a product in float32 still gains
_TILE = 64  # divides _BAND: the blocks on the diagonal are whole


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS run on the calling thread only. Threads may overlap, and one may nest."""
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()


class _Limit:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[int] = []

    def enter(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = [library.num_threads for library in _libraries()]
                self._set([1] * len(self._before))
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._set(self._before)

    def _set(self, numbers: list[int]) -> None:
        for library, number in zip(_libraries(), numbers, strict=True):
            # threadpoolctl 3.7 and later obey the first thread that asked, and ignore others
            give_way = getattr(library, "clear_controlling_thread", None)
            if give_way is not None:
                give_way(force=True)
            library.set_num_threads(number)
            if give_way is not None:
                give_way(force=True)


_limit = _Limit()


@functools.cache
def _libraries() -> list[Any]:
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def add_outer_products(
    G: F64 | F32, x: F64 | F32, weight: float = 1.0, *, mirror: bool = True
) -> None:
    """Add weight·xᵀx to the symmetric matrix G (d, d) in place; x is (n, d), of G's dtype.

    Half the products are computed, d n (d + 128) operations; both triangles get the same bits.
    Without `mirror` the upper one is left as it was, until `mirror_lower` is called: that is a
    quarter of the time for 64 rows.
    """
    with one_thread():
        _add_to_lower(G, x, weight)
    if mirror:
        mirror_lower(G)


def add_integer_products(G: F64, q: I16 | F64, sign: int, *, mirror: bool = True) -> None:
    """Add sign·qᵀq to the symmetric matrix G (d, d) in place, exactly; q (n, d) holds integers.

    Where a column's sum of squares stays below 2²⁴, so does every partial sum of every product
    (Cauchy-Schwarz): float32 has room for all of them, and is twice as fast. Rows that are too
    large for that go in float64, exact below 2⁵³. Both triangles get the same bits, or only
    the lower one is brought up to date, as in `add_outer_products`.
    """
    single = np.asarray(q, np.float32)  # |q| <= 2047: exact
    parts = math.ceil(_peak(single) / _EXACT_IN_SINGLE)
    parts += parts // 4 + (parts > 1)  # they are not equally large
    size = -(-len(q) // max(parts, 1))
    with one_thread():
        if size < min(_SHORTEST, len(q)):
            _add_to_lower(G, np.asarray(q, np.float64), sign)
        else:
            for start in range(0, len(q), size):
                x = single[start : start + size]
                fits = _peak(x) <= _EXACT_IN_SINGLE
                _add_to_lower(G, x if fits else x.astype(np.float64), sign)
    if mirror:
        mirror_lower(G)


def _add_to_lower(G: F64 | F32, x: F64 | F32, weight: float) -> None:
    for start in range(0, len(G), _BAND):
        rows = slice(start, start + _BAND)
        left, before = x[:, rows], slice(0, start)
        G[rows, rows] += _scaled(left.T @ left, weight)  # BLAS syrk
        G[rows, before] += _scaled(left.T @ x[:, before], weight)


def _peak(x: F32) -> float:
    """Return the largest sum of squares of a column; never below 2²⁴ where it should be above."""
    return float(np.einsum("ij,ij->j", x, x).max(initial=0.0))


def _scaled(product: F64 | F32, weight: float) -> F64 | F32:
    product *= weight
    return product


def mirror_lower(G: F64 | F32) -> None:
    """Copy the lower triangle to the upper one, in tiles that stay in the first-level cache."""
    for start in range(_TILE, len(G), _TILE):
        rows = slice(start, start + _TILE)
        for other in range(0, start, _TILE):
            columns = slice(other, other + _TILE)
            G[columns, rows] = G[rows, columns].T
