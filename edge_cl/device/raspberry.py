"""Raspberry Pi: its firmware is asked through `vcgencmd`.

Linux's own files are not enough there: cpufreq shows the clock that was asked for, while the
firmware lowers the real one on its own when the board is hot or the supply weak. `get_throttled`
is a number of 20 bits: 0 under-voltage, 1 frequency capped, 2 throttled, 3 soft temperature limit,
each of them now; 16 to 19 the same four at any time since the board was started.

A Raspberry Pi 5 measures current and voltage of the rails behind its power chip. Their sum

    P = Σ_rail  V_rail · I_rail                                                                (1)

is what runs through that chip, without its own losses, and without what USB devices and boards on
the header draw.
"""

from __future__ import annotations

import re

from edge_cl.device.sensed import Sensed
from edge_cl.device.system import HERE, System

__all__ = ["WORDS", "is_raspberry", "rails_watts", "sense_raspberry", "throttling"]

WORDS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")

_MEASURES_POWER = ("Raspberry Pi 5", "Compute Module 5")  # 500 too
_THROTTLED_FILE = "/sys/devices/platform/soc*/*firmware/get_throttled"  # hexadecimal, without 0x
_RAIL = re.compile(
    r"^\s*(\w+)_([AV])\s+(?:current|volt)\(\d+\)=([0-9]{1,9}(?:\.[0-9]*)?)[AV]\s*$",
    re.MULTILINE | re.ASCII,
)


def is_raspberry(system: System = HERE) -> bool:
    """Say whether the board is a Raspberry Pi."""
    return "Raspberry Pi" in system.text("/proc/device-tree/model")


def throttling(bits: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what `get_throttled` says: what holds the board back now, and since boot."""
    now = tuple(word for i, word in enumerate(WORDS) if bits >> i & 1)
    since = tuple(word for i, word in enumerate(WORDS) if bits >> 16 + i & 1)
    return now, since


def rails_watts(told: str) -> float | None:
    """Return what the rails of `pmic_read_adc` carry in all; None where it names none whole."""
    volts: dict[str, float] = {}
    amps: dict[str, float] = {}
    for rail, unit, value in _RAIL.findall(told):
        (amps if unit == "A" else volts)[rail] = float(value)
    whole = volts.keys() & amps.keys()
    return sum(volts[rail] * amps[rail] for rail in whole) if whole else None  # (1)


def sense_raspberry(system: System = HERE) -> Sensed | None:
    """Ask the firmware of a Raspberry Pi; None on another board.

    Where `vcgencmd` does not answer it is asked once: a reading is bounded in time.
    """
    if not is_raspberry(system):
        return None
    asked: dict[str, str] = {}
    told = system.run("vcgencmd", "get_throttled")
    bits = _hexadecimal(told, r"throttled=0x([0-9a-fA-F]{1,8})\b")
    if bits is not None:
        asked["throttling"] = "vcgencmd get_throttled"
    else:
        for name in system.glob(_THROTTLED_FILE):
            bits = _hexadecimal(system.text(name), r"^(?:0x)?([0-9a-fA-F]{1,8})$")
            asked |= {"throttling": name} if bits is not None else {}
    now, since = throttling(bits) if bits is not None else (None, None)
    temperature = clock = power = None
    if told is not None:
        temperature = _number(
            system.run("vcgencmd", "measure_temp"), r"temp=([0-9]{1,3}(?:\.[0-9]+)?)'C"
        )
        hertz = _number(
            system.run("vcgencmd", "measure_clock", "arm"), r"frequency\(\d+\)=(\d{1,12})\b"
        )
        clock = None if hertz is None else hertz / 1e6
        model = system.text("/proc/device-tree/model")
        if any(name in model for name in _MEASURES_POWER):
            power = rails_watts(system.run("vcgencmd", "pmic_read_adc") or "")
    for what, value, where in (
        ("temperature", temperature, "vcgencmd measure_temp"),
        ("clock", clock, "vcgencmd measure_clock arm"),
        ("power", power, "vcgencmd pmic_read_adc, the sum of its rails, without USB"),
    ):
        asked |= {what: where} if value is not None else {}
    return Sensed(
        temperature_c=temperature,
        clock_mhz=clock,
        power_w=power,
        now=now,
        since_boot=since,
        asked=asked,
    )


def _hexadecimal(told: str | None, pattern: str) -> int | None:
    found = re.search(pattern, told or "")
    return int(found[1], 16) if found else None


def _number(told: str | None, pattern: str) -> float | None:
    found = re.search(pattern, told or "", re.ASCII)
    return float(found[1]) if found else None
