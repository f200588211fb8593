"""Heads under test, and samples for them."""

from edge_cl.heads import HEADS, LDAOptions, RidgeOptions, build_head
from edge_cl.manifest import EmbeddingSpec
from edge_cl.moments import Moments
from edge_cl.presets import PRESETS

CASES = {
    **HEADS,
    "lda-fixed": LDAOptions(shrinkage=0.1),
    "lda-least": LDAOptions(shrinkage=1e-6),
    "lda-total": LDAOptions(covariance="total"),
    "lda-absolute": LDAOptions(shrinkage=1e-6, covariance="total", absolute=1.0),
    "ridge-strong": RidgeOptions(ridge=50.0),
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
        self.moments = moments or Moments(d)
        # E‖x‖² of features uniform over a quarter of the grid
        self.head = build_head(
            options, self.moments, scale=SCALE, mean_square_norm=d * (512 * SCALE) ** 2
        )

    def learn(self, q, y):
        self.moments.add(q, y)
        self.head.update(q, y, +1)

    def forget(self, q, y):
        self.moments.subtract(q, y)
        self.head.update(q, y, -1)

    def scores(self, q):
        return self.head.scores(q)


def batch(options, q, y, k=0):
    """The head solved once, from all samples together."""
    follower = Follower(options, q.shape[1])
    follower.learn(q, y)
    follower.moments.grow(k)
    follower.head.refresh()
    return follower
