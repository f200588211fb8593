"""Frozen maps from the encoder's features to the integer grid that moments are made of.

A feature x becomes q = rint(x / scale), clipped to |q| <= 2047: twelve bits and a sign.
Scales are powers of two, so the division is exact. Five maps:

    identity        q                                                              (1)
    l2              grid(x / ‖x‖), scale 2⁻¹¹                                      (2)
    random-relu     min(relu(q B) >> s, 2047), B a (d, m) matrix of signs ±1       (3)
    power           grid(sign(x) |x|^β)                                            (4)
    fourier         grid(√(2E/m) cos(√(2γ) x Z + b)), Z normal, b uniform          (5)

(1) and (3) are integer arithmetic: the same bits on every processor. (2), (4) and (5) round
a norm, a power, a cosine: the same bits on one machine, within one grid step between
machines.

B in (3) is not stored. Bit i·m + j of the raw output of the counter-based generator
Philox-4x64-10 (Salmon et al. 2011) with the map's seed as key, taken as little-endian
64-bit words, is set where B_ij = +1. A Gaussian B gives the same accuracy, but no two
libraries draw the same Gaussian. Random features with ridge are ACIL (Zhuang et al. 2022)
and RanPAC (McDonnell et al. 2023).

The spread of B is part of the regulariser: H times s with λ times s² is the same classifier.
Ours and RanPAC's, drawn from N(0, 1), have variance 1, so λ is the same number. ACIL's code
draws from U(-1/√d, 1/√d), of variance 1/(3d) (its successor's paper says normal): a λ given
there is 3d times as large here.

(4) is Tukey's ladder of powers: it draws in the long tail that rectified features have, so
that a class looks more like one Gaussian. The sign makes it a map for signed features too.
Its grid holds the power of everything that the encoder's grid holds. Where the mean of the
squares is known but not how they spread, concavity bounds them after the map:

    Σ_j |x_j|^2β <= d (‖x‖² / d)^β, equality where all |x_j| are one               (6)

(5) is the map of KLDA (Momeni et al. 2025): products of mapped features are the kernel,

    φ(x)·φ(y) = exp(-γ ‖x - y‖²) + O(1/√m)                                         (7)

γ is what that paper and its code call σ. The draw of Z and b is written down in
`edge_cl.fourier`; x is taken from the encoder's grid, so that x Z is exact. Z takes 2 m d
bytes (5 MB for 2048 features of 1280, where the signs of (3) take 0.3), a row 0.7 ms, a
row of many 0.2 ms (one core of a server). Without a γ it is 0.1 / E‖x‖² of the bundle. The
usual advice, one over the median of ‖x - y‖², is 0.94 / E‖x‖² for the shipped encoder on
Fashion-MNIST; there LDA behind 2048 features answers .874 right with that, .878 with 0.2,
.880 with 0.1, .882 with 0.05 (5,000 pictures learned, 2,000 asked, mean of four seeds).
"""

from __future__ import annotations

import math
import re
from typing import Protocol

import msgspec
import numpy as np

from edge_cl import fourier, kernels
from edge_cl.arrays import F32, F64, I16, U8
from edge_cl.blas import one_thread
from edge_cl.bundle import EmbeddingSpec
from edge_cl.errors import InputError
from edge_cl.moments import GRID_MAX

__all__ = [
    "L2",
    "FeatureMap",
    "Identity",
    "MapSpec",
    "Power",
    "RandomFourier",
    "RandomReLU",
    "feature_map",
    "grid_step",
    "map_named",
    "to_grid",
]

_DEFAULT_GAMMA = 0.1  # in units of 1 / E‖x‖²; measured, see above
_BAND = 128  # features of (5) at a time: all of Z as float64 would be four times Z


class Identity(msgspec.Struct, frozen=True, tag="identity"):
    """The encoder's features as they are."""


class L2(msgspec.Struct, frozen=True, tag="l2"):
    """The features on the unit sphere; a zero vector stays zero."""


class RandomReLU(msgspec.Struct, frozen=True, tag="random-relu"):
    """`m` random rectified combinations of the features (a multiple of 8), drawn from `seed`."""

    m: int = 2048
    seed: int = 0


class Power(msgspec.Struct, frozen=True, tag="power"):
    """Each feature to the power `beta`, in (0, 1], its sign kept; 1 is the identity."""

    beta: float = 0.5


class RandomFourier(msgspec.Struct, frozen=True, tag="fourier"):
    """`m` random Fourier features of the Gaussian kernel, drawn from `seed`.

    gamma : γ of (5), in 1 / squared feature units; None stands for 0.1 / E‖x‖² of the bundle.
    members : E of (5); each of E equal blocks is a map of its own, for as many heads.
    """

    m: int = 2048
    gamma: float | None = None
    seed: int = 0
    members: int = 1


MapSpec = Identity | L2 | RandomReLU | Power | RandomFourier

_BY_NAME: dict[str, MapSpec] = {
    "identity": Identity(),
    "l2": L2(),
    "power": Power(),
    "random-relu": RandomReLU(),
    "fourier": RandomFourier(),
}


class FeatureMap(Protocol):
    """What a learner needs of a map.

    d : features that come out.
    scale : the grid step of what comes out.
    mean_square_norm : expected ‖h‖² of what comes out, in squared feature units; for `power`
        the bound (6) on it.
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
    if isinstance(spec, Power):
        return _Power(spec, embedding)
    if isinstance(spec, RandomFourier):
        return _Fourier(spec, embedding)
    return _RandomReLU(spec, embedding)


def map_named(name: str) -> MapSpec:
    """Parse a map as the command line writes it: see the hint of its error."""
    kind, _, value = name.partition(":")
    if name in _BY_NAME:
        return _BY_NAME[name]
    if kind == "random-relu" and re.fullmatch(r"[0-9]{1,9}", value):
        return RandomReLU(m=int(value))
    if kind == "power" and re.fullmatch(r"[01]|[01]?\.[0-9]{1,9}", value):
        return Power(beta=float(value))
    if kind == "fourier" and (
        given := re.fullmatch(
            r"([0-9]{1,9})(?::([0-9]{0,9}\.?[0-9]{1,9}(?:e-?[0-9]{1,2})?))?", value
        )
    ):
        m, gamma = given.groups()
        return RandomFourier(m=int(m), gamma=None if gamma is None else float(gamma))
    raise InputError(
        f"unknown feature map {name!r}",
        hint="one of: identity, l2, power, power:BETA, random-relu, random-relu:M, fourier, "
        "fourier:M, fourier:M:GAMMA",
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


class _Power:
    def __init__(self, spec: Power, embedding: EmbeddingSpec) -> None:
        if not 0.0 < spec.beta <= 1.0:
            raise InputError(f"expected beta in (0, 1], got {spec.beta}")
        self._beta = float(spec.beta)
        self.d = embedding.d
        largest = (GRID_MAX * embedding.scale) ** self._beta
        self.scale = 2.0 ** math.ceil(math.log2(largest / GRID_MAX))
        mean = embedding.mean_square_norm / embedding.d
        self.mean_square_norm = embedding.d * mean**self._beta  # (6)

    def __call__(self, x: F32) -> I16:
        powers = np.abs(x, dtype=np.float64) ** self._beta
        return to_grid(np.copysign(powers, x), self.scale)  # (4)


class _RandomReLU:
    def __init__(self, spec: RandomReLU, embedding: EmbeddingSpec) -> None:
        if not 8 <= spec.m <= 1 << 15 or spec.m % 8:
            raise InputError(f"expected m, a multiple of 8 in 8..32768, got {spec.m}")
        _check_seed(spec.seed)
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


class _Fourier:
    def __init__(self, spec: RandomFourier, embedding: EmbeddingSpec) -> None:
        if not 1 <= spec.m <= 1 << 15:
            raise InputError(f"expected m in 1..32768, got {spec.m}")
        if spec.members < 1 or spec.m % spec.members:
            raise InputError(f"expected members, a divisor of m = {spec.m}, got {spec.members}")
        _check_seed(spec.seed)
        unit = 1.0 / embedding.mean_square_norm
        gamma = _DEFAULT_GAMMA * unit if spec.gamma is None else spec.gamma
        if not 1e-6 * unit <= gamma <= 1e6 * unit:  # all cosines alike on the grid, or noise
            raise InputError(
                f"expected gamma in {1e-6 * unit:.3g}..{1e6 * unit:.3g}, got {gamma}",
                hint=f"without one it is {_DEFAULT_GAMMA * unit:.3g}",
            )
        self.d = spec.m
        self._scale_in = embedding.scale
        self._Z, self._phases = fourier.draw(embedding.d, spec.m, spec.seed)
        self._per_step = math.sqrt(2.0 * gamma) * embedding.scale * fourier.STEP
        self._amplitude = math.sqrt(2.0 * spec.members / spec.m)
        # One less than the grid has: 2047 counts as clipped
        self.scale = 2.0 ** math.ceil(math.log2(self._amplitude / (GRID_MAX - 1)))
        self.mean_square_norm = float(spec.members)  # (7) at x = y

    def __call__(self, x: F32) -> I16:
        q = to_grid(x, self._scale_in).astype(np.float64)
        h = np.empty((len(x), self.d), np.int16)
        with one_thread():
            for start in range(0, self.d, _BAND):
                band = slice(start, start + _BAND)
                angle = q @ self._Z[band].astype(np.float64).T  # integers below 2^53: exact
                angle *= self._per_step
                angle += self._phases[band]
                h[:, band] = to_grid(self._amplitude * np.cos(angle), self.scale)  # (5)
        return h


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 1 << 64:
        raise InputError(f"expected a seed in 0..2^64-1, got {seed}")
