r"""The feature map in front of a head, as steps that any runtime can compute.

What `edge_cl.features` does with features x, written as arrays and numbers:

    grid      q = rint(clip(x / scale, ±2047))                                         (1)
    signs     h = min(⌊max(q B, 0) / 2ˢ + r⌋, 2047), B of signs, r = ½ where s > 0      (2)
    sphere    grid of x / ‖x‖                                                          (3)
    power     grid of sign(x) |x|^β                                                    (4)
    waves     grid of a cos(w · q Z + b)                                               (5)

(1) and (2) are exact in float32: scales are powers of two, and all sums are integers below
2²⁴. In (3) to (5) the runtime computes in float64 before it rounds, and so must whoever wants
the same grid feature: in plain float32 one row of 200 has a feature a step away (l2, d = 1280).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_cl import fourier
from edge_cl.arrays import F64, I16
from edge_cl.bundle import EmbeddingSpec
from edge_cl.errors import ExportError
from edge_cl.features import L2, Identity, MapSpec, Power, RandomReLU, feature_map

__all__ = ["GRID", "Grid", "Powers", "Signs", "Sphere", "Step", "Waves", "map_name", "map_steps"]

GRID = 2047.0
_SMALLEST, _LARGEST = 2.0**-120, 2.0**120  # scales whose inverse float32 holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """(1)."""

    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """(2); `signs` is B (d, m), `shift` is s."""

    signs: NDArray[np.int8]
    shift: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sphere:
    """(3); a zero vector stays zero. `unit` is a power of two near the length of a usual x."""

    scale: float
    unit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Powers:
    """(4)."""

    beta: float
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Waves:
    """(5); `frequencies` is Z (m, d) in steps of `per_step` = w, `phases` is b (m,)."""

    frequencies: I16
    phases: F64
    per_step: float
    amplitude: float
    scale: float


Step = Grid | Signs | Sphere | Powers | Waves


def map_steps(spec: MapSpec, embedding: EmbeddingSpec) -> tuple[Step, ...]:
    """Return what brings features of `embedding` to the grid features that the head takes.

    Raises
    ------
    ExportError : the grid step is outside of what float32 can divide by.
    """
    made = feature_map(spec, embedding)
    for scale in (embedding.scale, made.scale):
        if not _SMALLEST <= scale <= _LARGEST:
            raise ExportError(f"expected a grid step in 2^-120..2^120, got {scale:g}")
    grid = Grid(scale=embedding.scale)
    if isinstance(spec, Identity):
        return (grid,)
    if isinstance(spec, L2):
        unit = 2.0 ** round(math.log2(embedding.mean_square_norm) / 2)
        return (Sphere(scale=made.scale, unit=unit),)
    if isinstance(spec, Power):
        return (Powers(beta=spec.beta, scale=made.scale),)
    if isinstance(spec, RandomReLU):
        shift = round(math.log2(made.scale / embedding.scale))
        return grid, Signs(signs=_signs(embedding.d, spec.m, spec.seed), shift=shift)
    frequencies, phases = fourier.draw(embedding.d, spec.m, spec.seed)
    gamma = 0.1 / embedding.mean_square_norm if spec.gamma is None else spec.gamma
    return grid, Waves(
        frequencies=frequencies,
        phases=phases,
        per_step=math.sqrt(2.0 * gamma) * embedding.scale * fourier.STEP,
        amplitude=math.sqrt(2.0 * spec.members / spec.m),
        scale=made.scale,
    )


def map_name(step: Step) -> str:
    """Return the name of the map that a step belongs to, as users type it."""
    return _NAMES[type(step)]


_NAMES = {
    Grid: "identity", Signs: "random-relu", Sphere: "l2", Powers: "power", Waves: "fourier",
}  # fmt: skip


def _signs(d: int, m: int, seed: int) -> NDArray[np.int8]:
    """Return B (d, m), as `edge_cl.features` says it is drawn."""
    words = np.random.Philox(key=seed).random_raw(-(-d * m // 64)).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8), bitorder="little")[: d * m]
    signs: NDArray[np.int8] = (bits.astype(np.int8) * 2 - 1).reshape(d, m)
    return signs
