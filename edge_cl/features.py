"""Frozen maps from the encoder's features to the integer grid that moments are made of.

A feature x becomes q = rint(x / scale), clipped to |q| <= 2047: twelve bits and a sign.
Scales are powers of two, so the division is exact. Three maps:

    identity        q                                                              (1)
    l2              grid(x / ‖x‖), scale 2⁻¹¹                                      (2)
    random-relu     min(relu(q B) >> s, 2047), B a (d, m) matrix of signs ±1       (3)

(1) and (3) are integer arithmetic: the same bits on every processor. (2) divides by a
rounded norm: the same bits on one machine, within one grid step between machines.

B in (3) is not stored. Bit i·m + j of the raw output of the counter-based generator
Philox-4x64-10 (Salmon et al. 2011) with the map's seed as key, taken as little-endian
64-bit words, is set where B_ij = +1. A Gaussian B gives the same accuracy, but no two
libraries draw the same Gaussian. Random features with ridge are ACIL (Zhuang et al. 2022)
and RanPAC (McDonnell et al. 2023).
"""

from __future__ import annotations

import math
from typing import Protocol

import msgspec
import numpy as np

from edge_cl import kernels
from edge_cl.arrays import F32, F64, I16, U8
from edge_cl.bundle import EmbeddingSpec
from edge_cl.errors import InputError
from edge_cl.moments import GRID_MAX

__all__ = [
    "L2",
    "FeatureMap",
    "Identity",
    "MapSpec",
    "RandomReLU",
    "feature_map",
    "grid_step",
    "map_named",
    "to_grid",
]


class Identity(msgspec.Struct, frozen=True, tag="identity"):
    """The encoder's features as they are."""


class L2(msgspec.Struct, frozen=True, tag="l2"):
    """The features on the unit sphere; a zero vector stays zero."""


class RandomReLU(msgspec.Struct, frozen=True, tag="random-relu"):
    """`m` random rectified combinations of the features (a multiple of 8), drawn from `seed`."""

    m: int = 2048
    seed: int = 0


MapSpec = Identity | L2 | RandomReLU


class FeatureMap(Protocol):
    """What a learner needs of a map.

    d : features that come out.
    scale : the grid step of what comes out.
    mean_square_norm : expected ‖h‖² of what comes out, in squared feature units.
    """

    d: int
    scale: float
    mean_square_norm: float

    def __call__(self, x: F32) -> I16:
        """Map finite features (n, d_in) float32 to the grid, (n, d) int16."""


def feature_map(spec: MapSpec, embedding: EmbeddingSpec) -> FeatureMap:
    """Return the map `spec` over the features that `embedding` describes."""
    if isinstance(spec, Identity):
        return _Grid(embedding)
    if isinstance(spec, L2):
        return _Sphere(embedding.d)
    return _RandomReLU(spec, embedding)


def map_named(name: str) -> MapSpec:
    """Parse `identity`, `l2`, `random-relu` or `random-relu:M`, as the command line writes it."""
    kind, _, width = name.partition(":")
    number = width.isascii() and width.isdigit() and len(width) < 10
    if kind == "random-relu" and (not width or number):
        return RandomReLU(m=int(width)) if width else RandomReLU()
    if name == "identity":
        return Identity()
    if name == "l2":
        return L2()
    raise InputError(
        f"unknown feature map {name!r}", hint="one of: identity, l2, random-relu, random-relu:M"
    )


def grid_step(largest: float) -> float:
    """Return the smallest power of two that puts 1.25·`largest` inside the grid.

    The quarter is room for inputs that the calibration did not show.
    """
    if not (math.isfinite(largest) and largest > 0):
        raise InputError(f"expected the largest |feature| to be a positive number, got {largest}")
    return 2.0 ** math.ceil(math.log2(1.25 * largest / GRID_MAX))


def to_grid(x: F32 | F64, scale: float) -> I16:
    """Return rint(x / scale), clipped to the grid; x finite float32."""
    q = np.rint(x * np.float64(1.0 / scale))
    return np.clip(q, -GRID_MAX, GRID_MAX).astype(np.int16)


class _Grid:
    def __init__(self, embedding: EmbeddingSpec) -> None:
        self.d = embedding.d
        self.scale = embedding.scale
        self.mean_square_norm = embedding.mean_square_norm

    def __call__(self, x: F32) -> I16:
        return to_grid(x, self.scale)  # (1)


class _Sphere:
    scale = 2.0**-11
    mean_square_norm = 1.0

    def __init__(self, d: int) -> None:
        self.d = d

    def __call__(self, x: F32) -> I16:
        norm = np.sqrt(np.square(x, dtype=np.float64).sum(axis=1, keepdims=True))
        return to_grid(x / np.where(norm > 0, norm, 1.0), self.scale)  # (2)


class _RandomReLU:
    def __init__(self, spec: RandomReLU, embedding: EmbeddingSpec) -> None:
        if not 8 <= spec.m <= 1 << 15 or spec.m % 8:
            raise InputError(f"expected m, a multiple of 8 in 8..32768, got {spec.m}")
        if not 0 <= spec.seed < 1 << 64:
            raise InputError(f"expected a seed in 0..2^64-1, got {spec.seed}")
        if embedding.d * GRID_MAX >= 1 << 24:
            raise InputError(f"expected d <= 8192 for exact sums in float32, got {embedding.d}")
        self.d = spec.m
        self._scale_in = embedding.scale
        self._bits = _sign_bits(embedding.d, spec.m, spec.seed)
        # A sum q·B has standard deviation ‖q‖; four of them fill the grid.
        spread = 4 * math.sqrt(embedding.mean_square_norm) / embedding.scale
        self._shift = max(0, math.ceil(math.log2(spread / GRID_MAX)))
        self.scale = embedding.scale * 2.0**self._shift
        self.mean_square_norm = embedding.mean_square_norm * spec.m / 2  # relu halves E(qB)²

    def __call__(self, x: F32) -> I16:
        h = np.empty((len(x), self.d), np.int16)
        kernels.sign_product(to_grid(x, self._scale_in), self._bits, self._shift, h)  # (3)
        return h


def _sign_bits(d: int, m: int, seed: int) -> U8:
    words = np.random.Philox(key=seed).random_raw(-(-d * m // 64))
    return words.astype("<u8").view(np.uint8)[: d * m // 8].reshape(d, m // 8)
