"""Whether a board was itself while it was measured.

What was measured was something else than the board where

- it was held back at any moment of the run: under-voltage, throttled, frequency capped, at its
  soft temperature limit; or, as boards remember it, at any moment since the run began
- the governor was `powersave`: it keeps the clock at its lowest; but for the drivers of x86 that
  choose a clock by themselves, where it is the name of the usual one
- the governor, or a Jetson's power mode, changed on the way: two machines were measured

`conservative`, `ondemand` and `schedutil` reach the top clock under a load that does not end; the
first one late.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from edge_cl.device.processors import FOLLOWS_LOAD

__all__ = ["Moment", "reasons_against"]

_LOWEST = "powersave"


class Moment(Protocol):
    """What is read of a board at a moment: see `edge_cl.device.conditions.Conditions`."""

    @property
    def governor(self) -> str:
        """Empty where it is not told."""

    @property
    def now(self) -> tuple[str, ...]:
        """What holds it back now."""

    @property
    def since_boot(self) -> tuple[str, ...]:
        """What held it back at any time since it was started."""

    @property
    def power_mode(self) -> str:
        """Empty where it has none."""

    @property
    def driver(self) -> str:
        """What sets the clock; empty where it is not told."""


def reasons_against(moments: Sequence[Moment]) -> tuple[str, ...]:
    """Return why what was measured between the first and the last of these does not count.

    Empty: it does.
    """
    found: list[str] = []
    seen = _ordered(what for moment in moments for what in moment.now)
    found += [f"{what} during the run" for what in seen]
    known = set(moments[0].since_boot) | set(seen) if moments else set()
    later = _ordered(what for moment in moments for what in moment.since_boot)
    found += [f"{what} since the run began" for what in later if what not in known]
    governors = _ordered(moment.governor for moment in moments if moment.governor)
    if any(m.governor == _LOWEST and m.driver not in FOLLOWS_LOAD for m in moments):
        found.append(f"the governor is {_LOWEST}, which keeps the clock low")
    if len(governors) > 1:
        found.append(f"the governor changed during the run: {' to '.join(governors)}")
    modes = _ordered(moment.power_mode for moment in moments if moment.power_mode)
    if len(modes) > 1:
        found.append(f"the power mode changed during the run: {' to '.join(modes)}")
    return tuple(found)


def _ordered(values: Iterable[str]) -> list[str]:
    """Return each value once, in the order of its first appearance."""
    return list(dict.fromkeys(values))
