"""Counts of a tensor's values, kept while they stream by, in bounded memory.

Bin i holds the values of [i·w, (i+1)·w), with w = 2ᵏ for the smallest k at which everything
seen fits into `BINS` bins. When k grows, neighbours merge into bins twice as wide, without
loss: what is counted depends neither on the order of the values nor on how they were batched.

Values that are exactly zero are counted apart. Zero is always a level of the quantised tensor
and costs nothing, and behind a ReLU it would outweigh all the rest.
"""

from __future__ import annotations

import math

import numpy as np

from edge_cl.arrays import F32, F64, I64
from edge_cl.errors import ExportError

__all__ = ["BINS", "Histogram"]

BINS = 4096
FINEST = 20  # bits: w is at least 2⁻²⁰ of the largest value, about what float32 resolves
SMALLEST = -80  # k of a tensor of zeros
_CHUNK = 1 << 16  # values at a time: their bins stay in the cache


class Histogram:
    """See the module.

    Attributes
    ----------
    low, high : smallest and largest value.
    exponent : k; the width of a bin is 2ᵏ.
    first : i of the first bin.
    counts : of the values that are not zero.
    zeros : how many are.
    """

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        self.exponent = SMALLEST
        self.first = 0
        self.counts: I64 = np.zeros(0, dtype=np.int64)
        self.zeros = 0

    def add(self, values: F32, name: str = "an activation") -> None:
        """Count `values`, of any shape; `name` says whose they are, for the message.

        Raises
        ------
        ExportError : one is not finite.
        """
        flat = values.ravel()
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ExportError(f"{name} is not finite on the calibration pictures")
        self._cover(min(low, self.low), max(high, self.high))
        per_unit = np.float32(math.ldexp(1.0, -self.exponent))
        for start in range(0, len(flat), _CHUNK):
            chunk = flat[start : start + _CHUNK]
            bins = np.floor(chunk * per_unit).astype(np.intp)  # exact: a power of two
            bins -= self.first
            self.counts += np.bincount(bins, minlength=len(self.counts))
        zeros = flat.size - int(np.count_nonzero(flat))
        if zeros:
            self.counts[-self.first] -= zeros
            self.zeros += zeros

    @property
    def width(self) -> float:
        """w, the width of a bin."""
        return math.ldexp(1.0, self.exponent)

    @property
    def centres(self) -> F64:
        """Middle of each bin."""
        middle: F64 = np.arange(0.5, len(self.counts), dtype=np.float64) + self.first
        return middle * self.width

    def _cover(self, low: float, high: float) -> None:
        """Widen the bins, and add some at both ends, until [low, high] lies inside."""
        exponent = _exponent(low, high)
        if len(self.counts):
            self._merge(exponent - self.exponent)
        first, last = _bin(low, exponent), _bin(high, exponent)
        before = self.first - first if len(self.counts) else 0
        counts = np.zeros(last - first + 1, dtype=np.int64)
        counts[before : before + len(self.counts)] = self.counts
        self.low, self.high, self.exponent = low, high, exponent
        self.first, self.counts = first, counts

    def _merge(self, doublings: int) -> None:
        """Make bins 2**doublings as wide."""
        if not doublings:
            return
        bins = np.arange(self.first, self.first + len(self.counts)) >> doublings
        counts = np.zeros(int(bins[-1] - bins[0]) + 1, dtype=np.int64)
        np.add.at(counts, bins - bins[0], self.counts)
        self.first, self.counts = int(bins[0]), counts


def _bin(value: float, exponent: int) -> int:
    return math.floor(math.ldexp(value, -exponent))


def _exponent(low: float, high: float) -> int:
    """Return the smallest k at which the bins from low to high are at most `BINS`."""
    exponent = max(math.frexp(max(-low, high))[1] - FINEST, SMALLEST)
    while _bin(high, exponent) - _bin(low, exponent) >= BINS:
        exponent += 1
    return exponent
