"""The bytes that a learner keeps on disk and holds in memory, counted from what it is made of.

With d features behind the map, k classes, M = 8 d² bytes of a matrix, T = 4 d (d + 1) of its
lower triangle, V = 8 d k of one number a feature and class:

    disk     2 (T (1 + t) + V (1 + w) + 8 d r + statistics + history) + ring            (1)
    memory   M + V' + 512 d  of the sums,  M m + V' w + 8 d r  of the head,
             statistics, history, map, index of the ring                               (2)
    peak     memory + max(M s, M + M / 8 + 4 snapshots + ring)                         (3)

t, w, r, m and s say what a head keeps (`Held`). V' has room for the next classes: rows of Q
double. 512 d are the 256 rows that wait to enter G, int16, and so has the history. On disk are two
snapshots, and the ring of 4096 rows. (3) is what solving takes, or opening: both snapshots as
bytes and as tensors, the rows of the ring, the places of a triangle as two int64 each, and a mask.
Writing a snapshot takes less.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_cl.device.machine import available_bytes
from edge_cl.errors import InputError
from edge_cl.features import MapSpec, RandomFourier, RandomReLU
from edge_cl.heads import (
    BalancedRidgeOptions,
    FeCAMOptions,
    HeadOptions,
    KalmanOptions,
    LDAOptions,
    NearestMeanOptions,
    RidgeOptions,
)

__all__ = [
    "LOG_BYTES",
    "Held",
    "Needs",
    "features_out",
    "held",
    "learner_needs",
    "refuse_oversized",
]

LOG_BYTES = 4 << 20  # of the ring's write-ahead log, before it is moved into the file

_ROW_OF_INDEX = 342  # bytes, measured: what is remembered in memory of each row of the ring
_RING = 4096  # rows
_WAITING = 256  # rows of the moments; and of the history


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a head keeps beside the moments.

    matrices : d x d in float64; float32 is half a one.  class_matrices : as many a class.
    weights : d x k.  rows : of d.  solving : further d x d while it is solved.
    stored_* : what of it is on disk; of a matrix the triangle.
    """

    matrices: float = 0.0
    class_matrices: int = 0
    weights: int = 0
    rows: int = 0
    solving: int = 0
    stored_triangles: int = 0
    stored_weights: int = 0
    stored_rows: int = 0


_HELD: dict[type[HeadOptions], Held] = {
    RidgeOptions: Held(matrices=1, weights=1, rows=64, solving=4, stored_weights=1),
    KalmanOptions: Held(
        matrices=1,
        weights=1,
        rows=64,
        solving=3,
        stored_triangles=1,
        stored_weights=1,
        stored_rows=64,
    ),
    LDAOptions: Held(weights=1, solving=4, stored_weights=1),
    BalancedRidgeOptions: Held(weights=1, solving=4, stored_weights=1),
    FeCAMOptions: Held(class_matrices=1, solving=4),
    NearestMeanOptions: Held(weights=1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a learner with `d` features behind its map and `k` classes keeps and holds, in bytes.

    disk, memory : by part, without Python, its libraries and the network; the map is in it.
    passing : memory that comes on top while a state is opened, or solved.
    """

    d: int
    k: int
    disk: dict[str, int]
    memory: dict[str, int]
    passing: int

    @property
    def state_bytes(self) -> int:
        """Of the state on disk. While it is open its log takes up to `LOG_BYTES` more."""
        return sum(self.disk.values())

    @property
    def memory_bytes(self) -> int:
        """Of the learner in memory, between lessons."""
        return sum(self.memory.values())

    @property
    def peak_bytes(self) -> int:
        """Of the learner in memory, at most."""
        return self.memory_bytes + self.passing


def held(options: HeadOptions) -> Held:
    """Return what a head with these options keeps."""
    kept = _HELD[type(options)]
    if isinstance(options, RidgeOptions) and options.inverse == "single":
        return Held(
            matrices=kept.matrices / 2,
            weights=kept.weights,
            rows=kept.rows,
            solving=kept.solving,
            stored_weights=kept.stored_weights,
        )
    return kept


def features_out(feature_map: MapSpec, d_in: int) -> int:
    """Return how many features a map makes of `d_in`."""
    return feature_map.m if isinstance(feature_map, RandomReLU | RandomFourier) else d_in


def learner_needs(
    d_in: int, k: int, *, head: HeadOptions | None = None, feature_map: MapSpec | None = None
) -> Needs:
    """Return the needs of a learner that has `k` classes; ridge without a map, if not said.

    Parameters
    ----------
    d_in : features of the encoder, before the map.
    """
    if d_in < 1 or k < 0:
        raise InputError(f"expected d >= 1 and k >= 0, got d={d_in}, k={k}")
    head = RidgeOptions() if head is None else head
    d = d_in if feature_map is None else features_out(feature_map, d_in)
    kept, statistics = held(head), head.promise.statistics
    matrix, triangle, weights = 8 * d * d, 4 * d * (d + 1), 8 * d * k
    roomy, row = 8 * d * _room(k), 8 * d
    history = 2 * d * _WAITING

    def of_statistics(a_class: int, a_table: int) -> int:
        return (
            ("scatter" in statistics) * k * a_class
            + ("squares" in statistics) * a_table
            + ("norms" in statistics) * 2 * row
        )

    snapshot = {
        "sums": triangle + weights + of_statistics(triangle, weights),
        "head": kept.stored_triangles * triangle
        + kept.stored_weights * weights
        + kept.stored_rows * row,
        "history": history,
    }
    disk = {name: 2 * size for name, size in snapshot.items()} | {"ring": _ring_bytes(d)}  # (1)
    memory = {
        "sums": matrix
        + roomy
        + 2 * d * _WAITING
        + of_statistics(matrix, roomy)
        + ("scatter" in statistics) * 64 * row,
        "head": int(kept.matrices * matrix)
        + kept.class_matrices * k * matrix
        + kept.weights * weights
        + kept.rows * row,
        "history": history + _RING * _ROW_OF_INDEX,
        "map": _map_bytes(feature_map, d_in),
    }  # (2)
    opening = matrix + matrix // 8 + 4 * sum(snapshot.values()) + disk["ring"]
    return Needs(
        d=d, k=k, disk=disk, memory=memory, passing=max(kept.solving * matrix, opening)
    )  # (3)


def refuse_oversized(d: int, *, matrices: int = 0) -> None:
    """Raise InputError where the matrices of `d` features cannot fit into this machine.

    Counted are the six of d x d that solving ridge or LDA holds at its peak, and `matrices`
    more. Where the system does not tell what is free, nothing is refused.
    """
    needed, free = (6 + matrices) * 8 * d * d, available_bytes()
    if free is not None and needed > free:
        raise InputError(
            f"{d} features need {needed / 1e9:.1f} GB to learn with, {free / 1e9:.1f} GB are free",
            hint="take a smaller map, or a head that keeps no matrix for each class"
            if matrices
            else "take a smaller map, or none",
        )


def _room(k: int) -> int:
    """Return the rows of Q after k classes came one after the other: 8, 16, 32 ..."""
    return max(8, 1 << max(0, k - 1).bit_length()) if k else 0


def _ring_bytes(d: int) -> int:
    """Return the size of the ring: 4096 rows (`edge_cl.store.rows`) on SQLite's pages of 4096."""
    row, page = 856 + 2 * d, 4096
    on_a_page = (page - 12) // (row + 6)  # with its head, and each row's place
    return page * (_RING // on_a_page if on_a_page else _RING * -(-row // (page - 4)))


def _map_bytes(feature_map: MapSpec | None, d_in: int) -> int:
    """Return what a map holds: signs as bits, or Z as int16; and what it works in."""
    if isinstance(feature_map, RandomReLU):
        return d_in * feature_map.m // 8 + 13 * d_in * min(512, feature_map.m)
    if isinstance(feature_map, RandomFourier):
        return 2 * d_in * feature_map.m + 8 * d_in * min(128, feature_map.m)
    return 0
