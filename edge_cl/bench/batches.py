"""What comes many at a time: learning a set of samples, and the rows that wait for the sums.

A rate ends when an answer could be given: what a head puts off is done within the time.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from time import perf_counter

import numpy as np

from edge_cl.arrays import F64, U8
from edge_cl.bench.document import Percentiles
from edge_cl.bench.stream import percentiles
from edge_cl.features import MapSpec
from edge_cl.heads import HeadOptions
from edge_cl.learner import Learner
from edge_cl.moments import Moments
from edge_cl.sensor import features_bundle

__all__ = ["ROWS", "fold_times", "pictures_a_second", "rows_a_second"]

ROWS = 1024
_WAITING = 256  # rows that wait in the moments before they enter G
_REPEATS = 3  # of a rate, after one that does not count
_FOLDS = 20
_ENOUGH_S = 1.0


def rows_a_second(
    rows: F64, names: Sequence[str], *, head: str | HeadOptions, feature_map: str | MapSpec
) -> float:
    """Return how many of `rows` (n, d), of classes in turn, are learned a second."""
    learner = Learner.open(bundle=features_bundle(rows), head=head, feature_map=feature_map)
    labels = [names[i % len(names)] for i in range(len(rows))]
    return _rate(learner, rows, labels)


def pictures_a_second(
    learner: Learner, pictures: Sequence[U8] | Sequence[F64], names: Sequence[str]
) -> float:
    """Return how many pictures are encoded and learned a second."""
    return _rate(learner, pictures, [names[i % len(names)] for i in range(len(pictures))])


def fold_times(d: int, rng: np.random.Generator) -> Percentiles:
    """Time how a full block of waiting rows enters G: equation (3) of `edge_cl.moments`."""
    moments = Moments(d)
    q = rng.integers(-300, 300, (_WAITING, d)).astype(np.int16)
    y = np.zeros(_WAITING, np.int64)
    found: list[float] = []
    while len(found) < 4 or (len(found) <= _FOLDS and sum(found) < _ENOUGH_S * 1e3):
        moments.add(q, y)
        start = perf_counter()
        _ = moments.G
        found.append((perf_counter() - start) * 1e3)
    return percentiles(found[1:])


def _rate(learner: Learner, xs: Sequence[U8] | Sequence[F64] | F64, labels: Sequence[str]) -> float:
    took: list[float] = []
    for _ in range(1 + _REPEATS):
        start = perf_counter()
        learner.learn_many(xs, labels)
        learner.scores([])  # what was put off
        took.append(perf_counter() - start)
    return len(labels) / statistics.median(took[1:])
