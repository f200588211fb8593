"""`edge-cl devices`: hearsay is never told as a fact, and nothing is left out."""

import datetime
import itertools
import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge_cl.cli import app, exit_code
from edge_cl.cli.device_lines import profile_rows, summary
from edge_cl.device import load_profile, profile_names
from edge_cl.device import schema as s
from edge_cl.device.contradiction import tables
from edge_cl.device.recognise import recognise

BOARDS = set(profile_names())

every_board = pytest.mark.parametrize("name", sorted(BOARDS))


def run(*arguments):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def generated(draw):
    """Return a profile in which every number and word is used once, and any table is verified."""
    number = itertools.count(100_003, 7)
    told = {}

    def table(kind, /, **fields):
        verified = draw(st.sampled_from([False, datetime.date(2026, 1, 2)]))
        made = kind(**fields, source="somewhere", verified=verified)
        told.update({str(value): verified for value in numbers(fields)})
        return made

    def numbers(fields):
        for value in fields.values():
            values = value if isinstance(value, tuple) else (value,)
            yield from (x for x in values if isinstance(x, int) or str(x).startswith("w"))

    def n():
        return next(number)

    def w():
        return f"w{next(number)}"

    accelerator = table(s.Accelerator, name=w(), kind="npu", tops=n())
    clusters = tuple(
        table(
            s.Cluster,
            core=w(),
            cores=n(),
            max_mhz=n(),
            isa=(w(),),
            cache=table(s.Cache, l2_kb=n(), l3_kb=n()) if draw(st.booleans()) else None,
        )
        for _ in range(draw(st.integers(1, 3)))
    )
    memory = None
    if draw(st.booleans()):
        memory = table(
            s.Memory,
            kind=w(),
            sizes_gb=(n(), n()),
            measured=table(s.Copying, copy_mb_s=(n(), n()), set_mb_s=(n(), n())),
            bus=table(s.Bus, mb_s=n()),
        )
    profile = s.Profile(
        name="a board",
        soc="a chip",
        clusters=clusters,
        memory=memory,
        accelerators=(accelerator,),
        executions=(
            table(s.Execution, runtime="onnx", accelerator=w(), precisions=("int8",), needs=w()),
        ),
        threads=table(s.Threads, encoder=n(), cores="all", advice=w()),
        sensors=(table(s.Sensor, tells="clock", where=w()),),
        power=(table(s.PowerDraw, doing=w(), watts=n()),),
        runtimes=table(s.Runtimes, onnxruntime=w(), tflite=w(), system=w()),
        latencies=(
            table(
                s.Latency, network=w(), precision="int8", library=w(), on="cpu", threads=n(), ms=n()
            ),
        ),
        throughputs=(
            table(
                s.Throughput,
                network=w(),
                precision="int8",
                library=w(),
                on="cpu",
                batch=n(),
                fps=n(),
            ),
        ),
    )
    return profile, told


@given(st.data())
def test_every_figure_is_told_and_marked_where_it_is_unverified(data):
    profile, told = generated(data.draw)
    rows = [f"{about}: {text}" for about, text in profile_rows(profile)]
    rows += summary(profile)
    for figure, verified in told.items():
        here = [row for row in rows if re.search(rf"\b{figure}\b", row)]
        assert here, f"{figure} is not told"
        for row in here:
            part = next(p for p in row.split(" + ") if re.search(rf"\b{figure}\b", p))
            assert ("unverified: " in part) == (verified is False), row


@every_board
def test_what_ships_is_told_line_by_line_with_its_source(name):
    text = run("devices", "show", name).splitlines()
    found = [table for _, table in tables(load_profile(name))]
    lines = [line for line in text if line.endswith("]")]
    assert len(lines) == len(found)
    for line, table in zip(lines, found, strict=True):
        assert table.source in line
        _, _, said = line.partition(": ")
        assert said.startswith("unverified: ") == (table.verified is False)
        assert (f"seen {table.verified}]" in line) == (table.verified is not False)


@every_board
def test_json_has_every_figure_with_its_standing(name):
    shown = json.loads(run("devices", "show", name, "--json"))
    assert shown.pop("device") == name
    again = msgspec.convert(shown, s.Profile, strict=False)
    for (place, one), (_, other) in zip(tables(load_profile(name)), tables(again), strict=True):
        assert one.source == other.source, place
        assert bool(one.verified) == bool(other.verified), place


def test_bare_devices_lists_all_and_marks_this_machine():
    text = run("devices")
    assert text == run("devices", "list")
    rows = text.splitlines()[1:]
    assert {row[2:].split()[0] for row in rows} == BOARDS
    name, _ = recognise()
    assert [row[2:].split()[0] for row in rows if row.startswith("*")] == [name]
    listed = json.loads(run("devices", "--json"))
    assert [one["device"] for one in listed if one["here"]] == [name]
    assert {one["device"] for one in listed} == BOARDS


def test_an_unknown_board_says_which_there_are_and_that_a_file_works(capsys):
    assert exit_code(["devices", "show", "toaster"]) == 1
    message, hint = capsys.readouterr().err.splitlines()
    assert "toaster" in message
    assert "raspberry-pi-5" in hint and ".toml" in hint


@pytest.mark.parametrize(
    "data", [b"", b"\x80\xff", b"x = [", b"x = " + b"[" * 5000, b"x=" + b"9" * 9999]
)
def test_a_file_that_is_no_profile_is_one_line(tmp_path, capsys, data):
    path = tmp_path / "mine.toml"
    path.write_bytes(data)
    assert exit_code(["devices", "show", str(path)]) == 1
    (message,) = capsys.readouterr().err.splitlines()
    assert str(path) in message


def test_a_profile_of_ones_own_is_shown_by_its_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nsoc = "x"\n[[clusters]]\ncore = "Cortex-A55"\ncores = 4\nmax_mhz = 0\n'
        'isa = ["dotprod"]\nsource = "lscpu"\nverified = false\n',
        encoding="utf-8",
    )
    shown = run("devices", "show", str(path)).splitlines()
    assert shown[-1] == "cores: unverified: 4 Cortex-A55, dotprod [lscpu]"
