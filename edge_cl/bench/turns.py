"""One turn of the stream: a lesson, what it left to do, and a prediction.

A prediction and a lesson come in turn, so that a drift of the machine's speed touches both alike.
Between them the head is asked for no scores at all: that makes it do what it had put off, LDA its
solution and ridge its waiting rows, and leaves the answer itself to the prediction (`flush`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np

from edge_cl.arrays import F64, U8
from edge_cl.bench.document import STAGES
from edge_cl.bundle import Bundle
from edge_cl.learner import Learner

__all__ = ["COLUMNS", "LESSON", "PREDICTION", "inputs_for", "turn"]

PREDICTION, LESSON = "a prediction", "a lesson"
COLUMNS = (*STAGES, PREDICTION, LESSON)
_PICTURE = (480, 640, 3)  # what a cheap camera delivers
_INPUTS = 16


def inputs_for(bundle: Bundle, rng: np.random.Generator) -> list[U8] | list[F64]:
    """Return a few inputs that the bundle's encoder takes: noise takes as long as a picture."""
    spec = bundle.manifest.input
    if spec.kind == "image":
        return [rng.integers(0, 256, _PICTURE, np.uint8) for _ in range(_INPUTS)]
    spread = float(np.sqrt(bundle.manifest.embedding.mean_square_norm / spec.shape[0]))
    return [rng.standard_normal(spec.shape[0]) * spread for _ in range(_INPUTS)]


def turn(
    learner: Learner,
    inputs: Sequence[U8] | Sequence[F64],
    names: Sequence[str],
    rng: np.random.Generator,
) -> Callable[[], tuple[float, ...]]:
    """Return what takes a turn, and returns milliseconds in the order of `COLUMNS`."""

    def take() -> tuple[float, ...]:
        i, j, c = rng.integers((len(inputs), len(inputs), len(names)))
        taught = learner.learn(inputs[i], names[c]).stage_ms
        start = perf_counter()
        learner.scores([])
        flush = (perf_counter() - start) * 1e3
        asked = learner.predict(inputs[j]).stage_ms
        return (
            asked.prepare,
            asked.encode,
            asked.map,
            taught.learn,
            taught.commit,
            flush,
            asked.predict,
            asked.total,
            taught.total,
        )

    return take
