r"""Choosing ridge's λ by leaving out one group at a time.

A group is what hangs together: a session, a place, one instance of a thing, a person. Where
samples of one group resemble each other more than those of the next, leaving out single
samples, or a random tenth, tests on near-copies of what was learned and chooses λ far too
small. Leaving out the whole group asks what will be asked later: how well is a group
answered for that was never seen?

With the sums (Q, G) of all samples and (Q_g, G_g) of group g, exact differences of integers,

    G - G_g = V diag(e) Vᵀ,   A = Vᵀ (Q - Q_g)                                         (1)
    X_g W_λ = (X_g V) diag(1 / (e + λ)) A                                              (2)

are the scores of the group's samples X_g with weights that never saw it: one
eigendecomposition a group, then one product a candidate. From the scores S of all samples, each
left out once, two things are known: which are answered rightly, and the squared error

    E(λ) = Σ_g ‖Y_g - S_g‖²                                                            (3)

Right answers are what is wanted, but near their maximum they are flat and the maximum is luck.
E has one clear minimum, but not where answers are best: on objects in places never seen, it
gave away two points of accuracy. So both: of two candidates, let b samples be right with the
better one alone and c with the other alone; they cannot be told apart where

    b - c <= √(b + c)                                                                  (4)

one standard error of the difference (McNemar 1947). Chosen is the λ of least squared error
among those that cannot be told from the best.

A class that only one group shows is unknown while that group is left out. Its samples can
only be answered wrongly, with any λ; they are not counted, and their number is returned.

References
----------
McNemar. Note on the sampling error of the difference between correlated proportions or
    percentages. Psychometrika 12 (1947).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_cl.arrays import F64, I16, I64
from edge_cl.blas import one_thread
from edge_cl.errors import InputError
from edge_cl.heads.gcv import default_candidates
from edge_cl.moments import Moments

_BATCH = 1024  # rows answered at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRidgeChoice:
    """What was chosen, and from what.

    ridge : the λ of least error among those whose accuracy cannot be told from the best.
    candidates : all that were tried, in squared feature units, weakest first, shape (m,).
    accuracy : share of right answers for samples left out, shape (m,).
    error : mean squared error of a sample left out, shape (m,): (3), by their number.
    accuracy_of_group : the same for each group alone.
    unseen : group -> samples of classes that no other group has, where there are any; they do
        not count.
    """

    ridge: float
    candidates: F64
    accuracy: F64
    error: F64
    accuracy_of_group: dict[str, F64]
    unseen: dict[str, int]


def choose_ridge_by_group(
    groups: Mapping[str, tuple[I16, I64]],
    *,
    scale: float,
    mean_square_norm: float,
    candidates: F64 | None = None,
) -> GroupRidgeChoice:
    """Return the λ with which groups are answered best by the others.

    Parameters
    ----------
    groups : grid features (n, d) and class indices (n,) of each; class c is the same in all.
    scale : grid step of the features.
    mean_square_norm : E‖x‖²; without `candidates`, 41 values from 1e-4 to 1e4 times it.

    Raises
    ------
    InputError : fewer than two groups have samples, or no class is in two of them.
    """
    groups = {name: samples for name, samples in groups.items() if len(samples[1])}
    if len(groups) < 2:
        raise InputError(f"expected at least two groups with samples, got {len(groups)}")
    if len({q.shape[1] for q, _ in groups.values()}) > 1:
        raise InputError("expected groups of one number of features")
    if candidates is None:
        candidates = default_candidates(mean_square_norm)
    candidates = np.sort(candidates)
    everything = Moments(next(iter(groups.values()))[0].shape[1])
    for q, y in groups.values():
        everything.add(q, y)
    right: dict[str, NDArray[np.bool_]] = {}
    error = np.zeros(len(candidates))
    unseen: dict[str, int] = {}
    for name, (q, y) in groups.items():
        others = everything.copy()
        others.subtract(q, y)
        known = others.n[y] > 0
        if not known.all():
            unseen[name] = int((~known).sum())
        if known.any():
            right[name], squared = _answers(others, q[known], y[known], candidates / scale**2)
            error += squared
    if not right:
        raise InputError(
            "expected a class with samples in two groups",
            hint="a group is a session or a place; each should show the classes of the others",
        )
    every = np.concatenate(list(right.values()), axis=1)  # (m, N)
    return GroupRidgeChoice(
        ridge=float(candidates[_best(every, error)]),
        candidates=candidates,
        accuracy=every.mean(axis=1),
        error=error / every.shape[1],
        accuracy_of_group={name: hits.mean(axis=1) for name, hits in right.items()},
        unseen=unseen,
    )


def _answers(others: Moments, q: I16, y: I64, shifts: F64) -> tuple[NDArray[np.bool_], F64]:
    """Return which samples (n,) ridge over `others` answers rightly, for each λ, and (3)."""
    seen = np.flatnonzero(others.n)
    column = np.searchsorted(seen, y)
    right = np.zeros((len(shifts), len(y)), np.bool_)
    error = np.zeros(len(shifts))
    with one_thread():
        e, V = np.linalg.eigh(others.G)
        A, e = V.T @ others.Q[seen].T, np.maximum(e, 0.0)[:, None]  # (1)
        for start in range(0, len(y), _BATCH):
            rows = slice(start, start + _BATCH)
            turned, own = q[rows].astype(np.float64) @ V, column[rows]
            for i, shift in enumerate(shifts):
                scores = turned @ (A / (e + shift))  # (2)
                right[i, rows] = scores.argmax(axis=1) == own
                scores[np.arange(len(own)), own] -= 1.0
                error[i] += float(np.square(scores).sum())  # (3)
    return right, error


def _best(right: NDArray[np.bool_], error: F64) -> int:
    """Return the candidate of least error that cannot be told from the best by (4).

    right : (m, N).  error : (m,).
    """
    best = right[int(right.sum(axis=1).argmax())]
    lost, gained = (best & ~right).sum(axis=1), (right & ~best).sum(axis=1)
    return int(np.argmin(np.where(lost - gained <= np.sqrt(lost + gained), error, np.inf)))  # (4)
