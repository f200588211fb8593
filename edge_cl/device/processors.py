"""Which cores there are, of which kinds, what they can do, and how their clocks are governed."""

from __future__ import annotations

from dataclasses import dataclass

from edge_cl.device.system import HERE, System

__all__ = [
    "FOLLOWS_LOAD",
    "CoreCluster",
    "core_clusters",
    "core_name",
    "governor",
    "isa_flags",
    "scaling_driver",
]

FOLLOWS_LOAD = ("intel_pstate", "amd-pstate-epp")  # their "powersave" is not the lowest clock

_CPU = "/sys/devices/system/cpu"
_MOST_CORES = 4096  # as many as Linux can be built for

# our name -> what /proc/cpuinfo says of it, all of which must be there
_ISA = {
    "dotprod": ("asimddp",),
    "fp16": ("fphp", "asimdhp"),
    "i8mm": ("i8mm",),
    "bf16": ("bf16",),
    "sve": ("sve",),
    "avx2": ("avx2",),
    "avx512f": ("avx512f",),
    "avx512_vnni": ("avx512_vnni",),
    "avx_vnni": ("avx_vnni",),
}

# "CPU part" of the implementer Arm (0x41), as in Linux's arch/arm64/include/asm/cputype.h
_ARM_PARTS = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD4B: "Cortex-A78C",
    0xD4D: "Cortex-A715",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreCluster:
    """Equal cores.

    cores : their numbers, as `os.sched_setaffinity` takes them.
    capacity : of one core, 1024 for the fastest kind there is; 0 where the system does not tell.
    max_mhz : 0 where the system does not tell.
    """

    cores: tuple[int, ...]
    capacity: int
    max_mhz: int


def core_clusters(system: System = HERE) -> tuple[CoreCluster, ...]:
    """Return the cores that are online, by kind, the fastest first.

    By capacity as the kernel tells it (`cpu_capacity`), else by their highest clock.
    """
    kinds: dict[tuple[int, int], list[int]] = {}
    for number in _online(system):
        capacity = system.number(f"{_CPU}/cpu{number}/cpu_capacity") or 0
        khz = system.number(f"{_CPU}/cpu{number}/cpufreq/cpuinfo_max_freq") or 0
        kinds.setdefault((capacity, khz // 1000), []).append(number)
    return tuple(
        CoreCluster(cores=tuple(cores), capacity=capacity, max_mhz=mhz)
        for (capacity, mhz), cores in sorted(kinds.items(), reverse=True)
    )


def governor(system: System = HERE) -> str:
    """Return the governor of the first core's clock; empty where the system does not tell."""
    return system.text(f"{_CPU}/cpu0/cpufreq/scaling_governor")


def scaling_driver(system: System = HERE) -> str:
    """Return what sets the first core's clock; empty where the system does not tell."""
    return system.text(f"{_CPU}/cpu0/cpufreq/scaling_driver")


def isa_flags(system: System = HERE) -> tuple[str, ...]:
    """Return which extensions that matter here every core has: "dotprod", "fp16", "avx2" ..."""
    sets = [
        set(value.split())
        for block in _cpuinfo(system)
        if (value := block.get("Features") or block.get("flags"))
    ]
    common = set.intersection(*sets) if sets else set()
    return tuple(name for name, needed in _ISA.items() if common.issuperset(needed))


def core_name(number: int, system: System = HERE) -> str:
    """Return the kind of one core: "Cortex-A76", or a PC's model name; empty where not known."""
    for block in _cpuinfo(system):
        if block.get("processor") != str(number):
            continue
        try:
            part = int(block.get("CPU part", ""), 16)
        except ValueError:
            return block.get("model name", "")
        arm = block.get("CPU implementer") == "0x41"
        return _ARM_PARTS.get(part, "") if arm else block.get("model name", "")
    return ""


def _cpuinfo(system: System) -> list[dict[str, str]]:
    """Return what /proc/cpuinfo says of each core."""
    found: list[dict[str, str]] = []
    for text in system.text("/proc/cpuinfo").split("\n\n"):
        pairs = (line.partition(":") for line in text.splitlines())
        block = {name.strip(): value.strip() for name, _, value in pairs}
        if "processor" in block:
            found.append(block)
    return found


def _online(system: System) -> list[int]:
    numbers: set[int] = set()
    for part in system.text(f"{_CPU}/online").split(","):
        first, _, last = part.strip().partition("-")
        try:
            span = range(int(first), min(int(last or first), _MOST_CORES) + 1)
        except ValueError:
            continue
        numbers.update(number for number in span if number >= 0)
    return sorted(numbers)
