"""Profiles of boards: every figure has a source, and what cannot be is refused."""

import datetime
import re
from pathlib import Path

import pytest

from edge_cl import InputError
from edge_cl.device import load_profile, profile_names
from edge_cl.device import schema as s
from edge_cl.device.contradiction import ACCELERATORS, contradiction, tables
from edge_cl.encoders import accelerators

BOARDS = {
    "coral-dev-board",
    "coral-dev-board-mini",
    "coral-usb",
    "generic-arm64",
    "generic-x86-64",
    "imx8m-plus",
    "jetson-agx-orin",
    "jetson-nano",
    "jetson-orin-nano",
    "orange-pi-5",
    "raspberry-pi-3b-plus",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "raspberry-pi-5-hailo-8l",
    "raspberry-pi-zero-2-w",
    "rb3-gen-2",
    "rock-5b",
}
REFERENCE = Path(__file__).parent.parent / "docs/reference/device-profiles.md"

every_board = pytest.mark.parametrize("name", sorted(BOARDS))


def test_every_board_that_was_promised_is_there():
    assert set(profile_names()) == BOARDS


@every_board
def test_every_figure_has_a_source_and_a_day_or_none(name):
    found = dict(tables(load_profile(name)))
    assert found
    for place, table in found.items():
        assert table.source.strip(), place
        assert table.verified is False or isinstance(table.verified, datetime.date), place
        if table.verified:
            assert table.verified <= datetime.date.today(), place
            assert not re.search("general knowledge|hearsay", table.source), place
    assert any(table.verified for table in found.values())


@every_board
def test_every_board_can_run_an_encoder_and_prefers_what_it_has(name):
    profile = load_profile(name)
    ways = [(e.runtime, e.accelerator) for e in profile.executions]
    assert ("onnx", "cpu") in ways
    assert profile.runtimes is not None and profile.runtimes.onnxruntime
    if any(a.kind == "npu" for a in profile.accelerators):
        assert ways[0][1] not in ("cpu", "xnnpack")


def test_no_two_boards_share_a_name_in_the_device_tree():
    names = [c for name in profile_names() for c in load_profile(name).compatible]
    assert len(names) == len(set(names))


def test_accelerators_are_those_that_encoders_know():
    for name in accelerators.accelerator_names():
        for runtime in accelerators.runtimes_of(name):
            assert name in ACCELERATORS[runtime]
    for runtime, names in ACCELERATORS.items():
        assert all(accelerators.accelerator_for(name, runtime) for name in names)


OWN = """
name = "mine"
soc = "x"
[[clusters]]
core = "Cortex-A53"
cores = 4
max_mhz = 1000
isa = []
source = "lscpu"
verified = 2026-11-21
[memory]
sizes_gb = [1]
source = "free"
verified = false
[memory.measured]
copy_mb_s = [1, 2]
source = "here"
verified = false
"""
EXECUTION = """
[[executions]]
runtime = "litert"
accelerator = "xnnpack"
precisions = ["int8"]
source = "here"
verified = false
"""
LATENCY = """
[[latencies]]
network = "n"
precision = "int8"
library = "l"
on = "cpu"
threads = 4
ms = 1
source = "here"
verified = false
"""
ACCELERATOR = """
[[accelerators]]
name = "N"
kind = "npu"
source = "here"
verified = false
"""
THREADS = """
[threads]
encoder = 5
cores = "all"
advice = ""
source = "here"
verified = false
"""


@pytest.fixture
def own(tmp_path):
    def write(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_a_profile_of_ones_own_is_read_by_path(own):
    profile = load_profile(own(OWN + EXECUTION + LATENCY + ACCELERATOR))
    assert (profile.cores, profile.core, profile.isa) == (4, "Cortex-A53", ())
    assert profile.accelerator == "npu"
    assert profile.memory.copy_mb_s == (1, 2)


@pytest.mark.parametrize(
    "text", ['name = "x"', "name = 1", "nonsense", 'nam = "y"', "[memory]\nsizes_gb = 3"]
)
def test_a_file_that_is_no_profile_is_refused_by_name(own, text):
    with pytest.raises(InputError, match=r"mine\.toml"):
        load_profile(own(text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (OWN.replace("cores = 4", "cores = 0"), "clusters"),
        (OWN.replace("max_mhz = 1000", "max_mhz = -1"), "max_mhz"),
        (OWN.replace('source = "lscpu"', 'source = ""'), "source"),
        (OWN.replace('source = "lscpu"\n', ""), "source"),
        (OWN.replace("verified = 2026-11-21\n", ""), "verified"),
        (OWN.replace("verified = 2026-11-21", 'verified = "yes"'), "verified"),
        (OWN.replace("verified = 2026-11-21", "verified = true"), r"clusters\[0\]\.verified"),
        (OWN.replace("sizes_gb = [1]", "sizes_gb = []"), "sizes_gb"),
        (OWN.replace("sizes_gb = [1]", "sizes_gb = [-1]"), "sizes_gb"),
        (OWN.replace("[1, 2]", "[0, 2]"), "copy_mb_s"),
        (OWN.replace("[1, 2]", "[2, 1]"), r"copy_mb_s: expected \[least, most\], got \[2.0, 1.0\]"),
        (OWN.replace("[1, 2]", "[1, 2]\nset_mb_s = [4, 3]"), "set_mb_s"),
        (OWN.replace('soc = "x"', 'soc = "x"\ncompatible = ["board"]'), "compatible"),
        (re.sub(r"\[\[clusters\]\](.|\n)*?verified.*\n", "clusters = []\n", OWN), "clusters"),
        (OWN + EXECUTION.replace("xnnpack", "warp"), r"executions\[0\].*'warp'"),
        (OWN + EXECUTION.replace("xnnpack", "qnn"), "litert, got 'qnn'"),
        (OWN + EXECUTION.replace("xnnpack", "delegate:"), "delegate:/PATH"),
        (OWN + EXECUTION + EXECUTION, "litert on xnnpack is there twice"),
        (OWN + LATENCY + LATENCY, "n int8 l on cpu threads 4 is there twice"),
        (OWN + LATENCY.replace('"cpu"', '"NPU"'), r"latencies\[0\]\.on: expected one of cpu"),
        (OWN + LATENCY.replace("ms = 1", "ms = 0"), "ms"),
        (OWN + ACCELERATOR + ACCELERATOR, "N is there twice"),
        (OWN + THREADS, "at most 4"),
    ],
)
def test_what_cannot_be_is_one_clear_line(own, text, says):
    assert text != OWN
    with pytest.raises(InputError, match=says) as error:
        load_profile(own(text))
    assert "\n" not in str(error.value)
    assert "mine.toml" in str(error.value)


def test_two_latencies_that_differ_in_their_cores_are_two(own):
    big = LATENCY.replace("threads = 4", 'threads = 4\ncores = "big"')
    assert len(load_profile(own(OWN + LATENCY + big)).latencies) == 2
    delegate = EXECUTION.replace("xnnpack", "delegate:/usr/lib/libmine.so")
    assert load_profile(own(OWN + EXECUTION + delegate)).executions


def test_a_missing_profile_is_one_clear_error():
    with pytest.raises(InputError, match="cannot read"):
        load_profile("not-there.toml")


def test_the_profile_in_the_reference_is_one(own):
    text = REFERENCE.read_text(encoding="utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert load_profile(own(example)).name == "My board"


def test_every_field_is_in_the_reference():
    text = REFERENCE.read_text(encoding="utf-8")
    for name in s.__all__:
        for field in getattr(getattr(s, name), "__struct_fields__", ()):
            assert f"`{field}`" in text or f"[{field}]" in text or f".{field}]" in text, field


def test_a_profile_that_ships_contradicts_nothing():
    assert not any(contradiction(load_profile(name)) for name in profile_names())
