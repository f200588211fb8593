"""Findings about what a learner uses up: memory, processor time, disk; and the clock."""

from __future__ import annotations

import time

from edge_cl.device.disk import Disk
from edge_cl.device.memory import Memory
from edge_cl.doctor.finding import Finding, note, ok, problem, warning

__all__ = ["clock_finding", "disk_findings", "memory_findings", "quota_findings"]

_LEARNER = 250_000_000  # Python, Numba, ONNX Runtime and a learner: 237 MB were measured
_STATE = 64_000_000  # a state of 1280 features and 100 classes while it is open: 39 MB
_ROOM = 500_000_000
_SMALL = 1 << 30
_FIRST_YEAR = 2025  # nobody runs this earlier
_LOST = {
    "overlay": ("what is taught is lost with the container", "mount a volume for the state"),
    "memory": ("what is taught is lost when the system stops", "name a folder on a disk"),
    "network": (
        "a lesson is as safe as the network and the other computer",
        "name a folder on a disk of this board",
    ),
}


def memory_findings(memory: Memory) -> list[Finding]:
    """Look at memory, the control group's limit, and swap."""
    if memory.total is None or memory.free is None:
        return [ok("memory", "the system does not tell")]
    total = memory.total if memory.limit is None else min(memory.total, memory.limit)
    says = f"{_size(memory.free)} of {_size(total)} free"
    do = "end other programs, raise the limit, or take a smaller map (edge-cl learn --map)"
    found = [
        warning("memory", f"{says}; a learner takes about {_size(_LEARNER)}", do)
        if memory.free < _LEARNER
        else ok("memory", says)
    ]
    if memory.limit is not None and memory.limit < memory.total:
        says = f"{_size(memory.limit)} ({memory.limited_by}); what goes beyond it is killed"
        do = "raise it where a learner ends without a word: MemoryMax= of a unit, docker --memory"
        found.append(note("memory limit", says, do))
    swap = memory.swap or 0
    if swap:
        found.append(ok("swap", f"{_size(memory.swap_free or 0)} of {_size(swap)} free"))
    elif memory.total < _SMALL:
        do = "make some (zram is kinder to an SD card than a file), for the first compilation"
        found.append(note("swap", "none, and little memory", do))
    else:
        found.append(ok("swap", "none"))
    return found


def quota_findings(quota: float | None, cores: int) -> list[Finding]:
    """Look at how much processor time the control group may use."""
    if quota is None or quota >= cores:
        return []
    says = f"the control group may use {quota:g} of {cores} cores' time"
    do = f"take --threads {max(1, int(quota))}: more of them only wait for their turn"
    return [note("processor limit", says, do)]


def disk_findings(disk: Disk | None) -> list[Finding]:
    """Look at what the state lies on, or would."""
    if disk is None:
        return [ok("disk", "the system does not tell")]
    kind = disk.kind or f"{disk.filesystem} on {disk.device}"
    free = f", {_size(disk.free_bytes)} free" if disk.free_bytes is not None else ""
    says = f"{kind} ({disk.filesystem}, {disk.mounted_at}){free}"
    found = []
    if disk.free_bytes is not None and disk.free_bytes < _STATE:
        do = f"make room: a state takes about {_size(_STATE)}"
        found.append(problem("disk", says, do))
    elif disk.free_bytes is not None and disk.free_bytes < _ROOM:
        found.append(warning("disk", says, "make room: little is left"))
    elif disk.kind in _LOST:
        where, do = _LOST[disk.kind]
        found.append(warning("disk", f"{says}: {where}", do))
    elif disk.kind in ("SD card", "SD card or eMMC", "USB or card reader"):
        do = "it wears with writes: --durability group:8 writes less, a copy now and then is safer"
        found.append(note("disk", says, do))
    else:
        found.append(ok("disk", says))
    if disk.read_only:
        says = "it is mounted for reading only: edge-cl answers, and learns nothing"
        found.append(warning("disk", says, f"mount -o remount,rw {disk.mounted_at}"))
    return found


def clock_finding(now: float) -> Finding:
    """Look whether the clock can be right."""
    try:
        year = time.gmtime(now).tm_year
    except (OverflowError, OSError, ValueError):
        year = 0
    if year < _FIRST_YEAR:
        says = f"it says that this is the year {year}: lessons get that date, updates are refused"
        return warning("clock", says, "sudo timedatectl set-ntp true, or fit a real-time clock")
    return ok("clock", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now)))


def _size(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"
