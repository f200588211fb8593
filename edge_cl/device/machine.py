"""The machine at hand. A measurement means nothing without it: it goes into every result."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

__all__ = ["Machine", "available_bytes", "describe_machine", "usable_cores"]

_PACKAGES = ("edge-cl", "numpy", "numba", "onnxruntime", "ai-edge-litert", "tflite-runtime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine that a result was measured on.

    cores : that this process may use.  memory_gb : in all.
    governor : of the first core, empty where the system does not tell.
    packages : name -> version, of what was installed of those that matter.
    """

    cpu: str
    board: str
    architecture: str
    cores: int
    memory_gb: float
    governor: str
    system: str
    python: str
    packages: dict[str, str]


def usable_cores() -> int:
    """Return how many cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1


def describe_machine() -> Machine:
    """Return what this machine says of itself; what it does not say is empty."""
    return Machine(
        cpu=_cpu_name(),
        board=_text("/proc/device-tree/model").rstrip("\0"),
        architecture=platform.machine(),
        cores=usable_cores(),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        governor=_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        system=f"{platform.system()} {platform.release().partition('-')[0]}",
        python=platform.python_version(),
        packages={name: v for name in _PACKAGES if (v := _version(name))},
    )


def available_bytes() -> int | None:
    """Return what memory is free, or None where the system does not tell."""
    for line in _text("/proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        if key == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _cpu_name() -> str:
    for line in _text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or platform.machine()


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
