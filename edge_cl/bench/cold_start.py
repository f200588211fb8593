"""A fresh process until its first answer, and the memory it needs.

The process that measures would tell neither: it has everything loaded, and whatever it measured
before is in its memory. Files are in the page cache and kernels are compiled, as after a first
start: what the disk takes after a power-up is not in it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from time import perf_counter

import msgspec

from edge_cl.bench.document import ColdStart, Memory
from edge_cl.bench.fresh_process import Answered, Remembered, Task
from edge_cl.errors import BackendError

__all__ = ["start_cold"]

_CODE = (
    "import sys; sys.path[:] = sys.argv[1:]; from edge_cl.bench.fresh_process import main; main()"
)


def start_cold(task: Task, *, starts: int) -> tuple[ColdStart, Memory]:
    """Start so many processes, one after the other; only the first one goes on to learn.

    Raises
    ------
    BackendError : a process could not be started, or gave no answer.
    """
    found: list[tuple[float, Answered]] = []
    memory: Remembered | None = None
    for i in range(starts):
        wanted = task if i == 0 else msgspec.structs.replace(task, lessons=0)
        total_ms, answered, remembered = _start(wanted)
        found.append((total_ms, answered))
        memory = memory or remembered
    if memory is None:
        raise BackendError(f"expected starts >= 1, got {starts}")
    cold = ColdStart(
        n=starts,
        total_ms=statistics.median(total for total, _ in found),
        import_ms=statistics.median(a.import_ms for _, a in found),
        open_ms=statistics.median(a.open_ms for _, a in found),
        first_ms=statistics.median(a.first_ms for _, a in found),
    )
    return cold, Memory(rss_mb=memory.rss_mb, peak_mb=memory.peak_mb)


def _start(task: Task) -> tuple[float, Answered, Remembered]:
    # As this one was started: it must import the same things.
    command = [sys.executable, "-I", "-B", "-c", _CODE, *sys.path]
    with tempfile.TemporaryFile() as told:
        start = perf_counter()
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told
            )
        except OSError as error:
            raise BackendError(f"cannot start {sys.executable}: {error.strerror}") from error
        with child:
            if child.stdin is None or child.stdout is None:
                raise BackendError("the process that starts cold has no pipes")
            task = msgspec.structs.replace(task, started_s=start)
            child.stdin.write(msgspec.json.encode(task) + b"\n")
            child.stdin.flush()
            first = child.stdout.readline()
            total_ms = (perf_counter() - start) * 1e3
            last = child.stdout.readline()
        if child.returncode or not last:
            told.seek(0)
            lines = told.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
            said = lines[-1] if lines else f"exit status {child.returncode}"
            raise BackendError(f"a process that starts cold ended early: {ascii(said)[1:-1]}")
    answered = msgspec.json.decode(first, type=Answered)
    return total_ms, answered, msgspec.json.decode(last, type=Remembered)
