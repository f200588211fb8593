"""Wall time by stage."""

from __future__ import annotations

from time import perf_counter
from typing import Literal, get_args

from edge_cl.results import StageTimes

Stage = Literal["prepare", "encode", "map", "predict", "learn", "commit"]


class Stopwatch:
    """Adds up laps by the name of the stage that just ended."""

    def __init__(self) -> None:
        self._ms = dict.fromkeys(get_args(Stage), 0.0)
        self._last = perf_counter()

    def lap(self, stage: Stage) -> None:
        """Add the time since the last lap to `stage`."""
        now = perf_counter()
        self._ms[stage] += (now - self._last) * 1e3
        self._last = now

    def times(self) -> StageTimes:
        """Return the sums so far."""
        return StageTimes(**self._ms)
