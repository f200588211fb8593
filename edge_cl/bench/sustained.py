"""A long run over time: whether the board keeps its pace.

A board without a fan is fast for a minute. Percentiles of the whole run hide that; points along it
do not. Each is a part of the run: the median of what was timed in it, the mean of what the sensors
said. The slowdown compares the last tenth of the points with the first.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from edge_cl.bench.document import Point, Reading
from edge_cl.bench.stream import Recording

__all__ = ["series", "slowdown"]

_POINTS = 180


def series(recording: Recording, readings: Sequence[Reading], began_s: float) -> tuple[Point, ...]:
    """Return a run as at most 180 points, oldest first; a part without a turn has none.

    Parameters
    ----------
    began_s : when it began, in the seconds of `Reading.at_s`.
    """
    turns = len(recording.began_s)
    count = min(_POINTS, turns)
    edges = np.linspace(0.0, recording.duration_s, count + 1)
    part = np.clip(np.searchsorted(edges, recording.began_s, side="right") - 1, 0, count - 1)
    points: list[Point] = []
    for i in np.unique(part):
        inside = part == i
        predict = recording.columns["a prediction"][inside]
        here = [r for r in readings if edges[i] <= r.at_s - began_s < edges[i + 1]]
        points.append(
            Point(
                at_s=round(float(edges[i] + edges[i + 1]) / 2, 3),
                n=int(inside.sum()),
                predict=float(np.median(predict)),
                predict_p90=float(np.percentile(predict, 90)),
                lesson=float(np.median(recording.columns["a lesson"][inside])),
                clock_mhz=_mean([r.clock_mhz for r in here]),
                temperature_c=_mean([r.temperature_c for r in here]),
                power_w=_mean([r.power_w for r in here]),
            )
        )
    return tuple(points)


def slowdown(points: Sequence[Point]) -> float:
    """Return how many times slower predictions are at the end than at the beginning."""
    tenth = max(1, len(points) // 10)
    first = statistics.median(point.predict for point in points[:tenth])
    last = statistics.median(point.predict for point in points[-tenth:])
    return last / first


def _mean(values: Sequence[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return statistics.fmean(told) if told else None
