"""NVIDIA Jetson: power by the INA3221 on the module, the power mode, and over-current events.

An INA3221 measures three rails. Voltage and current are read from its hwmon files, in mV and mA;
JetPack 4 has them as an IIO device, whose file is the power itself, in mW. Only a rail that feeds
the whole module is the board's power: VDD_IN, or POM_5V_IN on older ones. Where a module has none,
as AGX Orin, power is not told.

    P = V · I / 10⁶                                                                            (1)
"""

from __future__ import annotations

from edge_cl.device.sensed import Sensed
from edge_cl.device.system import HERE, System

__all__ = ["is_jetson", "sense_jetson"]

_TOTALS = ("VDD_IN", "POM_5V_IN")
_OLD = "/sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_*"


def is_jetson(system: System = HERE) -> bool:
    """Say whether the board is a Jetson, or another one with a Tegra."""
    return "nvidia,tegra" in system.text("/proc/device-tree/compatible")


def sense_jetson(system: System = HERE) -> Sensed | None:
    """Read the sensors of a Jetson; None on another board."""
    if not is_jetson(system):
        return None
    asked: dict[str, str] = {}
    chips = _chips(system, "ina3221")
    power, rail = _power(system, chips)
    if rail:
        asked["power"] = rail
    alarms = [
        value
        for chip in chips
        for kind in ("max", "crit")
        for name in system.glob(f"{chip}/curr*_{kind}_alarm")
        if (value := system.number(name)) is not None
    ]
    counters = [
        value
        for chip in _chips(system, "soctherm_oc")
        for name in system.glob(f"{chip}/oc*_event_cnt")
        if (value := system.number(name)) is not None
    ]
    if alarms:
        asked["throttling"] = f"{chips[0]}/curr*_alarm"
    if counters:
        asked["throttling since boot"] = "soctherm_oc: oc*_event_cnt"
    mode = _power_mode(system.run("nvpmodel", "-q") or "")
    if mode:
        asked["power mode"] = "nvpmodel -q"
    return Sensed(
        power_w=power,
        power_mode=mode,
        now=(("throttled",) if any(alarms) else ()) if alarms else None,
        since_boot=(("throttled",) if any(counters) else ()) if counters else None,
        asked=asked,
    )


def _chips(system: System, kind: str) -> list[str]:
    """Return the hwmon folders of a kind of chip."""
    names = system.glob("/sys/class/hwmon/hwmon*/name")
    return [name.removesuffix("/name") for name in names if system.text(name) == kind]


def _power(system: System, chips: list[str]) -> tuple[float | None, str]:
    """Return what the whole module draws, in W, and where it was read."""
    for chip in chips:
        for label in system.glob(f"{chip}/in*_label"):
            if system.text(label) not in _TOTALS:
                continue
            number = label.rpartition("/in")[2].removesuffix("_label")
            mv = system.number(f"{chip}/in{number}_input")
            ma = system.number(f"{chip}/curr{number}_input")
            if mv is not None and ma is not None:
                return mv * ma / 1e6, f"{chip}, {system.text(label)}"  # (1)
    for name in system.glob(_OLD):
        if system.text(name) in _TOTALS:
            folder, _, number = name.rpartition("/rail_name_")
            mw = system.number(f"{folder}/in_power{number}_input")
            if mw is not None:
                return mw / 1e3, f"{folder}, {system.text(name)}"
    return None, ""


def _power_mode(told: str) -> str:
    for line in told.splitlines():
        _, found, mode = line.partition("NV Power Mode:")
        if found:
            return mode.strip()
    return ""
