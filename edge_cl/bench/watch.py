"""Reading the board's sensors while something is measured, at a cost that does not show.

The first reading is timed. Later ones come so seldom that they take 0.5 % of one core at most.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter
from types import TracebackType

from edge_cl.bench.document import Reading
from edge_cl.device.conditions import Conditions

__all__ = ["Watch"]

_SHARE = 0.005  # of the time, that readings may take
_EVERY_S = 1.0
_MOST = 600  # readings of a run of the expected length


class Watch:
    """Readings before, during and after the block, oldest first.

    Parameters
    ----------
    expected_s : how long the block is likely to run.
    read : asks the sensors.
    every_s : the shortest time between readings.

    Attributes
    ----------
    readings : so far.
    asked : where they were read.
    """

    def __init__(
        self,
        expected_s: float = 0.0,
        *,
        read: Callable[[], Conditions],
        every_s: float = _EVERY_S,
    ) -> None:
        self.readings: list[Reading] = []
        self.asked: tuple[str, ...] = ()
        self._read = read
        self._start = perf_counter()
        self._every = max(every_s, expected_s / _MOST)
        self._ended = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="edge-cl sensors", daemon=True)

    def __enter__(self) -> Watch:
        start = perf_counter()
        self._take()
        self._every = max(self._every, (perf_counter() - start) / _SHARE)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        if error is None:
            if self._error is not None:
                raise self._error
            self._take()

    @property
    def now_s(self) -> float:
        """Seconds since it was made: what `Reading.at_s` counts."""
        return perf_counter() - self._start

    def _run(self) -> None:
        try:
            while not self._ended.wait(self._every):
                self._take()
        except Exception as error:  # noqa: BLE001  # it is for the block's thread to raise
            self._error = error

    def _take(self) -> None:
        at, found = self.now_s, self._read()
        self.asked = found.asked
        self.readings.append(
            Reading(
                at_s=round(at, 3),
                temperature_c=found.temperature_c,
                clock_mhz=found.clock_mhz,
                power_w=found.power_w,
                governor=found.governor,
                now=found.now,
                since_boot=found.since_boot,
                power_mode=found.power_mode,
                driver=found.driver,
            )
        )
