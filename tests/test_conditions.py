"""What sensors say: from boards on paper, from any number the firmware may give, from nothing."""

import time
from pathlib import Path

import pytest
from boards.unpack import NAMES, board
from hypothesis import given
from hypothesis import strategies as st

from edge_cl.device.conditions import read_conditions
from edge_cl.device.processors import core_clusters, core_name, isa_flags
from edge_cl.device.raspberry import rails_watts, throttling
from edge_cl.device.system import HERE, System

# -- Raspberry Pi ------------------------------------------------------------------------------

# The table of Raspberry Pi's documentation of get_throttled, by hand
NOW = {0x1: "under-voltage", 0x2: "frequency capped", 0x4: "throttled"} | {
    0x8: "soft temperature limit"
}
SINCE = {0x10000: "under-voltage", 0x20000: "frequency capped", 0x40000: "throttled"} | {
    0x80000: "soft temperature limit"
}


@given(st.integers(0, 2**20 - 1))
def test_every_number_of_the_firmware_reads_as_the_table_says(bits):
    now, since = throttling(bits)
    assert set(now) == {word for mask, word in NOW.items() if bits & mask}
    assert set(since) == {word for mask, word in SINCE.items() if bits & mask}
    assert len(now) + len(since) == bin(bits & 0xF000F).count("1")


@given(st.sets(st.sampled_from(sorted(NOW))), st.sets(st.sampled_from(sorted(SINCE))))
def test_words_and_numbers_are_one_to_one(now, since):
    told = throttling(sum(now) + sum(since))
    assert [set(words) for words in told] == [{NOW[n] for n in now}, {SINCE[n] for n in since}]


@pytest.mark.parametrize(
    ("said", "now"),
    [
        ("throttled=0x50005", ("under-voltage", "throttled")),
        ("throttled=0x0", ()),
        ("throttled=0x8\n", ("soft temperature limit",)),
        ("throttled=", ()),
        ("error=2 error_msg", ()),
        ("VCHI initialization failed", ()),
    ],
)
def test_what_get_throttled_prints(tmp_path, said, now):
    system = board("raspberry-pi-5", tmp_path, {"/programs/vcgencmd get_throttled": said})
    assert read_conditions(system).now == now
    asked = "vcgencmd get_throttled" in " ".join(read_conditions(system).asked)
    assert asked == said.startswith("throttled=0x")


def test_without_vcgencmd_the_kernel_is_asked_and_the_clock_is_linux_s(tmp_path):
    mute = {f"/programs/vcgencmd {verb}": None for verb in ("get_throttled", "measure_temp")}
    mute |= {"/programs/vcgencmd measure_clock arm": None}
    file = "/sys/devices/platform/soc/soc:firmware/get_throttled"
    found = read_conditions(board("raspberry-pi-4", tmp_path, {**mute, file: "50005"}))
    assert found.now == ("under-voltage", "throttled")
    assert f"throttling: {file}" in found.asked
    assert found.clock_mhz == 1800
    assert found.temperature_c == 62.322


def test_watts_are_the_sum_over_rails_that_have_both():
    told = """
      3V3_SYS_A current(1)=0.5000A
      VDD_CORE_A current(7)=2.00000000A
      LONELY_A current(8)=9.0A
      3V3_SYS_V volt(9)=3.3V
      VDD_CORE_V volt(15)=0.90000000V
      EXT5V_V volt(24)=5.10000000V
      ODD_V volt(25)=nanV
    """
    assert rails_watts(told) == pytest.approx(0.5 * 3.3 + 2 * 0.9)
    assert rails_watts('error=1 error_msg="Command not registered"') is None


# -- boards on paper -----------------------------------------------------------------------------

THROTTLED = ("throttled",)
# temperature, clock, power, now, since boot, where the temperature was read
EXPECTED = {
    "raspberry-pi-4": (
        *(62.3, 600.16992, None, ("under-voltage", "throttled"), ("under-voltage", "throttled")),
        "vcgencmd measure_temp",
    ),
    "raspberry-pi-5": (49.4, 2400.033792, 3.84, (), (), "vcgencmd measure_temp"),
    "raspberry-pi-3b-plus": (
        *(63.9, 1200.126, None, ("soft temperature limit",), ("soft temperature limit",)),
        "vcgencmd measure_temp",
    ),
    "jetson-orin-nano": (51.281, 1510.4, 5.04 * 1.248, (), THROTTLED, "(cpu-thermal)"),
    "rk3588": (83.23, 2208.0, None, THROTTLED, (), "(bigcore0-thermal)"),
    "x86-laptop": (54.0, 2900.0, None, (), THROTTLED, "(x86_pkg_temp)"),
    "container": (None, None, None, (), (), ""),
}


@pytest.mark.parametrize("name", NAMES)
def test_what_each_board_says(name, tmp_path):
    found = read_conditions(board(name, tmp_path))
    celsius, mhz, watts, now, since, where = EXPECTED[name]
    assert (found.temperature_c, found.clock_mhz) == (celsius, mhz)
    assert found.power_w == (None if watts is None else pytest.approx(watts))
    assert (found.now, found.since_boot) == (now, since)
    assert (
        any(line.startswith("temperature: ") and line.endswith(where) for line in found.asked)
        or not where
    )
    assert found.power_mode == ("15W" if "jetson" in name else "")
    assert found.slows_at_c == {"jetson-orin-nano": 99.0, "rk3588": 85.0}.get(name)


def test_what_is_not_among_the_asked_was_not_read(tmp_path):
    """A reading and its place come together: else nobody could know what an empty one means."""
    for name in NAMES:
        found = read_conditions(board(name, tmp_path / name))
        asked = {line.split(": ")[0] for line in found.asked}
        assert ("temperature" in asked) == (found.temperature_c is not None)
        assert ("clock" in asked) == (found.clock_mhz is not None)
        assert ("power" in asked) == (found.power_w is not None)
        if found.now:
            assert "throttling" in asked


def test_a_jetson_says_which_rail_and_whether_current_is_too_high(tmp_path):
    chip = "/sys/class/hwmon/hwmon1"
    alarm = {f"{chip}/curr1_crit_alarm": "1"}
    assert read_conditions(board("jetson-orin-nano", tmp_path / "a", alarm)).now == THROTTLED
    other = {f"{chip}/in1_label": "VDD_GPU_SOC"}  # AGX Orin: no rail feeds the whole module
    found = read_conditions(board("jetson-orin-nano", tmp_path / "b", other))
    assert found.power_w is None
    old = "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    jetpack_4 = {
        **other,
        f"{old}/rail_name_0": "POM_5V_IN",
        f"{old}/in_power0_input": "2275",
        "/sys/class/thermal/thermal_zone0/type": "PMIC-Die",  # always 100 degrees
        "/sys/class/thermal/thermal_zone0/temp": "100000",
        "/sys/class/thermal/thermal_zone1/type": "CPU-therm",
    }
    found = read_conditions(board("jetson-orin-nano", tmp_path / "c", jetpack_4))
    assert found.power_w == 2.275
    assert found.temperature_c == 49.968  # soc0, hotter than CPU-therm
    assert "thermal_zone0" not in " ".join(found.asked)


def test_a_fan_that_turns_slows_nothing_down(tmp_path):
    fan = "/sys/class/thermal/cooling_device1"
    found = read_conditions(board("rk3588", tmp_path, {f"{fan}/type": "pwm-fan"}))
    assert found.now == ()
    assert any(line.startswith("throttling:") for line in found.asked)


@pytest.mark.parametrize("value", ["", "-274000", "151000", "hot", "9" * 400])
def test_a_temperature_that_cannot_be_is_none(tmp_path, value):
    zone = {"/sys/class/thermal/thermal_zone1/temp": value}
    found = read_conditions(board("x86-laptop", tmp_path, zone))
    assert found.temperature_c == 58.0  # the zone of the firmware, since that of the chip is mad


# -- cores -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kinds", "isa"),
    [
        ("raspberry-pi-4", [("Cortex-A72", 4, 1800)], ()),
        ("raspberry-pi-5", [("Cortex-A76", 4, 2400)], ("dotprod", "fp16")),
        ("raspberry-pi-3b-plus", [("Cortex-A53", 4, 1400)], ()),
        ("jetson-orin-nano", [("Cortex-A78AE", 6, 1728)], ("dotprod", "fp16")),
        ("rk3588", [("Cortex-A76", 4, 2400), ("Cortex-A55", 4, 1800)], ("dotprod", "fp16")),
        ("container", [("AMD EPYC 7B13", 2, 0)], ("avx2",)),
    ],
)
def test_cores_by_kind_the_fastest_first(tmp_path, name, kinds, isa):
    system = board(name, tmp_path)
    found = core_clusters(system)
    told = [(core_name(c.cores[0], system), len(c.cores), c.max_mhz) for c in found]
    assert told == kinds
    assert isa_flags(system) == isa


def test_a_flag_that_one_core_lacks_is_no_flag_of_the_board(tmp_path):
    text = (board("rk3588", tmp_path).path("/proc/cpuinfo")).read_text()
    (tmp_path / "proc/cpuinfo").write_text(text.replace(" asimddp", "", 1))
    assert isa_flags(System(tmp_path)) == ("fp16",)


@pytest.mark.parametrize(
    ("online", "cores"),
    [("0-3", 4), ("0,2-3,7", 4), ("", 0), ("0-99999999999", 4097), ("x", 0), ("3-1", 0), ("-1", 0)],
)
def test_which_cores_are_online(tmp_path, online, cores):
    system = board("container", tmp_path, {"/sys/devices/system/cpu/online": online})
    assert sum(len(c.cores) for c in core_clusters(system)) == cores


# -- programs --------------------------------------------------------------------------------------


def script(folder, name, text):
    path = Path(folder) / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_program_that_hangs_fails_or_is_missing_answers_nothing(tmp_path, monkeypatch):
    script(tmp_path, "hangs", "exec sleep 60")
    script(tmp_path, "fails", "echo half; exit 1")
    script(tmp_path, "tells", "echo ' 42 '; echo noise >&2")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("edge_cl.device.system._SECONDS", 0.3)
    begun = time.monotonic()
    assert [HERE.run(name) for name in ("hangs", "fails", "missing", "tells")] == [None] * 3 + [
        "42"
    ]
    assert time.monotonic() - begun < 30


def test_this_machine_answers_or_says_nothing():
    found = read_conditions()
    assert found.temperature_c is None or -40 < found.temperature_c < 150
    assert found.clock_mhz is None or found.clock_mhz > 1
