"""What one kind of sensor says of a board; each of them knows a part."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Sensed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensed:
    """A part of `Conditions`; None, or empty, where this kind of sensor does not tell.

    now, since_boot : None: it does not tell; (): it tells that nothing holds the board back.
    asked : what was read -> where.
    """

    temperature_c: float | None = None
    slows_at_c: float | None = None
    clock_mhz: float | None = None
    power_w: float | None = None
    power_mode: str = ""
    now: tuple[str, ...] | None = None
    since_boot: tuple[str, ...] | None = None
    asked: dict[str, str]
