"""What every head does with scores: unseen classes never win, and softmax for the rest."""

from __future__ import annotations

import numpy as np

from edge_cl.arrays import F64, I64

_FIRST = 128  # scores that are put in order at first


def mask_unseen(scores: F64, n: I64) -> F64:
    """Set the columns of classes without samples to -inf, in place; return `scores`."""
    unseen = n == 0
    if unseen.any():
        scores[:, unseen] = -np.inf
    return scores


def softmax(logits: F64) -> F64:
    """Return softmax over the last axis; -inf gives exactly 0."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def simplex_projection(scores: F64) -> F64:
    """Return the nearest point of the probability simplex to each row; -inf gives 0.

    The rule max(s - t, 0) with the t that makes the sum 1 (Held, Wolfe, Crowder 1974). It
    keeps the order of classes, and leaves what already is a distribution as it is. t depends
    on the scores above it alone: so few as a rule that the others need not be put in order.
    """
    # From the largest score down: the projection is the same, and 1 is not lost beside 1e17.
    scores = scores - scores.max(axis=-1, keepdims=True)
    k = scores.shape[-1]
    taken = min(_FIRST, k)
    while True:
        t, last = _threshold(_largest(scores, taken))
        if taken == k or (last < taken).all():  # a score that is outside proves all below it
            break
        taken = min(4 * taken, k)
    if np.isneginf(scores).any():
        scores = np.where(np.isfinite(scores), scores, t)
    return np.asarray(np.maximum(scores - t, 0.0))


def _threshold(ordered: F64) -> tuple[F64, I64]:
    """Return t, and how many scores are above it, of rows (n, m) in descending order."""
    seen = np.isfinite(ordered)
    sums = np.cumsum(np.where(seen, ordered, 0.0), axis=-1)
    count = np.arange(1, ordered.shape[-1] + 1)
    inside = seen & (ordered * count > sums - 1.0)
    last = inside.sum(axis=-1, keepdims=True)
    return (np.take_along_axis(sums, last - 1, axis=-1) - 1.0) / last, last


def _largest(scores: F64, m: int) -> F64:
    """Return the m largest of each row, in descending order."""
    if m < scores.shape[-1]:
        scores = np.partition(scores, -m, axis=-1)[..., -m:]
    return -np.sort(-scores, axis=-1)
