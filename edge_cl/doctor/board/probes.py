"""Which libraries really run here, each tried by a child process of its own.

A wheel built for a newer CPU ends the process that imports it with SIGILL, a driver that does not
fit with SIGSEGV, one that waits for a device never ends. A child that dies so is a finding; this
process goes on. All are started at once: the time is that of the slowest. This process imports
none of the libraries, not even NumPy.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import BinaryIO

import msgspec

from edge_cl.doctor.board.probe_report import Report

__all__ = ["SECONDS", "Outcome", "Running", "collect", "installed", "running"]

SECONDS = 30.0  # that a child may take: importing is slow on the smallest boards
_MOST_BYTES = 1 << 16
_MODULES = {
    "kernels": (),
    "onnx": ("onnxruntime",),
    "litert": ("ai_edge_litert", "tflite_runtime"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one trial ended.

    what : "kernels", "onnx", "litert"; "onnx:cuda" for an accelerator.
    report : None where the child gave none; `died` then says how it ended: "was ended by SIGILL",
        "did not answer within 30 s".
    signal : the name of the signal that ended it, or empty.
    """

    what: str
    report: Report | None
    died: str = ""
    signal: str = ""

    @property
    def runs(self) -> bool:
        """Whether it works."""
        return self.report is not None and not self.report.error


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A child that is trying a library; None where none could be started, and `failed` why."""

    what: str
    child: subprocess.Popen[bytes] | None
    failed: str
    answer: BinaryIO
    told: BinaryIO
    begun: float


def installed(what: str) -> bool:
    """Say whether there is a library to try, without importing it."""
    names = _MODULES[what]
    return not names or any(_findable(name) for name in names)


@contextlib.contextmanager
def running(names: tuple[str, ...]) -> Iterator[list[Running]]:
    """Start a child for each of `names`; none of them outlives the block."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(_started(what)) for what in names]


def collect(children: list[Running], seconds: float = SECONDS) -> list[Outcome]:
    """Wait for every child, `seconds` since it was started at most, and return how each ended."""
    return [_outcome(one, seconds) for one in children]


@contextlib.contextmanager
def _started(what: str) -> Iterator[Running]:
    code = (
        "import sys; sys.path[:] = sys.argv[2:]; "
        "from edge_cl.doctor.board.probe_child import main; main(sys.argv[1])"
    )
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX"), "1")
    with (
        open(os.memfd_create("answer"), "w+b") as answer,  # noqa: PTH123
        open(os.memfd_create("told"), "w+b") as told,  # noqa: PTH123
    ):
        child, failed = None, ""
        try:
            child = subprocess.Popen(
                [sys.executable, "-I", "-B", "-c", code, what, *sys.path],
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=told,
                env=os.environ | threads,
                start_new_session=True,  # a Ctrl-C is for us; and its children end with it
            )
        except OSError as error:
            failed = error.strerror or str(error)
        begun = time.monotonic()
        try:
            yield Running(
                what=what, child=child, failed=failed, answer=answer, told=told, begun=begun
            )
        finally:
            if child is not None and child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def _outcome(one: Running, seconds: float) -> Outcome:
    if one.child is None:
        return Outcome(what=one.what, report=None, died=f"could not be started: {one.failed}")
    left = one.begun + seconds - time.monotonic()
    try:
        status = one.child.wait(max(left, 0.0))
    except subprocess.TimeoutExpired:
        return Outcome(what=one.what, report=None, died=f"did not answer within {seconds:g} s")
    if status < 0:
        name = {s.value: s.name for s in signal.Signals}.get(-status, f"signal {-status}")
        return Outcome(what=one.what, report=None, died=f"was ended by {name}", signal=name)
    one.answer.seek(0)
    try:
        report = msgspec.json.decode(one.answer.read(_MOST_BYTES), type=Report)
    except (msgspec.MsgspecError, ValueError):
        return Outcome(what=one.what, report=None, died=_without_answer(one, status))
    return Outcome(what=one.what, report=report)


def _without_answer(one: Running, status: int) -> str:
    one.told.seek(0)
    lines = one.told.read(_MOST_BYTES).decode("utf-8", "replace").strip().splitlines()
    last = f": {ascii(lines[-1])[1:-1][:200]}" if status and lines else ""
    return f"ended with status {status} and no answer{last}"


def _findable(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
