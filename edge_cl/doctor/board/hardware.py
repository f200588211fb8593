"""Findings about the board itself: which it is, its cores, its clock, its heat, its supply."""

from __future__ import annotations

from edge_cl.device.conditions import Conditions
from edge_cl.device.processors import (
    FOLLOWS_LOAD,
    core_clusters,
    core_name,
    isa_flags,
    scaling_driver,
)
from edge_cl.device.raspberry import is_raspberry
from edge_cl.device.system import System
from edge_cl.doctor.finding import Finding, note, ok, warning

__all__ = ["board_name", "hardware_findings"]

_HOT_C = 80.0  # where boards begin to slow down, unless the system tells
_NEAR_C = 5.0
_NOT_TOLD = "the system does not tell"
_COOL = "cool the board: a heat sink, a fan, an open case"
_DO = {
    "under-voltage": "take the power supply that is made for the board, and a short, thick cable",
    "frequency capped": "cool the board, or take a stronger power supply",
    "throttled": "cool the board (heat sink, fan, open case), or give it a stronger power supply",
    "soft temperature limit": _COOL,
}


def board_name(system: System) -> str:
    """Return what the board calls itself: by its device tree, else by its firmware; or nothing."""
    model = system.text("/proc/device-tree/model")
    if not model:
        parts = [system.text(f"/sys/class/dmi/id/{n}") for n in ("sys_vendor", "product_name")]
        model = " ".join(part for part in parts if part)
    return " ".join(model.split())


def hardware_findings(system: System, conditions: Conditions) -> list[Finding]:
    """Look at everything that the board tells of itself."""
    where = dict(line.split(": ", 1) for line in conditions.asked)
    return [
        _processor(system),
        _governor(system, conditions.governor),
        _temperature(conditions, where.get("temperature", "")),
        _now(conditions, where),
        *_since_boot(conditions, where),
        *_firmware(system, conditions),
        *_power(conditions, where),
    ]


def _processor(system: System) -> Finding:
    clusters = core_clusters(system)
    kinds = []
    for cluster in clusters:
        name = core_name(cluster.cores[0], system) or "cores"
        clock = f" up to {cluster.max_mhz} MHz" if cluster.max_mhz else ""
        kinds.append(f"{len(cluster.cores)} x {name}{clock}")
    flags = isa_flags(system)
    says = f"{', '.join(kinds) or _NOT_TOLD}; {', '.join(flags) or 'no int8 or fp16 instructions'}"
    if len(clusters) > 1:
        do = "the fastest cores alone are often faster than all: edge-cl tune measures"
        return note("processor", says, do)
    return ok("processor", says)


def _governor(system: System, governor: str) -> Finding:
    driver = scaling_driver(system)
    if not governor:
        return ok("governor", _NOT_TOLD)
    if governor == "powersave" and driver not in FOLLOWS_LOAD:
        do = (
            "echo schedutil | sudo tee "
            "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor (or ondemand, performance)"
        )
        return warning("governor", "powersave: the cores run at their lowest clock", do)
    return ok("governor", f"{governor} ({driver})" if driver else governor)


def _temperature(conditions: Conditions, where: str) -> Finding:
    celsius, limit = conditions.temperature_c, conditions.slows_at_c or _HOT_C
    if celsius is None:
        return ok("temperature", _NOT_TOLD)
    says = f"{celsius:.1f} °C ({where})"
    if celsius >= limit:
        return warning("temperature", f"{says}: too hot to keep its clock", _COOL)
    if celsius >= limit - _NEAR_C:
        return note("temperature", f"{says}: it slows down at {limit:.0f} °C", _COOL)
    return ok("temperature", says)


def _now(conditions: Conditions, where: dict[str, str]) -> Finding:
    if conditions.now:
        says = f"now: {', '.join(conditions.now)} ({where.get('throttling', '')})"
        return warning("throttling", says, _DO[conditions.now[0]])
    if "throttling" not in where:
        return ok("throttling", _NOT_TOLD)
    whole = "vcgencmd" in where["throttling"] or "throttling since boot" in where
    never = " or since it was started" if whole and not conditions.since_boot else ""
    return ok("throttling", f"none now{never} ({where['throttling']})")


def _since_boot(conditions: Conditions, where: dict[str, str]) -> list[Finding]:
    past = [word for word in conditions.since_boot if word not in conditions.now]
    if not past:
        return []
    source = where.get("throttling since boot", where.get("throttling", ""))
    says = f"since it was started: {', '.join(past)} ({source})"
    return [note("throttling", says, _DO[past[0]])]


def _firmware(system: System, conditions: Conditions) -> list[Finding]:
    if not is_raspberry(system) or any("vcgencmd" in line for line in conditions.asked):
        return []
    says = "vcgencmd is not there, or may not ask: clock and temperature are Linux's guess"
    do = "sudo apt install raspi-utils; sudo usermod -aG video $USER, and log in again"
    return [warning("firmware", says, do)]


def _power(conditions: Conditions, where: dict[str, str]) -> list[Finding]:
    found = []
    if conditions.power_w is not None:
        says = f"{conditions.power_w:.2f} W ({where.get('power', '')})"
        found.append(ok("power", says))
    if conditions.power_mode:
        do = "sudo nvpmodel -q --verbose shows what it allows, -m N takes another"
        found.append(Finding(what="power mode", verdict="ok", says=conditions.power_mode, do=do))
    return found
