"""How much of a tensor's values 8 bits are spent on: four ways to choose a range.

A range [a, b] is quantised with levels v_l, and always holds zero::

    asymmetric  s = (b - a) / 255,  z = round(-a / s),  v_l = (l - z) s,  l = 0..255      (1)
    symmetric   s = max(-a, b) / 127,                   v_l = l s,        l = -127..127   (2)

``minmax``      everything that was seen.
``percentileP`` P percent of the values; the rest is cut off, half of it at either end.
``mse``         least expected squared error over the histogram, each value at the middle c_i
                of its bin, n_i of them::

                    E(a, b) = Σ_i n_i min_l (c_i - v_l)²                                  (3)

``entropy``     least divergence of what is left from what was (Migacz, 8-bit inference with
                TensorRT, 2017)::

                    KL(P‖Q) = Σ_i P_i log(P_i / Q_i)                                      (4)

                P: the counts of the bins inside, with those outside added to the bin at their
                end. Q: the counts of the bins inside, *without* those outside, summed over the
                bins of each level and spread over those of them where P is not zero. With the
                cut-off counts in Q too, cutting off would cost nothing and the narrowest range
                would win. A bin that P has and Q has not, where cut-off counts fall into a gap,
                has `SMALL` counts in Q: KL would be infinite, and a lone value far out would
                keep its whole range. Ranges have at least `BINS_A_LEVEL` bins a level: with
                one, Q = P and a coarse grid would look free.

The values that are exactly zero count for the percentile only: no range changes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

from edge_cl.arrays import F64, I64
from edge_cl.errors import InputError
from edge_cl_export.quantise.histogram import Histogram

__all__ = [
    "Range",
    "chosen_range",
    "chosen_ranges",
    "divergence",
    "percentile_range",
    "squared_error",
]

Range = tuple[float, float]

COARSE, FINE = 32, 256  # shares of an end that are tried: on a grid, and around its best
ENTROPY_STEPS = 128
BINS_A_LEVEL = 2
SMALL = 1e-4
_PERCENTILE = re.compile(r"percentile(\d+(?:\.\d+)?)")


def chosen_ranges(
    histograms: Mapping[str, Histogram], method: str, *, symmetric: bool = False
) -> dict[str, Range]:
    """Return the range of each tensor; see `chosen_range`."""
    return {
        name: chosen_range(histogram, method, symmetric=symmetric)
        for name, histogram in histograms.items()
    }


def chosen_range(histogram: Histogram, method: str, *, symmetric: bool = False) -> Range:
    """Return the range of a tensor.

    Parameters
    ----------
    method : "minmax", "percentile99.99" (or any other number above 50), "mse" or "entropy".
    symmetric : whether the levels will be those of (2); "mse" and "entropy" mind.

    Raises
    ------
    InputError : another method.
    """
    low, high = histogram.low, histogram.high
    if method == "minmax":
        return low, high
    if method in ("mse", "entropy"):
        if not histogram.counts.any():
            return low, high
        return (_least_error if method == "mse" else _least_divergence)(histogram, symmetric)
    match = _PERCENTILE.fullmatch(method)
    if match is None or not 50.0 < float(match[1]) <= 100.0:
        raise InputError(
            f"no ranges are chosen by {method!r}",
            hint="minmax, percentileP with P above 50 and up to 100, mse, entropy",
        )
    counts = histogram.counts.copy()
    if histogram.zeros:
        counts[-histogram.first] += histogram.zeros
    start = histogram.first * histogram.width
    stop = start + len(counts) * histogram.width
    left, right = percentile_range(counts, start, stop, float(match[1]))
    return max(left, low), min(right, high)


def percentile_range(counts: I64, low: float, high: float, percentile: float) -> Range:
    """Return the range that holds `percentile` of the values counted between low and high."""
    tail = (1.0 - percentile / 100.0) / 2.0
    share = np.cumsum(counts) / max(int(counts.sum()), 1)
    edges = np.linspace(low, high, len(counts) + 1)
    first = int(np.searchsorted(share, tail, side="right"))
    last = int(np.searchsorted(share, 1.0 - tail, side="left"))
    return float(edges[min(first, len(counts) - 1)]), float(edges[min(last + 1, len(counts))])


def squared_error(histogram: Histogram, a: F64, b: F64, *, symmetric: bool = False) -> F64:
    """Return E of (3) for each range a[j] <= 0 <= b[j], (m,)."""
    n, c = histogram.counts.astype(np.float64), histogram.centres
    n_sum, c_sum = (np.concatenate([[0.0], np.cumsum(x)]) for x in (n, n * c))
    levels = _levels(a, b, symmetric)  # (m, levels)
    between = (levels[:, :-1] + levels[:, 1:]) / (2.0 * histogram.width)
    # Of two levels the nearer one: a bin belongs to the upper one from their middle on.
    cut = np.clip(np.ceil(between - histogram.first - 0.5), 0, len(n)).astype(np.intp)
    ends = np.zeros((len(cut), 1), dtype=np.intp)
    cut = np.concatenate([ends, cut, ends + len(n)], axis=1)
    error: F64 = float(n @ c**2) + np.sum(
        levels**2 * np.diff(n_sum[cut], axis=1) - 2.0 * levels * np.diff(c_sum[cut], axis=1),
        axis=1,
    )  # (3)
    return error


def divergence(histogram: Histogram, a: float, b: float, *, symmetric: bool = False) -> float:
    """Return KL(P‖Q) of (4) for the range [a, b]."""
    levels = _levels(np.array([a]), np.array([b]), symmetric)[0]
    step = levels[1] - levels[0]
    c = histogram.centres
    first, last = np.searchsorted(c, (a, b))
    if first == last:
        return np.inf
    inside = histogram.counts[first:last].astype(np.float64)
    p = inside.copy()
    p[0] += histogram.counts[:first].sum()
    p[-1] += histogram.counts[last:].sum()
    level = np.clip(np.rint((c[first:last] - levels[0]) / step), 0, len(levels) - 1)
    level = level.astype(np.intp)
    there = p > 0
    mass = np.bincount(level, inside, len(levels))
    spread_over = np.bincount(level, there, len(levels))
    q = np.maximum((mass / np.maximum(spread_over, 1.0))[level][there], SMALL)
    p = p[there]
    return float(p @ np.log((p / p.sum()) / (q / q.sum())) / p.sum())  # (4)


def _levels(a: F64, b: F64, symmetric: bool) -> F64:
    """Return v_l of each range, (m, 256), or (m, 255) where they are symmetric."""
    if symmetric:
        step = np.maximum(-a, b) / 127.0
        return np.arange(-127, 128) * step[:, None]  # (2)
    step = (b - a) / 255.0
    zero = np.rint(-a / step)
    levels: F64 = (np.arange(256) - zero[:, None]) * step[:, None]  # (1)
    return levels


def _least_error(histogram: Histogram, symmetric: bool) -> Range:
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)

    def best(of_low: F64, of_high: F64) -> tuple[float, float]:
        x, y = (side.ravel() for side in np.meshgrid(of_low, of_high, indexing="ij"))
        at = int(np.argmin(squared_error(histogram, low * x, high * y, symmetric=symmetric)))
        return float(x[at]), float(y[at])

    whole = np.ones(1)
    if low == 0.0 or high == 0.0 or symmetric:
        shares = _shares(FINE)
        if symmetric:
            most = max(-low, high)
            errors = squared_error(histogram, -most * shares, most * shares, symmetric=True)
            reach = most * float(shares[int(np.argmin(errors))])
            return max(low, -reach), min(high, reach)
        x, y = best(shares, whole) if high == 0.0 else best(whole, shares)
        return low * x, high * y
    x, y = best(_shares(COARSE), _shares(COARSE))
    x, y = best(_around(x), _around(y))
    return low * x, high * y


def _shares(count: int) -> F64:
    """Return 1, ..., 2/count, 1/count: of equals, the widest is taken."""
    shares: F64 = np.arange(count, 0, -1) / count
    return shares


def _around(share: float) -> F64:
    near = round(share * FINE) + np.arange(FINE // COARSE - 1, -(FINE // COARSE), -1)
    shares: F64 = near[(near > 0) & (near <= FINE)] / FINE
    return shares


def _least_divergence(histogram: Histogram, symmetric: bool) -> Range:
    """Search one end after the other, the upper one twice."""
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    least = BINS_A_LEVEL * 256 * histogram.width
    shares = _shares(ENTROPY_STEPS)

    def best(range_at: Callable[[float], Range]) -> float:
        found = [
            divergence(histogram, *range_at(share), symmetric=symmetric)
            if share == 1.0 or range_at(share)[1] - range_at(share)[0] >= least
            else np.inf
            for share in shares.tolist()
        ]
        return float(shares[int(np.argmin(found))])

    if symmetric:
        most = max(-low, high)
        reach = most * best(lambda share: (max(low, -most * share), min(high, most * share)))
        return max(low, -reach), min(high, reach)
    x = y = 1.0
    if high > 0.0:
        y = best(lambda share: (low * x, high * share))
    if low < 0.0:
        x = best(lambda share: (low * share, high * y))
        if high > 0.0:
            y = best(lambda share: (low * x, high * share))
    return low * x, high * y
