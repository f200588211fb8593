r"""A p90 that is not flattered by luck: the early-stopping rule of MLPerf Inference.

Of q queries some are slower than a bound L. If no more than nine in ten were faster in truth,
each would be slower with a probability of at least 1 - p, p = 0.9, and that t or fewer are had

    P(X <= t) = Σ_{i<=t} C(q, i) (1 - p)^i p^(q-i)                                     (1)

Take the largest t for which (1) is at most 1 - c, c = 0.99. Then L may be the t-th slowest
query: drop the t - 1 slowest and take the slowest of the rest. It is above the true p90 with a
confidence of c. t must be 1 at least, for which 64 queries are needed: fewer give no bound.

MLPerf has a tolerance d besides, 0 in its rules. Queries count as independent, which those of a
board that grows warm are not: then `edge_cl.bench.sustained` shows more than any percentile.

References
----------
MLCommons. MLPerf Inference rules, "Early stopping"; LoadGen, early_stopping.cc.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["CONFIDENCE", "FEWEST", "conservative_p90", "queries_above"]

CONFIDENCE = 0.99
FEWEST = 64  # queries for which t = 1
_P = 0.9


def queries_above(queries: int, *, p: float = _P, confidence: float = CONFIDENCE) -> int:
    """Return the t of (1); 0 or less where there is none."""
    if queries < 1:
        return 0
    i = np.arange(min(queries, math.ceil(queries * (1 - p)) + 1))  # (1) is about ½ at the mean
    ratios = np.log((queries - i) / (i + 1.0)) + math.log((1 - p) / p)
    terms = queries * math.log(p) + np.concatenate([[0.0], np.cumsum(ratios)])
    at_most = np.logaddexp.accumulate(terms)  # log of (1), for t = 0, 1, ...
    return int(np.count_nonzero(at_most <= math.log(1 - confidence))) - 1


def conservative_p90(values: Sequence[float]) -> float | None:
    """Return the bound L, or None where there are too few values."""
    t = queries_above(len(values))
    if t < 1:
        return None
    return float(np.sort(np.asarray(values))[len(values) - t])  # t - 1 are slower
