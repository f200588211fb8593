"""What the benchmark of `edge-cl bench` costs what it measures, and a reference result.

    python benchmarks/devices.py                 # the harness, and the shipped bundle here
    python benchmarks/devices.py --harness-only

A stage of about 5 ms, a loop of fixed length, is run bare and inside the harness: stopwatch, all
laps, the record of a turn. Both are run in turn, 5 ms each; what counts is the time of the CPU: on
a machine that is shared, the wall clock holds others' work. The same turn around nothing tells what
is added in microseconds, and a sleep what the thread that reads the sensors takes. It ends with 3
where both together are 1 % of 5 ms or more. The ratio of the two loops holds the same, and what the
machine does not repeat: the same ratio without laps, of two equal loops, tells how much that is.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from report import write_results

from edge_cl import open_bundle
from edge_cl.arrays import F64
from edge_cl.assets import shipped_bundle
from edge_cl.bench import bench, write_report
from edge_cl.bench.stream import single_stream
from edge_cl.bench.turns import COLUMNS
from edge_cl.bench.watch import Watch
from edge_cl.device.conditions import read_conditions
from edge_cl.results import StageTimes
from edge_cl.stopwatch import Stopwatch

RESULTS = Path(__file__).parent / "results"
STAGE_MS = 5.0
MOST = 0.01  # of the stage, that the harness may add
_PAIRS = 100  # of a bare stage and one in the harness
_BLOCKS = 9

_NO_TIME = StageTimes()

Work = Callable[[], object]


def main() -> int:
    """Measure, check, and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--harness-only", action="store_true", help="no reference result")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args()
    found = harness()
    write_results(arguments.out / "harness-x86-64.json", {"harness": found}, [])
    for name, value in found.items():
        print(f"{name}: {value:.5g}")
    if not arguments.harness_only:
        report = bench(open_bundle(shipped_bundle()), seconds=60.0, sustained=True)
        write_report(report, arguments.out / "device-x86-64.json")
        for text in (*report.notes, *report.invalid_because):
            print(f"note: {text}")
    return 3 if found["added_share"] >= MOST else 0


def harness() -> dict[str, float]:
    """Return what the harness adds to a stage of 5 ms, and to one of nothing."""
    steps = _calibrated()

    def busy() -> None:
        _spin(steps)

    def idle() -> None:
        pass

    with_laps, without, stage_s = [], [], []
    for _ in range(_BLOCKS):
        for found, around in ((with_laps, _lapped), (without, _plain)):
            bare, inside = _in_turn(busy, _PAIRS, around)
            found.append(float(np.median(inside)) / float(np.median(bare)) - 1)
            stage_s.append(float(np.median(bare)))
    nothing, added = _in_turn(idle, 20_000, _lapped)
    added_us = float(np.median(added - nothing)) * 1e6
    sensors = _sensors_share()
    return {
        "stage_ms": statistics.median(stage_s) * 1e3,
        "added_us": added_us,
        "sensors_share": sensors,
        "added_share": added_us / (STAGE_MS * 1e3) + sensors,
        "busy_share": statistics.median(with_laps),
        "busy_share_without_laps": statistics.median(without),
        "pairs": float(_BLOCKS * _PAIRS),
    }


def _in_turn(work: Work, pairs: int, around: Callable[[Work], StageTimes]) -> tuple[F64, F64]:
    """Return seconds of CPU of the work alone, and with all that the harness does around it.

    Either comes first in every other turn: the second of two equal loops is often the faster.
    """
    stamps: list[float] = []
    alone: list[float] = []

    def turn() -> tuple[float, ...]:
        stamps.append(time.process_time())
        if len(stamps) % 2:
            alone.append(_cpu_seconds(work))
        times = around(work)
        if not len(stamps) % 2:
            alone.append(_cpu_seconds(work))
        return (
            times.prepare,
            times.encode,
            times.map,
            times.learn,
            times.commit,
            0.0,
            times.predict,
            times.total,
            times.total,
        )

    single_stream(
        turn, COLUMNS, seconds=0.0, repetitions=pairs + 1, warm_up=0, progress=lambda share: None
    )
    bare = np.array(alone[:pairs])
    return bare, np.diff(stamps) - bare


def _lapped(work: Work) -> StageTimes:
    """Do the work with all the laps of a lesson and a prediction around it."""
    watch = Stopwatch()
    watch.lap("prepare")
    work()
    for stage in ("encode", "map", "learn", "commit", "predict"):
        watch.lap(stage)
    return watch.times()


def _plain(work: Work) -> StageTimes:
    """Do the work and nothing else: what remains is the error of the comparison."""
    work()
    return _NO_TIME


def _cpu_seconds(work: Work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _sensors_share() -> float:
    """Return the share of a core that reading the sensors takes, at the pace it is done."""
    seconds = 15.0
    with Watch(read=read_conditions):
        start = time.process_time()
        time.sleep(seconds)
        return (time.process_time() - start) / seconds


def _calibrated() -> int:
    """Return how many steps take 5 ms here."""
    steps = 1000
    while (took := min(_cpu_seconds(partial(_spin, steps)) for _ in range(5))) < STAGE_MS / 4e3:
        steps *= 2
    return round(steps * STAGE_MS / 1e3 / took)


def _spin(steps: int) -> int:
    total = 0
    for i in range(steps):
        total ^= i
    return total


if __name__ == "__main__":
    sys.exit(main())
