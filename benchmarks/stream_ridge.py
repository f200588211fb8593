"""How λ of ridge is chosen on a stream in which samples hang together, and what that costs.

Each way of choosing is judged twice: by the accuracy on groups of the learned samples (sessions,
or tenths of the objects) left out in turn, and by the accuracy on the test rows. The yardstick
is a sweep over all candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from stream_fits import Stream

from edge_cl.arrays import F64, I16, I64
from edge_cl.features import FeatureMap
from edge_cl.heads.gcv import choose_ridge, default_candidates
from edge_cl.heads.group_choice import choose_ridge_by_group
from edge_cl.heads.penalty import DEFAULT_RIDGE
from edge_cl.moments import Moments


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One way to choose λ.

    ridge : λ in units of E‖x‖².
    left_out : accuracy on groups left out.  test : accuracy on the test rows.
    """

    ridge: float
    left_out: float
    test: float


def choices(stream: Stream, protocol: str, to_grid: FeatureMap) -> dict[str, Choice]:
    """Return each way to choose λ, and the best of the sweep by either accuracy."""
    asked, group = stream.parts[protocol], stream.groups[protocol]
    q, y, unit = to_grid(stream.x), stream.y, to_grid.mean_square_norm
    q_test, y_test = to_grid(stream.x_test[asked]), stream.y_test[asked]
    known: dict[str, Any] = {"scale": to_grid.scale, "mean_square_norm": unit}
    groups = {str(g): (q[group == g], y[group == g]) for g in np.unique(group)}
    everything = _sums(q, y)
    candidates = np.append(default_candidates(unit), DEFAULT_RIDGE * unit)
    shifts = candidates / to_grid.scale**2

    hits = np.zeros(len(candidates))
    for left_q, left_y in groups.values():
        hits += _hits(everything, _sums(left_q, left_y), left_q, left_y, shifts)
    left_out = hits / len(q)
    nothing = Moments(everything.d)
    test = _hits(everything, nothing, q_test, y_test, shifts) / len(q_test)

    def choice(number: int) -> Choice:
        return Choice(
            ridge=float(candidates[number] / unit),
            left_out=float(left_out[number]),
            test=float(test[number]),
        )

    by_group, gcv = choose_ridge_by_group(groups, **known), choose_ridge(everything, **known)
    return {
        "default": choice(len(candidates) - 1),
        "gcv": choice(int(np.flatnonzero(candidates == gcv.ridge)[0])),
        "by group": choice(int(np.flatnonzero(candidates == by_group.ridge)[0])),
        "best left out": choice(int(left_out.argmax())),
        "best tested": choice(int(test.argmax())),
    }


def _sums(q: I16, y: I64) -> Moments:
    moments = Moments(q.shape[1])
    moments.grow(int(y.max()) + 1)
    moments.add(q, y)
    return moments


def _hits(everything: Moments, without: Moments, q: I16, y: I64, shifts: F64) -> F64:
    """Return how many rows ridge answers rightly for each λ, fitted to all but some sums."""
    Q = everything.Q.copy()
    Q[: without.k] -= without.Q
    e, V = np.linalg.eigh(everything.G - without.G)
    turned, A = q.astype(np.float64) @ V, V.T @ Q.T
    e = np.maximum(e, 0.0)[:, None]
    return np.array([(np.argmax(turned @ (A / (e + s)), axis=1) == y).sum() for s in shifts])
