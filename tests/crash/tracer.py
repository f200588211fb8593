"""Run a workload in a child, write down what it does to a folder, and hurt it on request.

The child is forked from a process that has imported everything, which therefore should have one
thread: start it with OPENBLAS_NUM_THREADS=1 (`explore.workers` does). Threads that the
workload starts are followed; processes are not, and are an error.
"""

import contextlib
import errno
import os
import signal
import tempfile
import traceback
from dataclasses import dataclass, field

from crash import ptrace
from crash.oplog import Log, Mark
from crash.recorder import Call, NotModelledError, Recorder

SYSTEM_CALL_STOP = signal.SIGTRAP | 0x80


@dataclass(frozen=True)
class Fault:
    """What happens at the n-th call that changes the folder, counted from 0.

    Parameters
    ----------
    call : n.
    what : "kill before", "kill after", "short" (half of a write arrives), or the name of an errno.
    forever : every later call that could fail so does, until the workload says `mended`.
    only : and of these, those whose path has this in it.
    """

    call: int
    what: str
    forever: bool = False
    only: str = ""

    def __str__(self):
        return f"{self.what}{' for ever' if self.forever else ''} at call {self.call}"


MENDED = b"the fault is mended"  # what a workload says to end a fault that lasts


@dataclass
class Trace:
    """What a workload did, and how it ended.

    Parameters
    ----------
    log : its changes to the folder, with what it said.
    calls : each call that changes the folder or makes a change durable, also those that failed.
    hit : whether the fault struck.
    signal : what killed the process, or 0.
    error : the traceback that ended the workload, or "".
    """

    log: Log
    calls: list[Call] = field(default_factory=list)
    hit: bool = False
    signal: int = 0
    error: str = ""


def trace(workload, folder, *, fault=None, seconds=120):
    """Run `workload(folder, say)` in a child and return its `Trace`.

    `say(payload)` puts bytes into the log between two operations.

    Raises
    ------
    ptrace.TracingForbiddenError : this machine does not allow it.
    NotModelledError : the workload changed the folder by a way around the log.
    TimeoutError : the workload still runs after so many seconds.
    """
    folder = os.path.realpath(folder)
    mark = os.open(os.devnull, os.O_WRONLY)
    report, tell = os.pipe()
    process = os.fork()
    if process == 0:
        _child(workload, folder, mark, tell)
    os.close(tell)
    recorder = None
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(seconds)
    try:
        ptrace.follow(process)
        recorder = Recorder(folder, process, mark)
        told = Trace(recorder.log)
        status = _Tracer(process, recorder, fault, told).run()
        if os.WIFSIGNALED(status):
            told.signal = os.WTERMSIG(status)
        process = 0
        with os.fdopen(report, closefd=False) as stream:
            told.error = stream.read()
        return told
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        if process:
            _end(process)
        if recorder:
            recorder.close()
        os.close(report)
        os.close(mark)


def why_not():
    """Return why nothing can be traced here, or ""."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            trace(lambda folder, say: None, folder)
    except ptrace.TracingForbiddenError as error:
        return f"ptrace: {error}"
    return ""


def _child(workload, folder, mark, tell):
    code = 1
    try:
        ptrace.let_parent_trace()
        workload(folder, lambda payload: os.write(mark, payload))
        code = 0
    except BaseException:  # noqa: BLE001, the parent raises it
        os.write(tell, traceback.format_exc()[-60_000:].encode())  # fits into the pipe
    finally:
        os._exit(code)


def _end(process):
    try:
        os.kill(process, signal.SIGKILL)
        while not os.WIFSIGNALED(os.waitpid(process, ptrace.WALL)[1]):
            pass
    except (ChildProcessError, ProcessLookupError):
        pass


def _too_long(*_):
    raise TimeoutError("the traced workload does not end")


class _Tracer:
    """The loop over the stops of the child and its threads."""

    def __init__(self, process, recorder, fault, told):
        self._process = process
        self._recorder = recorder
        self._fault = fault
        self._told = told
        self._registers = ptrace.Registers()
        self._inside = {}  # thread -> its call's step and what to answer instead, or None

    def run(self):
        """Follow until the process ends; return its status."""
        thread, deliver = self._process, 0
        while True:
            if thread:
                with contextlib.suppress(ProcessLookupError):  # killed: its end comes next
                    ptrace.request(ptrace.SYSCALL, thread, 0, deliver)
            thread, status = os.waitpid(-1, ptrace.WALL)
            if not os.WIFSTOPPED(status):
                if thread == self._process:
                    return status
                self._inside.pop(thread, None)
                thread = 0
                continue
            stop, event = os.WSTOPSIG(status), status >> 16
            deliver = 0
            if stop == SYSTEM_CALL_STOP:
                self._at_call(thread)
            elif event in (ptrace.EVENT_FORK, ptrace.EVENT_VFORK):
                raise NotModelledError("the workload starts a process")
            elif not event and not (stop == signal.SIGSTOP and thread not in self._inside):
                deliver = stop
            self._inside.setdefault(thread, None)

    def _at_call(self, thread):
        """Entries and exits alternate in each thread."""
        inside = self._inside.get(thread)
        if inside is None:
            self._inside[thread] = self._enter(thread)
        else:
            self._leave(thread, *inside)
            self._inside[thread] = None

    def _enter(self, thread):
        registers = self._registers.read(thread)
        if registers.name is None:
            return None, None
        found = self._recorder.enter(registers.name, registers.arguments)
        if found is None:
            return None, None
        step, call = found
        n = len(self._told.calls)
        self._told.calls.append(call)
        return step, self._strike(thread, n, call)

    def _strike(self, thread, n, call):
        """Do what the fault asks for at this call's entry; return what is left for its exit."""
        fault = self._fault
        if fault is None or n < fault.call or (n > fault.call and not fault.forever):
            return None
        if fault.only not in call.path:
            return None
        if fault.forever and Mark(MENDED) in self._told.log.ops:
            return None
        if fault.what == "kill before":
            self._told.hit = True
            self._registers.skip(thread)
            os.kill(self._process, signal.SIGKILL)
        elif fault.what == "short":
            if call.size > 1:
                self._told.hit = True
                self._registers.change_argument(thread, 2, call.size // 2)
        elif fault.what != "kill after":
            if not call.can_fail_with(fault.what):
                return None
            self._told.hit = True
            self._registers.skip(thread)
            return -getattr(errno, fault.what)
        return fault.what

    def _leave(self, thread, step, answer):
        if step is None:
            return
        registers = self._registers.read(thread)
        if isinstance(answer, int):
            registers.answer(thread, answer)
        result = answer if isinstance(answer, int) else registers.result
        with contextlib.suppress(StopIteration):
            step.send(result)
        if answer == "kill after":
            self._told.hit = True
            os.kill(self._process, signal.SIGKILL)
