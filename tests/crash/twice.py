"""A second accident: the power fails again, or it fails after a process was killed."""

import dataclasses
import os
import tempfile

from crash.disk import Disk
from crash.explore import MEMORY, Report, explore, state
from crash.oplog import Log, Names, Sync
from crash.tracer import trace


def continued(log, prefix, later):
    """Return one log: the process ended after `prefix` operations, then `later` was recorded.

    The power stayed, so what was not synced in the first part may still be lost in the second.
    `later` began in the folder as it was then.
    """
    disk = Disk(log.start)
    for op in log.ops[:prefix]:
        disk.apply(op)
    node_at = {"": 0, **disk.tree(disk.pending)}
    node = {n: node_at[path] for path, n in Disk(later.start).tree([]).items()} | {0: 0}
    above = 1 + max([*node_at.values(), *log.start, *(_made(op) for op in log.ops[:prefix])])

    def own(n):
        return node[n] if n in node else above + n

    ops = []
    for op in later.ops:
        if isinstance(op, Names):
            changes = tuple((own(f), name, n if n is None else own(n)) for f, name, n in op.changes)
            ops.append(Names(changes, op.made))
        elif isinstance(op, Sync) and op.node is None:
            ops.append(op)
        elif hasattr(op, "node"):
            ops.append(dataclasses.replace(op, node=own(op.node)))
        else:
            ops.append(op)
    return Log(log.start, [*log.ops[:prefix], *ops])


def _made(op):
    return op.changes[-1][2] if isinstance(op, Names) and op.made is not None else 0


def again(log, names, workload, check, **options):
    """For each state named (prefix, kind, seed): go on from it, cut the power at every moment.

    `check(marks)` returns the check of what comes after these marks of the first part.
    """
    report = Report()
    for name in names:
        found = state(log, *name)
        with _folder() as folder:
            found.write(folder)
            later = trace(workload, folder)
        if later.error:
            report.failures.append(f"{found}, then: {later.error.strip().splitlines()[-1]}")
            continue
        part = explore(later.log, check(log.marks(found.prefix)), **options)
        part.failures = [f"{found}, then {failure}" for failure in part.failures]
        report.add(part)
    return report


def killed_then_cut(log, prefixes, workload, check, **options):
    """For each prefix: the process ends there, another goes on, the power fails at every moment."""
    report = Report()
    for prefix in prefixes:
        found = state(log, prefix, "all", 0)
        with _folder() as folder:
            found.write(folder)
            later = trace(workload, folder)
        if later.error:
            report.failures.append(f"killed {found}: {later.error.strip().splitlines()[-1]}")
            continue
        whole = continued(log, prefix, later.log)
        part = explore(whole, check, first=prefix + 1, **options)
        part.failures = [f"killed after {prefix}, then {failure}" for failure in part.failures]
        report.add(part)
    return report


def _folder():
    return tempfile.TemporaryDirectory(dir=MEMORY if os.path.isdir(MEMORY) else None)
