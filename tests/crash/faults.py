"""A real process whose system calls fail, or that is killed at one of them."""

import os
import tempfile
from dataclasses import dataclass

from crash.explore import MEMORY, explore, told
from crash.oplog import Failed, Names
from crash.tracer import Fault, trace


@dataclass(frozen=True)
class Outcome:
    """What a fault has done: where it struck, what the process said, and what is wrong then.

    wrong : "" where all is as promised.
    """

    fault: Fault
    call: str
    path: str
    marks: list[bytes]
    error: str
    wrong: str

    def __str__(self):
        return f"{self.fault} ({self.call} {os.path.basename(self.path)}): {self.wrong}"


def struck(fault, workload, check):
    """Run a workload with a fault in an empty folder, then check what it left.

    A fault ends in one of three ways: the process is killed, it ends with StorageError, or it does
    all it should. In each of them the folder must pass the check; after an EIO also when the power
    fails then: an fsync that failed has left its pages unwritten for good.
    """
    with tempfile.TemporaryDirectory(dir=MEMORY if os.path.isdir(MEMORY) else None) as folder:
        run = trace(workload, folder, fault=fault)
        marks = run.log.marks(len(run.log.ops))
        last = run.error.strip().split("\n")[-1]
        wrong = ""
        if not run.hit:
            wrong = "the fault did not strike"
        elif fault.what.startswith("kill") != bool(run.signal):
            wrong = f"ended by signal {run.signal}"
        elif run.error and not last.startswith("edge_cl.errors.StorageError"):
            wrong = f"ended with {last}"
        else:
            try:
                check(folder, marks)
                if fault.what == "EIO":
                    wrong = " ".join(
                        explore(run.log, check, seeds=2, first=len(run.log.ops)).failures
                    )
            except Exception as error:  # noqa: BLE001, whatever it is, it is reported
                wrong = told(error)
    call = run.calls[min(fault.call, len(run.calls) - 1)]
    return Outcome(fault, call.name, call.path, marks, last, wrong)


def _cut_afterwards(log, check):
    """Cut the power at every moment after an fsync of the ring failed, or else at the end."""
    failed = [i for i, op in enumerate(log.ops) if isinstance(op, Failed)]
    if failed and _name_of(log, log.ops[failed[0]].node).startswith("events.db"):
        return explore(log, check, kinds=["synced", "all"], first=failed[0], most_failures=2)
    return explore(log, check, seeds=2, first=len(log.ops), most_failures=2)


def _name_of(log, node):
    """Return the last name that a file got."""
    names = [change for op in log.ops if isinstance(op, Names) for change in op.changes]
    return next((name for _, name, n in reversed(names) if n == node), "")


def struck_by(faults, workload, check):
    """Do so for many faults."""
    return [struck(fault, workload, check) for fault in faults]
