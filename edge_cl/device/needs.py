"""What this machine is, what a board is, and what a learner needs of it.

A measurement means nothing without the machine: `describe_machine` goes into every result.
Board profiles are TOML files in `device_profiles/`, each figure with its source; what is
computed from them is a bound by memory traffic, not a promise of milliseconds.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Literal

import msgspec

from edge_cl.errors import InputError

__all__ = [
    "Machine",
    "Needs",
    "Profile",
    "describe_machine",
    "learner_needs",
    "load_profile",
    "profile_names",
    "refuse_oversized",
    "usable_cores",
]

_PROFILES = "edge_cl.device_profiles"  # the folder device_profiles/, as it is installed
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


class Memory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Memory of a board: sizes sold in GB, copy rate of one core in MB/s (least, most)."""

    sizes_gb: tuple[float, ...]
    copy_mb_s: tuple[float, float]
    source: str


class Runtimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The oldest version of each library that may run an encoder on a board; empty: none does.

    tflite : by TensorFlow's count, which `tflite_runtime` has; `ai_edge_litert` has its own.
    """

    onnxruntime: str = ""
    tflite: str = ""
    source: str


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One board. See device_profiles/README.md."""

    name: str
    soc: str
    core: str
    cores: int
    isa: tuple[str, ...]
    source: str
    memory: Memory
    architecture: Literal["aarch64", "x86_64"] = "aarch64"
    accelerator: Literal["", "gpu", "npu"] = ""
    runtimes: Runtimes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a learner with `d` features and `k` classes holds and moves.

    state_bytes : of the state on disk: two snapshots and the ring; its log comes to 4 MB more.
    memory_bytes : of moments, head and undo history, without Python and the network.
    learn_bytes : read or written in memory by one lesson with the ridge head, at least.
    """

    d: int
    k: int
    state_bytes: int
    memory_bytes: int
    learn_bytes: int

    def learn_ms(self, profile: Profile) -> tuple[float, float]:
        """Return the (least, most) time memory traffic alone costs on a board, in ms.

        A copy of one byte moves two.
        """
        slow, fast = profile.memory.copy_mb_s
        return self.learn_bytes / (2e3 * fast), self.learn_bytes / (2e3 * slow)


def learner_needs(d: int, k: int, *, statistics: Sequence[str] = ()) -> Needs:
    """Return the needs of a learner after the first lessons, ridge or a head of its size.

    Parameters
    ----------
    statistics : what its head needs besides (`Promise.statistics`). With "scatter" there is a
        matrix for each class, and another one where the head holds each inverse, as FeCAM does.
    """
    if d < 1 or k < 0:
        raise InputError(f"expected d >= 1 and k >= 0, got d={d}, k={k}")
    f64 = 8
    waiting = 256 * d * 2  # rows of the moments
    pending = 64 * d * f64  # rows of the head
    history = 256 * d * 2
    triangle = d * (d + 1) // 2 * f64
    squares = d * k * f64 if "squares" in statistics else 0
    matrices = k if "scatter" in statistics else 0
    return Needs(
        d=d,
        k=k,
        state_bytes=2 * ((1 + matrices) * triangle + 2 * d * k * f64 + squares + history)
        + _ring_bytes(d),
        memory_bytes=(2 + 2 * matrices) * d * d * f64
        + 2 * d * k * f64
        + squares
        + waiting
        + pending
        + history,
        learn_bytes=triangle + pending + 3 * d * k * f64,
    )


def _ring_bytes(d: int) -> int:
    """Return the size of the ring: 4096 rows (`edge_cl.store.rows`) on SQLite's pages of 4096."""
    row, page = 856 + 2 * d, 4096
    on_a_page = (page - 12) // (row + 6)  # with its head, and each row's place
    return page * (4096 // on_a_page if on_a_page else 4096 * -(-row // (page - 4)))


def refuse_oversized(d: int, *, matrices: int = 0) -> None:
    """Raise InputError where the matrices of `d` features cannot fit into this machine.

    Counted are the six of d x d that solving ridge or LDA holds at its peak, and `matrices`
    more. Where the system does not tell what is free, nothing is refused.
    """
    needed, free = (6 + matrices) * 8 * d * d, _available_bytes()
    if free is not None and needed > free:
        raise InputError(
            f"{d} features need {needed / 1e9:.1f} GB to learn with, {free / 1e9:.1f} GB are free",
            hint="take a smaller map, or a head that keeps no matrix for each class"
            if matrices
            else "take a smaller map, or none",
        )


def profile_names() -> list[str]:
    """Return the names of the profiles that ship."""
    found = (Path(entry.name) for entry in resources.files(_PROFILES).iterdir())
    return sorted(path.stem for path in found if path.suffix == ".toml")


def load_profile(name: str) -> Profile:
    """Return a profile by its name, or a user's own by the path of its TOML file.

    Raises
    ------
    InputError : there is none of that name, or the file does not fit the fields.
    """
    if name.endswith(".toml"):
        try:
            data = Path(name).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {name}: {error.strerror}") from error
    elif name in profile_names():
        data = (resources.files(_PROFILES) / f"{name}.toml").read_bytes()
    else:
        raise InputError(f"unknown device {name!r}", hint=f"one of: {', '.join(profile_names())}")
    try:
        return msgspec.toml.decode(data, type=Profile)
    except msgspec.MsgspecError as error:
        raise InputError(f"the profile {name} does not fit: {error}") from error


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


def _available_bytes() -> int | None:
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
