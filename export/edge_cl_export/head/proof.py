r"""Whether a written head scores as the learner does, measured.

The file is loaded by the runtime's own runners and asked about rows that the learner answers
too. With S the learner's scores of the rows, S' those of the file,

    difference = max_i max_c |S'_ic - S_ic| / max(z_i, z),   z_i = max_c |S_ic|         (1)

z being the median of z_i: a difference counts in units of the row's largest score, or, where a
row has only small ones, of what rows usually have. Most rows are drawn as long as the encoder's
features are, others are hard for the grid: halfway between two steps, beyond its end, zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl.arrays import F32, F64, U8
from edge_cl.bundle import Bundle, EncoderSpec, load_parity
from edge_cl.encoders import load_network
from edge_cl.features import MapSpec, feature_map
from edge_cl.knowledge import Knowledge
from edge_cl.manifest import EmbeddingSpec, InputSpec
from edge_cl.moments import GRID_MAX

__all__ = ["difference", "encoder_inputs", "feature_rows", "scores_of_file", "scores_of_learner"]

_ROWS = 64
_INPUTS = 8
_SEED = 0


def difference(found: F64, expected: F64) -> float:
    """Return (1); infinite where anything is not a number."""
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("inf")
    largest, sizes = np.abs(found - expected).max(axis=1), np.abs(expected).max(axis=1)
    units = np.maximum(sizes, np.median(sizes))
    return float((largest / np.where(units > 0, units, 1.0)).max())  # (1)


def feature_rows(bundle: Bundle) -> F32:
    """Return rows of features (n, d) to compare on: the bundle's own, drawn ones, hard ones."""
    e, rng = bundle.manifest.embedding, np.random.default_rng(_SEED)
    drawn = rng.normal(size=(_ROWS, e.d)) * np.sqrt(e.mean_square_norm / e.d)
    steps = np.rint(drawn[: _ROWS // 4] / e.scale)
    halves = (np.clip(steps, -GRID_MAX + 1, GRID_MAX - 1) + 0.5) * e.scale
    beyond = drawn[: _ROWS // 16] * (2 * GRID_MAX * e.scale / np.abs(drawn).max())
    rows = np.concatenate([drawn, halves, beyond, np.zeros((1, e.d))])
    rows = rows if e.signed else np.abs(rows)
    known = load_parity(bundle)
    own = known.features if known is not None else np.zeros((0, e.d))
    return np.concatenate([own, rows]).astype(np.float32)


def encoder_inputs(bundle: Bundle) -> NDArray[Any]:
    """Return prepared inputs (n, *shape) to compare on: the bundle's own, and drawn ones."""
    spec, rng = bundle.manifest.input, np.random.default_rng(_SEED)
    drawn: NDArray[Any]
    if spec.kind == "image":
        drawn = np.stack([_waves(spec, rng) for _ in range(_INPUTS)])
    else:
        drawn = rng.normal(size=(_INPUTS, *spec.shape)).astype(np.float32)
    known = load_parity(bundle)
    return drawn if known is None else np.concatenate([known.inputs.astype(drawn.dtype), drawn])


def scores_of_learner(
    known: Knowledge, spec: MapSpec, embedding: EmbeddingSpec, classes: Sequence[int]
) -> Callable[[F32], F64]:
    """Return what scores features (n, d) as the learner does, for some classes."""
    grid = feature_map(spec, embedding)
    return lambda x: known.head.scores(grid(x))[:, list(classes)]


def scores_of_file(blob: bytes, *, tflite: bool, inputs: str, rows: NDArray[Any]) -> F64:
    """Return the scores (n, k) that a written head gives, a row at a time.

    Raises
    ------
    BackendError : the runtime cannot load it.
    MissingExtraError : the runtime is not installed.
    """
    spec = EncoderSpec(
        member="head.tflite" if tflite else "head.onnx",
        runtime="litert" if tflite else "onnx",
        precision="fp32",
        recipe="",
        input_name=inputs,
        output_name="scores",
    )
    runner = load_network(spec, blob, 1)
    found = [runner.run(rows[i : i + 1]) for i in range(len(rows))]
    return np.concatenate(found).astype(np.float64)


def _waves(spec: InputSpec, rng: np.random.Generator) -> U8:
    height, width, _ = spec.shape
    y, x = np.mgrid[:height, :width] / max(height, width)
    picture = np.zeros((height, width, 3))
    for _ in range(4):
        across, down, phase = rng.uniform(-12, 12, 3)
        wave = np.sin(2 * np.pi * (across * x + down * y) + phase)
        picture += wave[..., None] * rng.uniform(-40, 40, 3)
    return np.clip(128 + picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
