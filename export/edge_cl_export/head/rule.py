r"""What a head does with grid features, as numbers.

Most heads are affine: with any c, and for q = c + h e_j, a step along feature j,

    s(q) = (q - c) W + s(c),   W_j = (s(c + h e_j) - s(c)) / h                          (1)

so d + 1 of its answers are the head, whatever it is solved from. c is the mean of what was
learned, on the grid: q - c is exact, and small where q is like that, so that float32 loses
least. Nearest means by cosine have a norm to divide by,

    s(q) = (q - c) W / ‖q - c‖,   W_c = u(μ_c - c),   c = 0, or the mean of all samples (2)

u being the unit vector of its argument, 0 of 0. An ensemble of E discriminants takes E blocks
of features and answers with the log of their mean softmax,

    s(q) = log (1/E) Σ_e softmax((q_e - c_e) W_e + b_e)                                 (3)

FeCAM is none of these: it has d² numbers for each class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_cl.arrays import F32, F64, I16, I64
from edge_cl.errors import ExportError, InputError, StateError
from edge_cl.heads import (
    BalancedRidgeOptions,
    Head,
    HeadOptions,
    KalmanOptions,
    LDAOptions,
    NearestMeanOptions,
    RidgeOptions,
)
from edge_cl.knowledge import Knowledge
from edge_cl.moments import Moments
from edge_cl.specs import described

__all__ = ["Rule", "chosen_classes", "read_rule"]

_STEP = 1024  # h of (1): a power of two, so that dividing by it is exact
_ROWS = 256  # of (1) at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """(1), (2) where `unit`, or (3) where `offset` has several rows.

    centre : c, (d,).
    weights : W, (d, k); of (3) the blocks one below the other.
    offset : s(c), (1, k); of (3) b, (E, k); of (2) zeros.
    kept : which columns are the scores; of (3) the others are needed for its softmax.
    """

    centre: F32
    weights: F32
    offset: F32
    unit: bool
    kept: tuple[int, ...]


def chosen_classes(known: Knowledge, among: Sequence[str] | None) -> list[int]:
    """Return the classes to export, in the learner's order: those with samples, of `among`.

    Raises
    ------
    StateError : nothing has been learned.
    InputError : a label of `among` is unknown, or has no sample.
    """
    n = known.moments.n
    if not n.any():
        raise StateError("nothing has been learned yet", hint="learn something first")
    if among is None:
        return [int(c) for c in np.flatnonzero(n)]
    asked = {known.labels.known(label) for label in among}
    for c in sorted(asked):
        if not n[c]:
            raise InputError(f"the class {known.labels[c]!r} has no sample, so it has no score")
    if not asked:
        raise InputError("expected at least one class, got none")
    return sorted(asked)


def read_rule(known: Knowledge, classes: Sequence[int]) -> Rule:
    """Return the rule of the head that serves, for some classes.

    Raises
    ------
    ExportError : the head is none of (1) to (3).
    """
    options, columns = known.options[0], np.array(classes, np.int64)
    if isinstance(options, NearestMeanOptions) and options.metric != "euclidean":
        return _cosines(known.moments, columns, centred=options.metric == "centred-cosine")
    if isinstance(options, LDAOptions) and options.members > 1:
        return _ensemble(known, columns, options.members)
    if isinstance(options, _AFFINE):
        return _affine(known.head, known.moments, columns)
    raise ExportError(_refusal(options), hint="export another head of the same state: --head ridge")


_AFFINE = (
    RidgeOptions,
    BalancedRidgeOptions,
    KalmanOptions,
    LDAOptions,
    NearestMeanOptions,
)


def _refusal(options: HeadOptions) -> str:
    return (
        f"the head {described(options)} cannot be exported: "
        "its scores are quadratic in the features, with a matrix for each class"
    )


def _affine(head: Head, moments: Moments, columns: I64) -> Rule:
    d, centre = moments.d, _mean_on_grid(moments)
    at_centre = head.scores(centre[None])[:, columns]
    W = np.empty((d, len(columns)))
    for start in range(0, d, _ROWS):
        features = np.arange(start, min(start + _ROWS, d))
        q = np.repeat(centre[None], len(features), axis=0)
        q[np.arange(len(features)), features] += _STEP
        W[features] = (head.scores(q)[:, columns] - at_centre) / _STEP  # (1)
    return _rule(centre, W, at_centre, unit=False)


def _cosines(moments: Moments, columns: I64, *, centred: bool) -> Rule:
    Q, n = moments.Q[columns], moments.n[columns]
    if not centred:
        return _rule(np.zeros(moments.d), _unit(Q).T, np.zeros((1, len(Q))), unit=True)
    N, total = moments.samples, moments.Q.sum(axis=0)
    directions = N * Q - n[:, None] * total  # of μ_c - c, in integers
    return _rule(total / N, _unit(directions).T, np.zeros((1, len(Q))), unit=True)  # (2)


def _ensemble(known: Knowledge, columns: I64, members: int) -> Rule:
    m, tensors = known.moments, known.head.tensors()
    seen, centre = np.flatnonzero(m.n), _mean_on_grid(m)
    W, bias = tensors["W"][:, seen], tensors["bias"].reshape(members, m.k)[:, seen]
    blocks = W.reshape(members, m.d // members, len(seen))
    offset = np.einsum("ed,edk->ek", centre.reshape(members, -1).astype(np.float64), blocks) - bias
    kept = tuple(np.searchsorted(seen, columns).tolist())
    return _rule(centre, W, offset, unit=False, kept=kept)  # (3)


def _rule(
    centre: I16 | F64, W: F64, offset: F64, *, unit: bool, kept: tuple[int, ...] | None = None
) -> Rule:
    found = Rule(
        centre=centre.astype(np.float32),
        weights=W.astype(np.float32),
        offset=offset.astype(np.float32),
        unit=unit,
        kept=kept if kept is not None else tuple(range(W.shape[1])),
    )
    for a in (found.centre, found.weights, found.offset):
        if not np.isfinite(a).all():
            raise ExportError("the head's weights do not fit into float32")
    return found


def _mean_on_grid(moments: Moments) -> I16:
    mean: F64 = moments.Q.sum(axis=0) / max(moments.samples, 1)
    return np.rint(mean).astype(np.int16)


def _unit(x: F64) -> F64:
    norm = np.sqrt(np.square(x).sum(axis=1, keepdims=True))
    return np.asarray(x / np.where(norm > 0, norm, 1.0))
