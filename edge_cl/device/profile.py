"""Profiles of boards: those that ship, and a user's own, one TOML file each.

What a profile says is described in `edge_cl.device.schema`.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import msgspec

from edge_cl.device.contradiction import contradiction
from edge_cl.device.schema import Execution, Latency, Profile, Threads
from edge_cl.errors import InputError

__all__ = ["Execution", "Latency", "Profile", "Threads", "load_profile", "profile_names"]

_PROFILES = "edge_cl.device_profiles"  # the folder device_profiles/, as it is installed


def profile_names() -> list[str]:
    """Return the names of the profiles that ship."""
    found = (Path(entry.name) for entry in resources.files(_PROFILES).iterdir())
    return sorted(path.stem for path in found if path.suffix == ".toml")


def load_profile(name: str) -> Profile:
    """Return a profile by its name, or a user's own by the path of its TOML file.

    Raises
    ------
    InputError : there is none of that name, or the file does not fit the fields, or itself.
    """
    if name.endswith(".toml"):
        try:
            data = Path(name).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {name}: {error.strerror}") from error
    elif name in profile_names():
        data = (resources.files(_PROFILES) / f"{name}.toml").read_bytes()
    else:
        raise InputError(
            f"unknown device {name!r}",
            hint=f"one of: {', '.join(profile_names())}; or the path of a .toml file of your own",
        )
    try:
        profile = msgspec.toml.decode(data, type=Profile)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # ValueError: not text
        raise InputError(f"the profile {name} does not fit: {error}") from error
    if wrong := contradiction(profile):
        raise InputError(f"the profile {name} contradicts itself: {wrong}")
    return profile
