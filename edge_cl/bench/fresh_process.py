"""The child that starts cold: see `cold_start`, which starts it.

It opens a state that was taught, answers once and says so; then it learns and answers on, and says
how much memory that took.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np

from edge_cl.learner import Learner

__all__ = ["Answered", "Remembered", "Task", "main"]


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to open, and how.

    started_s : when the process was started, by `perf_counter`, which all processes share.
    shape : of an input: a picture (height, width, 3), or a vector (d,).
    label : a class that the state knows.
    lessons : to learn after the first answer, a prediction with each.
    """

    started_s: float = 0.0
    state: str
    runtime: str | None
    precision: str | None
    threads: int
    accelerator: str | None
    cores: tuple[int, ...] | None
    shape: tuple[int, ...]
    label: str
    lessons: int


class Answered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Milliseconds of interpreter and imports, of opening the state, of the first prediction."""

    import_ms: float
    open_ms: float
    first_ms: float


class Remembered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Resident memory, after all lessons and at its peak; None where the system does not tell."""

    rss_mb: float | None
    peak_mb: float


def main() -> None:
    """Read a task from stdin; write a line when the first answer is there, another at the end."""
    answer_to = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not do so into the answer
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    x = np.full(task.shape, 127, np.uint8) if len(task.shape) == 3 else np.full(task.shape, 0.1)
    imported = perf_counter()
    learner = Learner.open(
        task.state,
        runtime=task.runtime,
        precision=task.precision,
        threads=task.threads,
        accelerator=task.accelerator,
        cores=task.cores,
    )
    opened = perf_counter()
    learner.predict(x)
    answered = perf_counter()
    _write(
        answer_to,
        Answered(
            import_ms=(imported - task.started_s) * 1e3,
            open_ms=(opened - imported) * 1e3,
            first_ms=(answered - opened) * 1e3,
        ),
    )
    for _ in range(task.lessons):
        learner.learn(x, task.label)
        learner.predict(x)
    learner.close(save=False)
    _write(answer_to, _memory())


def _write(descriptor: int, value: msgspec.Struct) -> None:
    os.write(descriptor, msgspec.json.encode(value) + b"\n")


def _memory() -> Remembered:
    try:  # of this program; what getrusage says can be inherited from the one that started it
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        found = {line.partition(":")[0]: line.split() for line in status.splitlines()}
        return Remembered(
            rss_mb=int(found["VmRSS"][1]) / 2**10, peak_mb=int(found["VmHWM"][1]) / 2**10
        )
    except (OSError, IndexError, KeyError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return Remembered(
            rss_mb=None, peak_mb=peak / (2**20 if sys.platform == "darwin" else 2**10)
        )
