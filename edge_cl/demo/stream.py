"""A class-incremental stream: group after group, one picture at a time, tested in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_cl.arrays import F32, F64, I16, I64
from edge_cl.bundle import Bundle
from edge_cl.demo.pictures import LabelledPictures, PictureSet
from edge_cl.demo.sgd import SoftmaxSGD
from edge_cl.encoders import Encoder
from edge_cl.features import FeatureMap, Identity, feature_map
from edge_cl.heads import HEADS, Head, build_head
from edge_cl.moments import Moments
from edge_cl.results import StageTimes
from edge_cl.stopwatch import Stopwatch

__all__ = ["StreamReport", "run_stream"]

SHOWN_HEADS = ("ridge", "lda", "ncm")
_RATES = (0.1, 1.0, 10.0, 100.0)  # the contrast gets the best of them


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReport:
    """Accuracy on all classes seen so far, after each group of classes.

    classes_seen : after each group.
    accuracy : head -> accuracy after each group.
    joint_accuracy : head -> of the same head fitted to everything at once, shuffled.
    joint_difference : head -> largest difference of a score, relative to the largest score.
    sgd_accuracy : of the softmax layer, after each group, with the rate that ends best.
    sgd_shuffled : of the softmax layer over the same samples in random order, with the rate
        that is best there: what the order costs it.
    stages : median milliseconds a picture.
    """

    name: str
    train: int
    test: int
    classes_seen: list[int]
    accuracy: dict[str, list[float]]
    joint_accuracy: dict[str, float]
    joint_difference: dict[str, float]
    sgd_accuracy: list[float]
    sgd_rate: float
    sgd_shuffled: float
    stages: StageTimes


def run_stream(
    pictures: PictureSet,
    bundle: Bundle,
    encoder: Encoder,
    *,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> StreamReport:
    """Teach `pictures` group by group and test after each group on the classes seen so far."""
    report = progress or (lambda what, share: None)
    rng = np.random.default_rng(seed)
    to_grid = feature_map(Identity(), bundle.manifest.embedding)
    classes = [str(c) for c in rng.permutation(pictures.classes)]
    index = {name: i for i, name in enumerate(classes)}
    x_test = _features(pictures.test, encoder, lambda s: report("encoding test pictures", s))
    y_test = np.array([index[label] for label in pictures.test.labels], np.int64)
    y_train = np.array([index[label] for label in pictures.train.labels], np.int64)

    moments = Moments(to_grid.d)
    heads = _heads(moments, to_grid)
    contrasts = _contrasts(len(classes), to_grid)
    accuracy: dict[str, list[float]] = {name: [] for name in heads}
    sgd: dict[float, list[float]] = {rate: [] for rate in _RATES}
    times: list[StageTimes] = []
    learned_x: list[F32] = []
    learned_y: list[I64] = []
    seen: list[int] = []
    for group in np.array_split(np.arange(len(classes)), pictures.groups):
        order = rng.permutation(np.flatnonzero(np.isin(y_train, group)))
        for i in order:
            watch = Stopwatch()
            prepared = encoder.prepare(pictures.train.pictures[i])
            watch.lap("prepare")
            x = encoder.encode(prepared[None])
            watch.lap("encode")
            q, y = to_grid(x), y_train[i : i + 1]
            watch.lap("map")
            if moments.samples:
                heads["ridge"].probabilities(heads["ridge"].scores(q), q)
            watch.lap("predict")
            moments.add(q, y)
            heads["ridge"].update(q, y, +1)
            watch.lap("learn")
            times.append(watch.times())
            for name in SHOWN_HEADS[1:]:
                heads[name].update(q, y, +1)
            for contrast in contrasts.values():
                contrast.learn(x, y)
            learned_x.append(x)
            learned_y.append(y)
            report("learning", len(times) / len(y_train))
        seen.append(int(group[-1]) + 1)
        known = y_test < seen[-1]
        for name, head in heads.items():
            accuracy[name].append(_accuracy(head, to_grid(x_test[known]), y_test[known]))
        for rate, contrast in contrasts.items():
            right = contrast.predict(x_test[known]) == y_test[known]
            sgd[rate].append(float(right.mean()))

    best = max(_RATES, key=lambda rate: sgd[rate][-1])
    shuffle = rng.permutation(len(learned_y))
    x_all, y_all = np.concatenate(learned_x)[shuffle], np.concatenate(learned_y)[shuffle]
    joint = _joint(to_grid(x_all), y_all, to_grid)
    q_test = to_grid(x_test)
    return StreamReport(
        name=pictures.name,
        train=len(y_train),
        test=len(y_test),
        classes_seen=seen,
        accuracy=accuracy,
        joint_accuracy={name: _accuracy(joint[name], q_test, y_test) for name in heads},
        joint_difference={
            name: _difference(heads[name].scores(q_test), joint[name].scores(q_test))
            for name in heads
        },
        sgd_accuracy=sgd[best],
        sgd_rate=best,
        sgd_shuffled=max(
            _shuffled(contrast, x_all, y_all, x_test, y_test)
            for contrast in _contrasts(len(classes), to_grid).values()
        ),
        stages=_median(times),
    )


def _features(
    pictures: LabelledPictures, encoder: Encoder, progress: Callable[[float], None]
) -> F32:
    rows = []
    for i, picture in enumerate(pictures.pictures):
        rows.append(encoder.encode(encoder.prepare(picture)[None]))
        progress((i + 1) / len(pictures.pictures))
    return np.concatenate(rows)


def _heads(moments: Moments, to_grid: FeatureMap) -> dict[str, Head]:
    return {
        name: build_head(
            HEADS[name],
            moments,
            scale=to_grid.scale,
            mean_square_norm=to_grid.mean_square_norm,
        )
        for name in SHOWN_HEADS
    }


def _contrasts(k: int, to_grid: FeatureMap) -> dict[float, SoftmaxSGD]:
    return {
        rate: SoftmaxSGD(to_grid.d, k, rate=rate, mean_square_norm=to_grid.mean_square_norm)
        for rate in _RATES
    }


def _shuffled(contrast: SoftmaxSGD, x: F32, y: I64, x_test: F32, y_test: I64) -> float:
    contrast.learn(x, y)
    return float((contrast.predict(x_test) == y_test).mean())


def _joint(q: I16, y: I64, to_grid: FeatureMap) -> dict[str, Head]:
    moments = Moments(to_grid.d)
    moments.add(q, y)
    return _heads(moments, to_grid)


def _accuracy(head: Head, q: I16, y: I64) -> float:
    return float((np.argmax(head.scores(q), axis=1) == y).mean())


def _difference(a: F64, b: F64) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def _median(times: list[StageTimes]) -> StageTimes:
    return StageTimes(
        prepare=float(np.median([t.prepare for t in times])),
        encode=float(np.median([t.encode for t in times])),
        map=float(np.median([t.map for t in times])),
        predict=float(np.median([t.predict for t in times])),
        learn=float(np.median([t.learn for t in times])),
    )
