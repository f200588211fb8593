"""A single stream: the next turn begins when the last one has ended.

What a turn takes it says itself; the loop around it only keeps the numbers, in arrays that were
made before, so that it costs next to nothing (benchmarks/devices.py measures what).
"""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from edge_cl.arrays import F64
from edge_cl.bench.document import Percentiles
from edge_cl.bench.early_stopping import conservative_p90

__all__ = ["Recording", "percentiles", "single_stream"]

_TELL_EVERY_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What a stream took.

    began_s : when each turn began, since the first one did.
    columns : name -> milliseconds, one a turn.
    duration_s : from the first turn to the end of the last one.
    """

    began_s: F64
    columns: dict[str, F64]
    duration_s: float


def single_stream(
    turn: Callable[[], Sequence[float]],
    names: Sequence[str],
    *,
    seconds: float,
    repetitions: int,
    warm_up: int,
    progress: Callable[[float], None],
) -> Recording:
    """Take turns for so many seconds, and at least so many; the first `warm_up` do not count.

    Parameters
    ----------
    turn : does something; returns milliseconds, one for each of `names`.
    progress : called with the share done, a few times a second.
    """
    for _ in range(warm_up):
        turn()
    gc.collect()
    began, values = array("d"), array("d")
    start = told = perf_counter()
    done, now = 0, start
    while done < repetitions or now - start < seconds:
        began.append(now - start)
        values.extend(turn())
        done += 1
        now = perf_counter()
        if now - told > _TELL_EVERY_S:
            told = now
            progress(min(done / repetitions, (now - start) / seconds if seconds else 1.0, 1.0))
    progress(1.0)
    table = np.array(values).reshape(done, len(names))
    columns = {name: table[:, i].copy() for i, name in enumerate(names)}
    return Recording(began_s=np.array(began), columns=columns, duration_s=now - start)


def percentiles(ms: Sequence[float] | F64) -> Percentiles:
    """Summarise repetitions; there must be one."""
    q = np.percentile(ms, [0, 50, 90, 99, 100])
    return Percentiles(
        n=len(ms),
        min=float(q[0]),
        median=float(q[1]),
        p90=float(q[2]),
        p99=float(q[3]),
        max=float(q[4]),
        p90_bound=conservative_p90(ms if isinstance(ms, list) else list(ms)),
    )
