"""What a reader of a result should know, and what forbids none of its numbers.

A governor that raises the clock late, a machine that was busy, what happened before the run, parts
of a network that fell back, and that a board cannot tell whether it was held back: each may
explain a number. What makes a run invalid is told by `edge_cl.device.held_back`.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_cl.bench.document import EncoderBench, Reading

__all__ = ["notes"]

_SLOW = "conservative"


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
