r"""What a head has to do for a sample: bytes that move, multiplications, Python in between.

With d features behind the map, k classes, M = 8 d² bytes of a matrix, T = 4 d (d + 1) of its
lower triangle, V = 8 d k, and d' = d + 128 (`edge_cl.blas`: bands of 128 rows):

    learn     ridge     T + 8·32·2 d + 3 V bytes, 2 d² + 4 d k operations of a kernel       (1)
              kalman    as (1)
              others    the row itself, 18 d bytes; O(d) operations
    pause     sums      256 d d' in float32, 2 T bytes: rows waiting enter G                (2)
              ridge     64 d d', 4 T bytes: rows waiting enter the inverse; and (2)         (3)
              kalman    (3), 2 M bytes
    flush     ridge, kalman, nearest   nothing; centred 6 V bytes
              lda       10 M + 8 T bytes; k d d'; factorisation d³/3 + 2 d² k               (4)
              balanced  8 M + 4 T bytes (air: 5 k M more), k d d' + 2 d² k; d³              (5)
              fecam     20 M bytes, d³ of an inverse: one class                             (6)
    whole     ridge, kalman   6 M bytes, 2 d² k; d³ of an inverse                           (7)
              fecam     k times (6);  others as flush
    predict   V bytes, 2 d k operations; kalman T bytes more, fecam k M                     (8)
    map       identity 22 d bytes; random-relu 17 d_in d, fourier 18 d_in d of a row        (9)

learn is a lesson in which nothing is folded; pause is what the longest one has besides: the sums
each 256th, the inverse each 64th, at worst both at once. flush comes between a lesson and the next
answer; whole is the first answer after a state was opened and something learned, or after many
lessons at once. A product of few rows reads and writes a triangle and its temporary; (2) does in
float32. Where k > d, lda goes by the inverse, d³. Operations are two a multiply-add, a
factorisation d³/3, an inverse d³ (`edge_cl.heads.triangular`).

Python's part is measured (`_LEARN` ... in µs of the machine they were measured on), and grows with
k where an answer is a dict of all classes. Where a head has just read a large matrix, Python finds
nothing of its own in the caches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_cl.features import MapSpec, Power, RandomFourier, RandomReLU
from edge_cl.heads import (
    BalancedRidgeOptions,
    FeCAMOptions,
    HeadOptions,
    KalmanOptions,
    LDAOptions,
    NearestMeanOptions,
    RidgeOptions,
)

__all__ = ["STAGES", "Part", "Work", "work_of"]

STAGES = ("map", "learn", "pause", "flush", "whole", "predict")

# µs of Python and of NumPy's calls on the machine of benchmarks/results/planning-x86-64.json
_LEARN: dict[type[HeadOptions], float] = {RidgeOptions: 85.0, KalmanOptions: 115.0}
_LEARN_ELSE = 72.0
_FLUSH, _FOLD, _SOLVE = 25.0, 250.0, 300.0
_PREDICT, _PREDICT_A_CLASS = 32.0, 0.3
_FECAM_A_CLASS = 11.0
_MAP = 5.0
# Bytes read that leave no cache to Python, and how much slower it is then; and where they leave
# nothing at all to it, or a solution was computed in between
_EVICTS, _COLD = 2e6, 1.8
_EVICTS_ALL, _COLDEST = 16e6, 3.0

Kind = Literal["kernel", "product", "single", "factor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Bytes and operations that overlap: whichever takes longer is what it takes.

    kind : of the operations: loops of a kernel, products in float64 or single precision, or a
        factorisation of a matrix of `d` rows.
    touches : bytes that are read over and over; which memory they fit in decides the rate.
    reading : whether nothing is written.
    """

    moved: float = 0.0
    touches: float = 0.0
    operations: float = 0.0
    kind: Kind = "kernel"
    d: int = 0
    reading: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Parts that follow each other, and µs of Python on the machine of reference."""

    parts: tuple[Part, ...]
    python_us: float


def work_of(
    stage: str, d_in: int, d: int, k: int, head: HeadOptions, feature_map: MapSpec | None
) -> Work:
    """Return the work of one of `STAGES` for one sample: d features of d_in, k classes."""
    if stage == "pause":
        return _pause(d, head)
    if stage in ("flush", "whole"):
        return _whole(d, k, head) if stage == "whole" else _flush(d, k, head)
    if stage == "map":
        found = _map(d_in, d, feature_map)
    else:
        found = _learn(d, k, head) if stage == "learn" else _predict(d, k, head)
    read = k * _matrix(d) if isinstance(head, FeCAMOptions) else _triangle(d)
    cold = 1.0
    if read > _EVICTS and not isinstance(head, NearestMeanOptions):
        solved = not isinstance(head, RidgeOptions | KalmanOptions)
        cold = _COLDEST if solved or read > _EVICTS_ALL else _COLD
    return Work(parts=found.parts, python_us=found.python_us * cold)


def _learn(d: int, k: int, head: HeadOptions) -> Work:
    python = _LEARN.get(type(head), _LEARN_ELSE)
    if not isinstance(head, RidgeOptions | KalmanOptions):
        return Work(parts=(Part(moved=18 * d, touches=18 * d),), python_us=python)
    inverse = _triangle(d) / (
        2 if isinstance(head, RidgeOptions) and head.inverse == "single" else 1
    )
    moved = inverse + 8 * 32 * 2 * d + 3 * _weights(d, k)
    touches = inverse + 8 * 64 * d + _weights(d, k)
    lesson = Part(moved=moved, touches=touches, operations=2 * d * d + 4 * d * k)  # (1)
    return Work(parts=(lesson,), python_us=python)


def _pause(d: int, head: HeadOptions) -> Work:
    triangle, columns = _triangle(d), d * (d + 128)
    parts = [Part(moved=2 * triangle, touches=triangle, operations=256 * columns, kind="single")]
    if isinstance(head, RidgeOptions | KalmanOptions):
        again = 2 * _matrix(d) if isinstance(head, KalmanOptions) else 0
        parts.append(
            Part(
                moved=4 * triangle + again,
                touches=triangle,
                operations=64 * columns,
                kind="product",
            )
        )  # (3)
    return Work(parts=tuple(parts), python_us=_FOLD)  # (2)


def _flush(d: int, k: int, head: HeadOptions) -> Work:
    matrix, triangle = _matrix(d), _triangle(d)
    if isinstance(head, LDAOptions):
        solved = (d**3 / 3 if k <= d else d**3) + 2 * d * d * k
        return Work(
            parts=(
                Part(moved=10 * matrix + 8 * triangle, touches=2 * matrix),
                Part(operations=k * d * (d + 128), kind="product"),
                Part(operations=solved / head.members**2, kind="factor", d=d // head.members),
            ),
            python_us=_SOLVE,
        )  # (4)
    if isinstance(head, BalancedRidgeOptions):
        own = 5 * k * matrix if head.method == "air" else 0
        return Work(
            parts=(
                Part(moved=8 * matrix + 4 * triangle + own, touches=2 * matrix + own),
                Part(operations=k * d * (d + 128) + 2 * d * d * k, kind="product"),
                Part(operations=d**3, kind="factor", d=d),
            ),
            python_us=_SOLVE,
        )  # (5)
    if isinstance(head, FeCAMOptions):
        return Work(parts=_one_class(d), python_us=_SOLVE)
    centred = isinstance(head, NearestMeanOptions) and head.metric == "centred-cosine"
    means = 6 * _weights(d, k) if centred else 0.0
    return Work(parts=(Part(moved=means, touches=means / 2),), python_us=_FLUSH)


def _whole(d: int, k: int, head: HeadOptions) -> Work:
    if isinstance(head, RidgeOptions | KalmanOptions):
        matrix = _matrix(d)
        return Work(
            parts=(
                Part(moved=6 * matrix, touches=2 * matrix),
                Part(operations=2 * d * d * k, kind="product"),
                Part(operations=d**3, kind="factor", d=d),
            ),
            python_us=_SOLVE,
        )  # (7)
    if isinstance(head, FeCAMOptions):
        return Work(parts=_one_class(d) * k, python_us=_SOLVE * k)
    return _flush(d, k, head)


def _predict(d: int, k: int, head: HeadOptions) -> Work:
    table, python = _weights(d, k), _PREDICT + _PREDICT_A_CLASS * k
    # The lesson before it has read the inverse: what it left of W in a cache is what fits beside
    follows = isinstance(head, RidgeOptions | KalmanOptions)
    touches = table + (_triangle(d) if follows else 0)
    parts = [Part(moved=table, touches=touches, operations=2 * d * k, reading=True)]
    if isinstance(head, KalmanOptions):
        own = _triangle(d)
        parts.append(Part(moved=own, touches=touches, operations=2 * d * d, reading=True))
    if isinstance(head, FeCAMOptions):
        own = k * _matrix(d)
        parts.append(Part(moved=own, touches=own, operations=2 * k * d * d, reading=True))
        python += _FECAM_A_CLASS * k
    return Work(parts=tuple(parts), python_us=python)  # (8)


def _map(d_in: int, d: int, feature_map: MapSpec | None) -> Work:
    moved, touches = 22.0 * d, 22.0 * d  # (9)
    if isinstance(feature_map, RandomReLU):
        moved, touches = 17.0 * d_in * d, 13.0 * d_in * min(512, d)
    elif isinstance(feature_map, RandomFourier):
        moved, touches = 18.0 * d_in * d, 2.0 * d_in * d + 8.0 * d_in * min(128, d)
    elif isinstance(feature_map, Power):
        moved = 80.0 * d  # a power takes as long as moving some eighty bytes
    part = Part(moved=moved, touches=touches, operations=0.0)
    return Work(parts=(part,), python_us=_MAP)


def _one_class(d: int) -> tuple[Part, ...]:
    matrix = _matrix(d)
    return (
        Part(moved=20 * matrix, touches=3 * matrix),
        Part(operations=d**3, kind="factor", d=d),
    )  # (6)


def _matrix(d: int) -> float:
    return 8.0 * d * d


def _triangle(d: int) -> float:
    return 4.0 * d * (d + 1)


def _weights(d: int, k: int) -> float:
    return 8.0 * d * k
