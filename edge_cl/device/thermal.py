"""Any Linux: thermal zones, cooling devices, clocks; what a board has none of its own for."""

from __future__ import annotations

from edge_cl.device.processors import core_clusters
from edge_cl.device.sensed import Sensed
from edge_cl.device.system import HERE, System

__all__ = ["sense_thermal"]

_ZONES = "/sys/class/thermal/thermal_zone*"
_CPU = "/sys/devices/system/cpu"
# Types of zones that measure the processor, in parts: bigcore0-thermal, CPU-therm, x86_pkg_temp
_OF_PROCESSOR = ("cpu", "core", "soc", "pkg")
_CONSTANT = ("PMIC-Die",)  # of Tegra X1: always 100 degrees
_PLAUSIBLE = range(-40_000, 150_000)
_MOST_CORES = 8  # whose clock is read


def sense_thermal(system: System = HERE) -> Sensed:
    """Read the files that Linux has on most boards."""
    asked: dict[str, str] = {}
    zone, temperature = _hottest(system)
    if zone:
        asked["temperature"] = f"{zone} ({system.text(f'{zone}/type') or 'no type'})"
    clock, where = _clock(system)
    if where:
        asked["clock"] = where
    cooling, slowed = _cooling(system)
    if cooling:
        asked["throttling"] = "/sys/class/thermal/cooling_device*/cur_state"
    counts = [
        value
        for kind in ("core", "package")
        if (value := system.number(f"{_CPU}/cpu0/thermal_throttle/{kind}_throttle_count"))
        is not None
    ]
    if counts:
        asked["throttling since boot"] = f"{_CPU}/cpu0/thermal_throttle"
    return Sensed(
        temperature_c=temperature,
        slows_at_c=_passive_trip(system, zone) if zone else None,
        clock_mhz=clock,
        now=(("throttled",) if slowed else ()) if cooling else None,
        since_boot=(("throttled",) if any(counts) else ()) if counts else None,
        asked=asked,
    )


def _hottest(system: System) -> tuple[str, float | None]:
    """Return the hottest zone of the processor, else the hottest of all, and its temperature."""
    found: list[tuple[bool, int, str]] = []
    for zone in system.glob(_ZONES):
        kind, value = system.text(f"{zone}/type"), system.number(f"{zone}/temp")
        if value in _PLAUSIBLE and kind not in _CONSTANT:
            of_processor = any(part in kind.lower() for part in _OF_PROCESSOR)
            found.append((of_processor, value or 0, zone))
    if not found:
        return "", None
    _, value, zone = max(found)
    return zone, value / 1000


def _passive_trip(system: System, zone: str) -> float | None:
    """Return where a zone begins to slow the processor down."""
    trips = [
        value
        for name in system.glob(f"{zone}/trip_point_*_type")
        if system.text(name) == "passive"
        and (value := system.number(f"{name.removesuffix('_type')}_temp")) in _PLAUSIBLE
    ]
    return min(trip for trip in trips if trip is not None) / 1000 if trips else None


def _clock(system: System) -> tuple[float | None, str]:
    """Return the highest clock right now among the fastest cores, in MHz."""
    clusters = core_clusters(system)
    cores = clusters[0].cores[:_MOST_CORES] if clusters else (0,)
    clocks = {
        core: khz
        for core in cores
        if (khz := system.number(f"{_CPU}/cpu{core}/cpufreq/scaling_cur_freq")) is not None
    }
    if not clocks:
        return None, ""
    core = max(clocks, key=lambda core: clocks[core])
    return clocks[core] / 1000, f"{_CPU}/cpu{core}/cpufreq/scaling_cur_freq"


def _cooling(system: System) -> tuple[bool, bool]:
    """Return whether the processor has a cooling device that slows it down, and whether it does."""
    states = [
        system.number(f"{device}/cur_state") or 0
        for device in system.glob("/sys/class/thermal/cooling_device*")
        if _slows(system.text(f"{device}/type").lower())
    ]
    return bool(states), any(state > 0 for state in states)


def _slows(kind: str) -> bool:
    return any(part in kind for part in ("cpu", "processor", "powerclamp")) and "fan" not in kind
