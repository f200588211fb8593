"""BLAS threads: one, while the runtime solves. And sums of outer products at its speed.

A second BLAS thread on a busy two-core board was seen to turn a 23 ms solve into 1,780 ms,
and the core it takes is the one that encodes the next picture. The caller's own setting is
restored when the last of our threads has left: BLAS has one setting for all of them.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from threadpoolctl import ThreadpoolController

from edge_cl.arrays import F64

_BAND = 128  # rows of the matrix at a time: a whole product would hold d² more


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
        self._restore = ExitStack()

    def enter(self) -> None:
        with self._lock:
            if not self._inside:
                self._restore.enter_context(_controller().limit(limits=1, user_api="blas"))
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._restore.close()


_limit = _Limit()


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def add_outer_products(G: F64, x: F64, weight: float = 1.0) -> None:
    """Add weight·xᵀx to the symmetric matrix G (d, d) in place; x is (n, d).

    Half the products are computed, d n (d + 128) operations; both triangles get the same bits.
    """
    with one_thread():
        for start in range(0, len(G), _BAND):
            rows = slice(start, start + _BAND)
            left, before = x[:, rows], slice(0, start)
            G[rows, rows] += weight * (left.T @ left)  # BLAS syrk
            G[rows, before] += weight * (left.T @ x[:, before])
            G[before, rows] = G[rows, before].T
