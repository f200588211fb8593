"""Is this board fit to learn on; if not, what is in the way, and what can be done.

Reads files of /proc and /sys, asks the board's own programs, and has the libraries tried by
children (`probes`) meanwhile. The only thing it may write is Numba's cache. What a system does
not tell is said to be not known; nothing that it tells, however odd, is an error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edge_cl.device.conditions import Conditions, read_conditions
from edge_cl.device.disk import find_disk
from edge_cl.device.machine import usable_cores
from edge_cl.device.memory import cpu_quota, read_memory
from edge_cl.device.processors import core_clusters, isa_flags
from edge_cl.device.recognise import GENERIC, recognise
from edge_cl.device.software import Software, read_software
from edge_cl.device.system import HERE, System
from edge_cl.doctor.board.cameras import camera_findings
from edge_cl.doctor.board.hardware import board_name, hardware_findings
from edge_cl.doctor.board.libraries import library_findings
from edge_cl.doctor.board.packages import package_findings
from edge_cl.doctor.board.probes import SECONDS, Outcome, collect, installed, running
from edge_cl.doctor.board.resources import (
    clock_finding,
    disk_findings,
    memory_findings,
    quota_findings,
)
from edge_cl.doctor.finding import Finding, note, ok

__all__ = ["BoardExamination", "examine_board"]

_TOGETHER = 700_000_000  # bytes free: below, one library is tried after the other


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardExamination:
    """What was found about a board.

    name : what it calls itself, or empty.
    profile : name of the board's profile (`edge-cl devices show`), or empty.
    conditions : what its sensors say.
    seconds : that the examination took.
    findings : one or more for each thing that was looked at.
    """

    name: str
    profile: str
    conditions: Conditions
    seconds: float
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> int:
        """How many findings are problems: each of them must be solved before anything runs."""
        return sum(one.verdict == "problem" for one in self.findings)

    @property
    def sound(self) -> bool:
        """Whether none is."""
        return not self.problems

    @property
    def kernels_run(self) -> bool:
        """Whether a process may load the learner without being ended by it."""
        return not any(one.what == "kernels" and one.verdict == "problem" for one in self.findings)


def examine_board(
    system: System = HERE,
    *,
    folder: Path | None = None,
    software: Software | None = None,
    now: float | None = None,
    seconds: float = SECONDS,
    progress: Callable[[str, float], None] | None = None,
) -> BoardExamination:
    """Look at a board, without changing it.

    Parameters
    ----------
    folder : of a state, there or not: its disk is looked at. None: the working directory's.
    software : what it runs; None: this Python. Libraries are tried only on the system at hand.
    now : what its clock says, in seconds since 1970; None: this one's.
    seconds : that each library may take to load and run.
    """
    begun = time.perf_counter()
    tell = progress or _nobody
    software = software or read_software()
    place = os.path.abspath(folder or Path())  # noqa: PTH100  (of a record nothing can be resolved)
    memory = read_memory(system)
    together = memory.free is None or memory.free > _TOGETHER
    names = tuple(name for name in ("kernels", "onnx", "litert") if system.here and installed(name))
    with running(names if together else ()) as children:
        tell("reading the board", 0.0)
        conditions = read_conditions(system)
        name, profile = board_name(system), recognise(system)
        isa = isa_flags(system)
        cores = sum(len(c.cores) for c in core_clusters(system)) or usable_cores()
        findings = [
            _board(name, profile[0] if profile else ""),
            *hardware_findings(system, conditions),
            *memory_findings(memory),
            *quota_findings(cpu_quota(system), cores),
            *disk_findings(find_disk(place, system)),
            clock_finding(time.time() if now is None else now),
            *camera_findings(system),
            *package_findings(software, isa),
        ]
        tell("reading the board", 1.0)
        tell("trying the libraries", 0.0)
        outcomes = collect(children, seconds)
    if system.here:
        outcomes += [] if together else _one_by_one(names, seconds)
        outcomes += _one_by_one(_offered(outcomes), seconds)
        known = profile is not None and profile[0] not in GENERIC.values()
        findings += library_findings(outcomes, profile[1].executions if profile and known else ())
    tell("trying the libraries", 1.0)
    return BoardExamination(
        name=name,
        profile=profile[0] if profile else "",
        conditions=conditions,
        seconds=round(time.perf_counter() - begun, 2),
        findings=tuple(_one_line(finding) for finding in findings),
    )


def _board(name: str, profile: str) -> Finding:
    says = name or "it does not tell its name"
    if not profile:
        return note("board", f"{says}; no profile is of its kind", "edge-cl devices lists them")
    return ok("board", f"{says} (profile {profile})")


def _offered(outcomes: list[Outcome]) -> tuple[str, ...]:
    """Return what the libraries offer besides the CPU, to be tried by itself."""
    return tuple(
        f"{one.what}:{accelerator}"
        for one in outcomes
        if one.report is not None
        for accelerator in one.report.offers
    )


def _one_by_one(names: tuple[str, ...], seconds: float) -> list[Outcome]:
    found: list[Outcome] = []
    for name in names:
        with running((name,)) as children:
            found += collect(children, seconds)
    return found


def _one_line(finding: Finding) -> Finding:
    """Return it without line breaks: a system may tell anything."""
    return replace(finding, says=" ".join(finding.says.split()))


def _nobody(name: str, share: float) -> None:
    pass
