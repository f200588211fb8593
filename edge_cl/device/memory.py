"""Memory and processor time that this process may use: of the machine, and of its control group.

A container, a systemd unit or a user's slice may allow less than the machine has. The limits of
all groups above a process hold too, so the least on the path counts. Version 2 keeps them in
`memory.max` and `cpu.max`, version 1 in `memory.limit_in_bytes` and `cpu.cfs_quota_us`; a system
may have both at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edge_cl.device.system import HERE, System

__all__ = ["Memory", "cpu_quota", "read_memory"]

_NO_LIMIT = 1 << 60  # version 1 says "none" by a number that no machine has
_MOST_LEVELS = 64
_DIGITS = 20  # of any number of bytes or microseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """In bytes; None where the system does not tell, or there is no limit.

    available : what a new process could take without swapping, as far as the machine goes.
    limit : of the control group; `limited_by`: the file that says so.
    left : what the limit leaves: it less what the group holds, without what is only cached.
    swap, swap_free : of the machine.
    """

    total: int | None
    available: int | None
    limit: int | None
    limited_by: str
    left: int | None
    swap: int | None
    swap_free: int | None

    @property
    def free(self) -> int | None:
        """What this process can take: the lesser of what machine and group leave."""
        return min((n for n in (self.available, self.left) if n is not None), default=None)


def read_memory(system: System = HERE) -> Memory:
    """Return what memory there is."""
    machine: dict[str, int] = {}
    for line in system.text("/proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        kib = value.split()[:1]
        if kib and (count := _count(kib[0])) is not None:
            machine[name] = count * 1024
    limit, limited_by = _memory_limit(system)
    return Memory(
        total=machine.get("MemTotal"),
        available=machine.get("MemAvailable"),
        limit=limit,
        limited_by=limited_by,
        left=None if limit is None else max(0, limit - _held(system, limited_by)),
        swap=machine.get("SwapTotal"),
        swap_free=machine.get("SwapFree"),
    )


def cpu_quota(system: System = HERE) -> float | None:
    """Return how many cores' time the control group may use; None: as much as there is."""
    quotas: list[float] = []
    for folder in _groups(system, "cpu"):
        parts = system.text(f"{folder}/cpu.max").split()
        if len(parts) == 2:
            quotas += _share(_count(parts[0]), _count(parts[1]))
        quotas += _share(
            system.number(f"{folder}/cpu.cfs_quota_us"),
            system.number(f"{folder}/cpu.cfs_period_us"),
        )
    return min(quotas, default=None)


def _memory_limit(system: System) -> tuple[int | None, str]:
    limits = [
        (value, name)
        for folder in _groups(system, "memory")
        for name in (f"{folder}/memory.max", f"{folder}/memory.limit_in_bytes")
        if (value := system.number(name)) is not None and 0 <= value < _NO_LIMIT
    ]
    return min(limits) if limits else (None, "")


def _held(system: System, limited_by: str) -> int:
    """Return what the group of a limit holds, without files that are only cached."""
    folder, _, name = limited_by.rpartition("/")
    v2 = name == "memory.max"
    used = system.number(f"{folder}/{'memory.current' if v2 else 'memory.usage_in_bytes'}") or 0
    for line in system.text(f"{folder}/memory.stat").splitlines():
        key, _, value = line.partition(" ")
        if key == ("inactive_file" if v2 else "total_inactive_file"):
            return max(0, used - (_count(value.strip()) or 0))
    return max(0, used)


def _groups(system: System, controller: str) -> Iterator[str]:
    """Yield the folders of the groups this process is in, from its own up to the mount."""
    mounts: list[tuple[str, str, str, list[str]]] = []
    for line in system.text("/proc/self/mountinfo").splitlines():
        parts = line.split()
        if "-" not in parts[6:]:
            continue
        kind, *rest = parts[parts.index("-", 6) + 1 :]
        mounts.append((parts[3], parts[4], kind, rest[-1].split(",") if rest else []))
    for line in system.text("/proc/self/cgroup").splitlines():
        controllers, _, own = line.partition(":")[2].partition(":")
        for root, place, kind, options in mounts:
            unified = not controllers and kind == "cgroup2"
            if unified or (
                kind == "cgroup" and controller in controllers.split(",") and controller in options
            ):
                yield from _upwards(place, _below(root, own))


def _below(root: str, own: str) -> str:
    """Return where the group lies below what is mounted: all of the tree, or a part of it."""
    root = root.rstrip("/")
    return own[len(root) :] if own.startswith(f"{root}/") else ""


def _upwards(place: str, below: str) -> Iterator[str]:
    parts = [part for part in below.split("/") if part not in ("", ".", "..")][:_MOST_LEVELS]
    for n in range(len(parts), -1, -1):
        yield "/".join([place.rstrip("/"), *parts[:n]])


def _share(quota: int | None, period: int | None) -> list[float]:
    return [quota / period] if quota and period and quota > 0 and period > 0 else []


def _count(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < _DIGITS else None
