"""How a board is right now: temperature, clock, throttling, power.

What the board itself tells comes before what Linux tells of any board; `asked` says for each
reading where it was taken. A reading takes a millisecond from files; on a Raspberry Pi it starts
`vcgencmd` three or four times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from edge_cl.device.jetson import sense_jetson
from edge_cl.device.processors import governor, scaling_driver
from edge_cl.device.raspberry import sense_raspberry
from edge_cl.device.system import HERE, System
from edge_cl.device.thermal import sense_thermal

__all__ = ["Conditions", "read_conditions"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What sensors say; None, or empty, where there is none.

    temperature_c : of the processor.
    clock_mhz : of the fastest core, as it really runs where the board can tell.
    power_w : what the whole board draws, as far as its sensor reaches: see `asked`.
    governor : of the first core.
    now : what holds the board back now: "under-voltage", "throttled", "frequency capped",
        "soft temperature limit".
    since_boot : the same, at any time since it was started.
    asked : where these were read, to be told along with them. What is not in it nobody was asked:
        an empty `now` then means nothing.
    slows_at_c : where the system begins to slow the processor down.
    power_mode : of a Jetson: "15W", "MAXN".
    driver : what sets the clock as the governor says.
    """

    temperature_c: float | None
    clock_mhz: float | None
    power_w: float | None
    governor: str
    now: tuple[str, ...]
    since_boot: tuple[str, ...]
    asked: tuple[str, ...]
    slows_at_c: float | None = None
    power_mode: str = ""
    driver: str = ""


def read_conditions(system: System = HERE) -> Conditions:
    """Ask every sensor that the board has. Never raises: what cannot be read is not known."""
    kinds = (sense_raspberry(system), sense_jetson(system), sense_thermal(system))
    told = [kind for kind in kinds if kind is not None]
    asked: dict[str, str] = {}
    for one in told:
        asked = one.asked | asked  # the first that tells is the one that counts
    return Conditions(
        temperature_c=_first([one.temperature_c for one in told]),
        clock_mhz=_first([one.clock_mhz for one in told]),
        power_w=_first([one.power_w for one in told]),
        governor=governor(system),
        now=_first([one.now for one in told]) or (),
        since_boot=_first([one.since_boot for one in told]) or (),
        asked=tuple(f"{what}: {where}" for what, where in asked.items()),
        slows_at_c=_first([one.slows_at_c for one in told]),
        power_mode=next((one.power_mode for one in told if one.power_mode), ""),
        driver=scaling_driver(system),
    )


def _first(values: list[_T | None]) -> _T | None:
    return next((value for value in values if value is not None), None)
