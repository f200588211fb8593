"""Whether a board was itself while it was measured.

A run is not valid where what it measured was something else than the board:

- it was held back at any moment of the run: under-voltage, throttled, frequency capped, at its
  soft temperature limit; or, as boards remember it, at any moment since the run began
- the governor was `powersave`: it keeps the clock at its lowest, or prefers that
- the governor, or a Jetson's power mode, changed on the way: two machines were measured

`conservative`, `ondemand` and `schedutil` reach the top clock under a load that does not end; the
first one late. That, a busy machine, what happened before the run, and that a board cannot tell
whether it was held back, is noted: it may explain a number, it does not forbid it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edge_cl.bench.document import EncoderBench, Reading

__all__ = ["notes", "reasons_against"]

_LOWEST = "powersave"
_SLOW = "conservative"


def reasons_against(readings: Sequence[Reading]) -> tuple[str, ...]:
    """Return why a run with these readings is not valid; empty: it is."""
    found: list[str] = []
    seen = _ordered(what for reading in readings for what in reading.now)
    found += [f"{what} during the run" for what in seen]
    known = set(readings[0].since_boot) | set(seen) if readings else set()
    later = _ordered(what for reading in readings for what in reading.since_boot)
    found += [f"{what} since the run began" for what in later if what not in known]
    governors = _ordered(reading.governor for reading in readings if reading.governor)
    if _LOWEST in governors:
        found.append(f"the governor is {_LOWEST}, which keeps the clock low")
    if len(governors) > 1:
        found.append(f"the governor changed during the run: {' to '.join(governors)}")
    modes = _ordered(reading.power_mode for reading in readings if reading.power_mode)
    if len(modes) > 1:
        found.append(f"the power mode changed during the run: {' to '.join(modes)}")
    return tuple(found)


def notes(
    readings: Sequence[Reading],
    encoders: Sequence[EncoderBench],
    *,
    asked: Sequence[str],
    load: float,
    cores: int,
) -> tuple[str, ...]:
    """Return what a reader of the numbers should know.

    Parameters
    ----------
    asked : where conditions were read; `Conditions.asked`.
    load : runnable processes in the minute before.
    """
    found = [f"{e.name}: {line}" for e in encoders for line in e.placement.fallbacks]
    if load > cores:
        found.append(f"the machine was busy before: load {load:.1f} on {cores} cores")
    if readings:
        during = {what for reading in readings for what in reading.now}
        before = [what for what in readings[0].since_boot if what not in during]
        found += [f"{what} before the run, since the board was started" for what in before]
        if any(reading.governor == _SLOW for reading in readings):
            found.append(f"the governor is {_SLOW}: it raises the clock step by step")
    if not any(where.startswith("throttling:") for where in asked):
        found.append("this machine does not tell whether it was throttled")
    return tuple(found)


def _ordered(values: Iterable[str]) -> list[str]:
    """Return each value once, in the order of its first appearance."""
    return list(dict.fromkeys(values))
