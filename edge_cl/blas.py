"""BLAS threads: one, while the runtime solves.

A second BLAS thread on a busy two-core board was seen to turn a 23 ms solve into 1,780 ms,
and the core it takes is the one that encodes the next picture. The caller's own setting
is restored on the way out.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[object]:
    """Return a context in which BLAS runs on the calling thread only."""
    limit: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return limit


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
