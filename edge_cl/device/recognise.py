"""Which of the profiles that ship is of the board at hand."""

from __future__ import annotations

import functools
import platform

from edge_cl.device.profile import Profile, load_profile, profile_names
from edge_cl.device.system import HERE, System

__all__ = ["GENERIC", "recognise"]

GENERIC = {"aarch64": "generic-arm64", "x86_64": "generic-x86-64"}


def recognise(system: System = HERE) -> tuple[str, Profile] | None:
    """Return the name and the profile of a board; the generic one where it is not known.

    By the names in its device tree, the most special first; they are matched whole. Where none
    is known, by the architecture (of a record: what `uname -m` answered). None for one that has
    no profile. What is plugged in is not seen: a Raspberry Pi 5 with
    an accelerator is recognised as a Raspberry Pi 5.
    """
    profiles = _shipped()
    for compatible in system.text("/proc/device-tree/compatible").split("\0"):
        for name, profile in profiles.items():
            if compatible in profile.compatible:
                return name, profile
    generic = GENERIC.get(_architecture(system))
    return None if generic is None else (generic, profiles[generic])


@functools.cache
def _shipped() -> dict[str, Profile]:
    """Return all profiles by name; reading them takes a tenth of a second."""
    return {name: load_profile(name) for name in profile_names()}


def _architecture(system: System) -> str:
    return platform.machine() if system.here else system.run("uname", "-m") or ""
