"""The machine that a plan is for: a board by its profile, or the one at hand."""

from __future__ import annotations

from dataclasses import dataclass

from edge_cl.device import describe_machine, load_profile, usable_cores
from edge_cl.device.memory import read_memory
from edge_cl.device.profile import Profile
from edge_cl.errors import InputError
from edge_cl.planning.cores import board_speed
from edge_cl.planning.footprint import usable_bytes
from edge_cl.planning.measured_speed import measure_speed
from edge_cl.planning.span import Assumption
from edge_cl.planning.speed import Speed

__all__ = ["HERE", "Limit", "Target", "target_named"]

HERE = "here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Bytes that a process can take, and which memory that is."""

    name: str
    usable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A machine.

    profile : None for the machine at hand.
    speed : None where it is not known.
    limits : the least first; empty where it is not known.
    cores : of the fastest kind.
    """

    name: str
    profile: Profile | None
    speed: Speed | None
    limits: tuple[Limit, ...]
    cores: int
    assumptions: tuple[Assumption, ...]


def target_named(device: str, *, budget_mb: int | None = None) -> Target:
    """Return the machine that `device` names: a profile, a TOML file, or "here", measured now.

    Parameters
    ----------
    budget_mb : that the process may take, in the place of what the machine has.

    Raises
    ------
    InputError : there is no such profile, or it does not fit.
    """
    given = None
    if budget_mb is not None:
        if budget_mb < 1:
            raise InputError(f"expected a budget of 1 MB or more, got {budget_mb}")
        given = (Limit(name=f"the budget of {budget_mb} MB", usable=budget_mb * 1_000_000),)
    if device == HERE:
        speed, machine, free = measure_speed(), describe_machine(), read_memory().free
        limits = () if free is None else (Limit(name="what is free here", usable=free),)
        return Target(
            name=machine.board or machine.cpu,
            profile=None,
            speed=speed,
            limits=given or limits,
            cores=usable_cores(),
            assumptions=speed.assumptions,
        )
    profile = load_profile(device)
    speed_there = board_speed(profile)
    sizes = profile.memory.sizes_gb if profile.memory is not None else ()
    unknown = Assumption(
        "nobody has published how fast its memory copies: times of the head are not predicted",
        f"profile of {profile.name}",
        True,
    )
    told = [] if profile.memory is None else [_sizes(profile)]
    return Target(
        name=profile.name,
        profile=profile,
        speed=speed_there,
        limits=given
        or tuple(Limit(name=f"{size:g} GB", usable=usable_bytes(size)) for size in sorted(sizes)),
        cores=profile.clusters[0].cores,
        assumptions=(*told, *(speed_there.assumptions if speed_there else (unknown,))),
    )


def _sizes(profile: Profile) -> Assumption:
    if profile.memory is None:
        raise InputError(f"the profile of {profile.name} has no memory")
    sizes = ", ".join(f"{size:g}" for size in profile.memory.sizes_gb)
    verified = not isinstance(profile.memory.verified, bool)
    return Assumption(f"it is sold with {sizes} GB", profile.memory.source, verified)
