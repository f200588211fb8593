"""Heads taught in one pass, in some order, and all at once; what they answer afterwards.

Heads that ask for the same sums follow one set of moments side by side. What a head may take is
bounded: one that exceeds the budget is stopped, and the result says so instead of a number.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_cl.arrays import F32, I16, I64
from edge_cl.errors import EdgeCLError
from edge_cl.features import FeatureMap
from edge_cl.heads import Head, HeadOptions, build_head
from edge_cl.moments import Moments

_BATCH = 1  # samples a lesson
_ASKS = 3  # times on the way at which every head must answer, so that it is solved and follows
_ROWS = 1000  # asked at a time


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Features (n, d) with class indices (n,), to learn and to test.

    parts : name of a protocol -> which of the test rows are its own.
    groups : name of a protocol -> (n,) of what is learned: what hangs together when λ is chosen.
    """

    x: F32
    y: I64
    x_test: F32
    y_test: I64
    parts: dict[str, slice]
    groups: dict[str, I64]

    def orders(self) -> dict[str, I64]:
        """Return the orders in which it is taught: class after class, and shuffled."""
        return {
            "by class": np.argsort(self.y, kind="stable"),
            "shuffled": np.random.default_rng(0).permutation(len(self.y)),
        }


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one head may take for one pass.

    seconds : of the processor, to learn and to answer, without encoder and common moments.
    gigabytes : of its moments and what it derives from them.
    """

    seconds: float
    gigabytes: float


@dataclass
class Follower:
    """One head on its way through a stream."""

    options: HeadOptions
    head: Head | None
    seconds: float = 0.0
    stopped: str = ""
    answers: I64 = field(default_factory=lambda: np.zeros(0, np.int64))


def taught(
    heads: Mapping[str, HeadOptions],
    q: I16,
    y: I64,
    q_test: I16,
    *,
    to_grid: FeatureMap,
    batch: int = _BATCH,
    budget: Budget,
) -> dict[str, Follower]:
    """Teach all heads the samples as they come, `batch` at a time, and ask for the test rows."""
    found: dict[str, Follower] = {}
    for statistics in dict.fromkeys(o.promise.statistics for o in heads.values()):
        same = {name: o for name, o in heads.items() if o.promise.statistics == statistics}
        found |= _side_by_side(same, statistics, q, y, q_test, to_grid, batch, budget)
    return found


def _side_by_side(
    heads: Mapping[str, HeadOptions],
    statistics: Sequence[str],
    q: I16,
    y: I64,
    q_test: I16,
    to_grid: FeatureMap,
    batch: int,
    budget: Budget,
) -> dict[str, Follower]:
    moments = Moments(q.shape[1], statistics=statistics)
    followers = {name: _begin(options, moments, to_grid) for name, options in heads.items()}
    starts = range(0, len(y), batch)
    asks = {len(starts) * i // (_ASKS + 1) for i in range(1, _ASKS + 1)}
    for number, start in enumerate(starts):
        if all(f.stopped for f in followers.values()):
            break
        rows = slice(start, start + batch)
        moments.add(q[rows], y[rows])
        for follower in followers.values():
            asked = q_test[:1] if number in asks else None
            _learn(follower, q[rows], y[rows], asked)
            _check(follower, moments, budget, f"after {start:,} of {len(y):,} samples")
    for follower in followers.values():
        _answer(follower, q_test)
        _check(follower, moments, budget, "to answer at the end")
        follower.head = None
    return followers


def _begin(options: HeadOptions, moments: Moments, to_grid: FeatureMap) -> Follower:
    try:
        head = build_head(
            options, moments, scale=to_grid.scale, mean_square_norm=to_grid.mean_square_norm
        )
    except EdgeCLError as error:
        return Follower(options, None, stopped=str(error))
    return Follower(options, head)


def _learn(follower: Follower, q: I16, y: I64, asked: I16 | None) -> None:
    if follower.head is None:
        return
    start = time.process_time()
    try:
        follower.head.update(q, y, +1)
        if asked is not None:
            follower.head.scores(asked)
    except EdgeCLError as error:
        _stop(follower, str(error))
    follower.seconds += time.process_time() - start


def _answer(follower: Follower, q_test: I16) -> None:
    if follower.head is None:
        return
    start = time.process_time()
    try:
        parts = [
            follower.head.scores(q_test[i : i + _ROWS]).argmax(1)
            for i in range(0, len(q_test), _ROWS)
        ]
        follower.answers = np.concatenate(parts)
    except EdgeCLError as error:
        _stop(follower, str(error))
    follower.seconds += time.process_time() - start


def _check(follower: Follower, moments: Moments, budget: Budget, when: str) -> None:
    if follower.head is None:
        return
    if follower.seconds > budget.seconds:
        _stop(follower, f"more than {budget.seconds:g} s {when}")
    elif moments.nbytes + follower.head.nbytes > budget.gigabytes * 1e9:
        _stop(follower, f"more than {budget.gigabytes:g} GB {when}")


def _stop(follower: Follower, why: str) -> None:
    follower.stopped, follower.head = why, None
