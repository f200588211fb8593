"""What every head does with scores: unseen classes never win, and softmax for the rest."""

from __future__ import annotations

import numpy as np

from edge_cl.arrays import F64, I64


def mask_unseen(scores: F64, n: I64) -> F64:
    """Set the columns of classes without samples to -inf, in place; return `scores`."""
    scores[:, n == 0] = -np.inf
    return scores


def softmax(logits: F64) -> F64:
    """Return softmax over the last axis; -inf gives exactly 0."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def simplex_projection(scores: F64) -> F64:
    """Return the nearest point of the probability simplex to each row; -inf gives 0.

    The rule max(s - t, 0) with the t that makes the sum 1 (Held, Wolfe, Crowder 1974). It
    keeps the order of classes, and leaves what already is a distribution as it is.
    """
    # From the largest score down: the projection is the same, and 1 is not lost beside 1e17.
    scores = scores - scores.max(axis=-1, keepdims=True)
    ordered = -np.sort(-scores, axis=-1)
    seen = np.isfinite(ordered)
    sums = np.cumsum(np.where(seen, ordered, 0.0), axis=-1)
    count = np.arange(1, scores.shape[-1] + 1)
    inside = seen & (ordered * count > sums - 1.0)
    last = inside.sum(axis=-1, keepdims=True)
    t = (np.take_along_axis(sums, last - 1, axis=-1) - 1.0) / last
    return np.asarray(np.maximum(np.where(np.isfinite(scores), scores, t) - t, 0.0))
