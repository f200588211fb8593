"""Heads under test, and samples for them."""

import numpy as np

from edge_cl.heads import (
    HEADS,
    BalancedRidgeOptions,
    FeCAMOptions,
    KalmanOptions,
    LDAOptions,
    RidgeOptions,
    build_head,
)
from edge_cl.manifest import EmbeddingSpec
from edge_cl.moments import Moments
from edge_cl.presets import PRESETS

CASES = {
    **HEADS,
    "lda-fixed": LDAOptions(shrinkage=0.1),
    "lda-least": LDAOptions(shrinkage=1e-6),
    "lda-total": LDAOptions(covariance="total"),
    "lda-absolute": LDAOptions(shrinkage=1e-6, covariance="total", absolute=1.0),
    "lda-ledoit-wolf": LDAOptions(shrinkage="ledoit-wolf", covariance="total"),
    "lda-ensemble": LDAOptions(members=3),
    "lda-ensemble-total": LDAOptions(members=2, shrinkage=0.01, covariance="total", absolute=0.1),
    "ridge-strong": RidgeOptions(ridge=50.0),
    "ridge-simplex": RidgeOptions(targets="simplex"),
    "kalman-still": KalmanOptions(forgetting=1.0),
    "kalman-call": KalmanOptions(clock="call"),
    "kalman-fast": KalmanOptions(forgetting=0.7, ridge=5.0, noise=0.1),
    "aef-sampled": BalancedRidgeOptions(method="aef-sampled", seed=7),
    "fecam-mahalanobis": FeCAMOptions(off_diagonal=0.0, correlation=False, unit=False),
}

SCALE = 2.0**-8
_EMBEDDING = EmbeddingSpec(d=6, scale=SCALE, signed=True, mean_square_norm=24.0)

CASES |= {
    f"preset-{name}": preset.head_for(_EMBEDDING)
    for name, preset in PRESETS.items()
    if preset.head_for(_EMBEDDING) not in CASES.values()
}


class Follower:
    """Moments with one head over them, kept together as the learner does."""

    def __init__(self, options, d, moments=None):
        members = getattr(options, "members", 1)
        self.moments = moments or Moments(d * members, statistics=options.promise.statistics)
        # E‖x‖² of features uniform over a quarter of the grid
        self.head = build_head(
            options, self.moments, scale=SCALE, mean_square_norm=d * (512 * SCALE) ** 2
        )
        if members > 1:
            self.head = _Widened(self.head, members)

    def learn(self, q, y):
        q = self._wide(q)
        self.moments.add(q, y)
        self.head.update(q, y, +1)

    def forget(self, q, y):
        q = self._wide(q)
        self.moments.subtract(q, y)
        self.head.update(q, y, -1)

    def scores(self, q):
        return self.head.scores(q)

    def _wide(self, q):
        return widened(q, self.moments.d // q.shape[1])


class _Widened:
    """An ensemble, asked with the features that the first of its members sees."""

    def __init__(self, head, members):
        self._head, self._members = head, members

    def __getattr__(self, name):
        return getattr(self._head, name)

    def scores(self, q):
        return self._head.scores(widened(q, self._members))

    def probabilities(self, scores, q):
        return self._head.probabilities(scores, widened(q, self._members))

    def frozen(self):
        scorer = self._head.frozen()
        return lambda q: scorer(widened(q, self._members))


def widened(q, members):
    """Features for `members` heads: each sees them coarser than the one before it."""
    return np.concatenate([q // (e + 1) for e in range(members)], axis=1).astype(np.int16)


def batch(options, q, y, k=0):
    """The head solved once, from all samples together."""
    follower = Follower(options, q.shape[1])
    follower.learn(q, y)
    follower.moments.grow(k)
    follower.head.refresh()
    return follower
