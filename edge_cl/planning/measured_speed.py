"""How fast this machine is: copies of several sizes, a product, a little Python. Under a second.

A copy of a byte moves two, reading alone moves one: how much a head moves a second lies between
what is measured for both. Each is measured in rounds, of which the best and the middle count, by
the time of the thread itself: what others take of its core is not this machine's speed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import thread_time

import numpy as np

from edge_cl.blas import one_thread
from edge_cl.planning.span import Assumption, Span
from edge_cl.planning.speed import Speed

__all__ = ["measure_speed"]

_SIZES = (256 << 10, 2 << 20, 8 << 20, 48 << 20)  # bytes of one array
_ROUNDS = 7
_PRODUCT = 256
_PYTHON_US = 60.0  # what `_python` takes on the machine of reference
_HERE = "measured here, just now"


def measure_speed() -> Speed:
    """Measure this machine, on one core."""
    levels = [(2.0 * size, _moving(size)) for size in _SIZES]
    product, python = _products(), _rounds(_python)
    slowness = Span(python.least * 1e6 / _PYTHON_US, python.most * 1e6 / _PYTHON_US)
    memory = levels[-1][1]
    return Speed(
        bandwidth=tuple(levels),
        products=product,
        python=slowness,
        assumptions=(
            Assumption(
                f"one core moves {memory.least / 1e9:.1f} to {memory.most / 1e9:.1f} GB/s",
                _HERE,
                True,
            ),
            Assumption(
                f"it multiplies at {product.likely / 1e9:.0f} GFLOP/s in float64", _HERE, True
            ),
            Assumption(
                f"Python is {slowness.likely:.1f} times slower than where its share was measured",
                _HERE,
                True,
            ),
        ),
    )


def _moving(size: int) -> Span:
    """Return bytes a second that reading, and copying, an array of `size` bytes moves."""
    source = np.ones(size // 8)
    target = np.zeros_like(source)
    often = max(1, (4 << 20) // size)

    def copy() -> None:
        for _ in range(often):
            np.copyto(target, source)

    def read() -> None:
        for _ in range(often):
            source.sum()

    found = [often * 2 * size / _rounds(copy).likely, often * size / _rounds(read).likely]
    return Span(min(found), max(found))


def _products() -> Span:
    a = np.random.default_rng(0).standard_normal((_PRODUCT, _PRODUCT))
    with one_thread():
        taken = _rounds(lambda: a @ a)
    return Span(2 * _PRODUCT**3 / taken.most, 2 * _PRODUCT**3 / taken.least)


def _python() -> None:
    """Do what a lesson does between kernels: small arrays, small calls."""
    x, counts = np.arange(16.0), dict.fromkeys(range(8), 0)
    for i in range(50):
        counts[i % 8] += int(np.abs(x[:8]).argmax())
        x = x + 1.0


def _rounds(call: Callable[[], object]) -> Span:
    """Return the least and the middle of seconds that `call` takes."""
    call()
    taken = []
    for _ in range(_ROUNDS):
        start = thread_time()
        call()
        taken.append(thread_time() - start)
    return Span(min(taken), statistics.median(taken))
