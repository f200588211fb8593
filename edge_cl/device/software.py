"""The Python that runs, its C library, and the packages that decide what can run here."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass

from edge_cl.device.machine import describe_machine

__all__ = ["Software", "read_software", "version_numbers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """What edge-cl runs on.

    bits : of this Python: 64, or 32 even where kernel and processor have 64.
    libc : "glibc", "musl", or empty where it cannot be told; `libc_version`: of glibc.
    packages : name -> version, of what is installed of those that matter.
    """

    python: str
    bits: int
    architecture: str
    libc: str
    libc_version: str
    packages: dict[str, str]


def read_software() -> Software:
    """Return what this process runs on."""
    libc, version = _libc()
    return Software(
        python=platform.python_version(),
        bits=64 if sys.maxsize > 2**32 else 32,
        architecture=platform.machine(),
        libc=libc,
        libc_version=version,
        packages=describe_machine().packages,
    )


def version_numbers(version: str) -> tuple[int, ...]:
    """Return `(1, 21, 0)` for "1.21.0"; what follows the numbers is left out."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part[:9]) for part in found[0].split(".")) if found else ()


def _libc() -> tuple[str, str]:
    """Return name and version of the C library; musl tells neither, but its loader has its name."""
    try:
        told = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError, AttributeError):
        told = ""
    name, _, version = told.partition(" ")
    if name == "glibc":
        return name, version
    return ("musl", "") if "musl" in platform.libc_ver()[0] or _loaded_musl() else ("", "")


def _loaded_musl() -> bool:
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as stream:  # noqa: PTH123
            return any("ld-musl-" in line for line in stream)
    except OSError:
        return False
