"""What a benchmark's numbers mean: early stopping, validity, sensors, tolerances, the table."""

import json
import threading
import time

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from edge_cl import InputError
from edge_cl.bench import compare, markdown_table, read_report, tolerance_named, write_report
from edge_cl.bench.compare import Tolerance
from edge_cl.bench.document import (
    STAGES,
    Batch,
    BenchReport,
    ColdStart,
    EncoderBench,
    Memory,
    Point,
    Reading,
    Written,
)
from edge_cl.bench.early_stopping import FEWEST, conservative_p90, queries_above
from edge_cl.bench.figures import FIGURES
from edge_cl.bench.notes import notes
from edge_cl.bench.pictures import draw_report, draw_sustained
from edge_cl.bench.stream import Recording, percentiles, single_stream
from edge_cl.bench.sustained import series, slowdown
from edge_cl.bench.watch import Watch
from edge_cl.bench.writing import BY_KERNEL, BY_SIZE, Account
from edge_cl.device import describe_machine
from edge_cl.device.conditions import Conditions
from edge_cl.device.held_back import reasons_against
from edge_cl.placement import Placement

# -- early stopping --------------------------------------------------------------------------


def above_by_scipy(queries, p=0.9, confidence=0.99):
    """Return the largest t with P(X <= t) <= 1 - c, X binomial (queries, 1 - p)."""
    t = np.arange(queries + 1)
    return int(np.count_nonzero(binom.cdf(t, queries, 1 - p) <= 1 - confidence)) - 1


@settings(max_examples=150)
@given(st.integers(1, 60_000))
def test_early_stopping_is_the_binomial_test(queries):
    assert queries_above(queries) == above_by_scipy(queries)


def test_other_percentiles_follow_the_same_rule():
    assert queries_above(5000, p=0.99, confidence=0.9) == above_by_scipy(5000, 0.99, 0.9)


def test_the_bound_needs_64_queries_and_drops_all_but_the_t_slowest():
    assert (queries_above(63), queries_above(FEWEST)) == (0, 1)
    assert conservative_p90([1.0] * 63) is None
    assert conservative_p90(list(range(64))) == 63  # t = 1: nothing is dropped
    shuffled = np.random.default_rng(0).permutation(24_576).astype(float)
    t = above_by_scipy(24_576)
    assert conservative_p90(shuffled) == sorted(shuffled, reverse=True)[t - 1]


def test_the_bound_holds_as_often_as_it_says():
    rng = np.random.default_rng(1)
    above = [conservative_p90(rng.random(200)) >= 0.9 for _ in range(2000)]
    assert np.mean(above) >= 0.985


# -- the stream ------------------------------------------------------------------------------


def test_a_stream_counts_all_turns_but_the_warm_up():
    seen, shares = [], []

    def turn():
        seen.append(len(seen))
        return float(seen[-1]), 1.0

    found = single_stream(
        turn, ["a", "b"], seconds=0.0, repetitions=20, warm_up=3, progress=shares.append
    )
    assert found.columns["a"].tolist() == list(range(3, 23))
    assert found.columns["b"].tolist() == [1.0] * 20
    assert shares == [1.0]


def test_a_stream_goes_on_until_the_time_is_over():
    found = single_stream(
        lambda: (time.sleep(0.01),) and (1.0,),
        ["a"],
        seconds=0.3,
        repetitions=20,
        warm_up=0,
        progress=lambda share: None,
    )
    assert found.duration_s >= 0.3
    assert 20 <= len(found.began_s) <= 31
    assert (np.diff(found.began_s) >= 0.01).all()


# -- conditions ------------------------------------------------------------------------------


def reading(**other):
    usual = {
        "at_s": 0.0,
        "temperature_c": None,
        "clock_mhz": None,
        "power_w": None,
        "governor": "",
        "now": (),
        "since_boot": (),
        "power_mode": "",
    }
    return Reading(**usual | other)


QUIET = reading(governor="schedutil")


@pytest.mark.parametrize(
    ("readings", "reason"),
    [
        ([QUIET, reading(governor="schedutil", now=("throttled",)), QUIET], "throttled during"),
        ([reading(now=("under-voltage",)), reading()], "under-voltage during"),
        ([reading(), reading(since_boot=("frequency capped",))], "frequency capped since the run"),
        ([reading(governor="powersave")] * 2, "the governor is powersave"),
        ([QUIET, reading(governor="performance")], "changed during the run: schedutil to perf"),
        ([reading(power_mode="15W"), reading(power_mode="MAXN")], "power mode changed"),
    ],
)
def test_a_board_that_was_held_back_makes_no_valid_run(readings, reason):
    (found,) = reasons_against(readings)
    assert reason in found


@pytest.mark.parametrize(
    "readings",
    [
        [QUIET, QUIET],
        [reading(since_boot=("throttled",))] * 3,  # it was, before
        [reading(governor="conservative")] * 2,
        [reading(governor="performance", temperature_c=84.0)] * 2,
        [],
    ],
)
def test_a_board_that_was_itself_makes_a_valid_run(readings):
    assert reasons_against(readings) == ()


def test_a_throttling_that_shows_now_and_since_boot_is_told_once():
    both = reading(now=("throttled",), since_boot=("throttled",))
    assert reasons_against([reading(), both]) == ("throttled during the run",)


def told(**other):
    usual = {"asked": ("throttling: vcgencmd get_throttled",), "load": 0.1, "cores": 4}
    readings, encoders = other.pop("readings", [QUIET]), other.pop("encoders", [])
    return notes(readings, encoders, **usual | other)


def test_what_may_explain_a_number_is_noted():
    assert told() == ()
    assert "does not tell whether it was throttled" in told(asked=("clock: file",))[0]
    assert "load 5.0 on 4 cores" in told(load=5.0)[0]
    assert "conservative" in told(readings=[reading(governor="conservative")])[0]
    assert "throttled before the run" in told(readings=[reading(since_boot=("throttled",))])[0]


def conditions(**other):
    usual = {
        "temperature_c": 40.0,
        "clock_mhz": 1500.0,
        "power_w": None,
        "governor": "ondemand",
        "now": (),
        "since_boot": (),
        "asked": ("clock: a file",),
    }
    return Conditions(**usual | other)


def test_the_board_is_read_before_meanwhile_and_afterwards():
    calls = []

    def read():
        calls.append(threading.current_thread())
        return conditions(temperature_c=float(len(calls)))

    with Watch(read=read, every_s=0.01) as watch:
        time.sleep(0.2)
    own = threading.current_thread()
    assert calls[0] is own
    assert calls[-1] is own
    assert len([thread for thread in calls if thread is not own]) >= 3
    assert [r.temperature_c for r in watch.readings] == list(range(1, len(calls) + 1))
    assert watch.asked == ("clock: a file",)
    at = [r.at_s for r in watch.readings]
    assert at == sorted(at)


def test_slow_sensors_are_read_so_seldom_that_it_does_not_show():
    spent = []

    def read():
        start = time.perf_counter()
        time.sleep(0.004)
        spent.append(time.perf_counter() - start)
        return conditions()

    with Watch(read=read, every_s=0.001):
        start = time.perf_counter()
        time.sleep(2.0)
        took = time.perf_counter() - start
    assert sum(spent[1:-1]) < 0.01 * took


def test_a_sensor_that_fails_is_no_silent_gap():
    own = threading.current_thread()

    def read():
        if threading.current_thread() is not own:
            raise RuntimeError("the sensor is gone")
        return conditions()

    with pytest.raises(RuntimeError, match="the sensor is gone"), Watch(read=read, every_s=0.01):
        time.sleep(0.2)


# -- what goes to the disk -------------------------------------------------------------------


def test_bytes_that_are_written_are_counted(tmp_path):
    account = Account(tmp_path)
    with (tmp_path / "file").open("wb") as stream:
        stream.write(b"x" * 300_000)
    counted, by = account.closed()
    assert by in (BY_KERNEL, BY_SIZE)
    assert 300_000 <= counted <= 500_000


def test_where_the_kernel_keeps_no_account_the_files_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("edge_cl.bench.writing._IO", tmp_path / "none")
    (tmp_path / "old").write_bytes(b"x" * 50)
    account = Account(tmp_path)
    (tmp_path / "new").write_bytes(b"x" * 700)
    assert account.closed() == (700, BY_SIZE)


# -- over time -------------------------------------------------------------------------------


def test_a_run_over_time_has_medians_of_its_parts():
    at = np.arange(0, 100, 0.1)
    ms = np.where(at < 50, 4.0, 6.0)
    recording = Recording(
        began_s=at, columns={"a prediction": ms, "a lesson": ms + 1}, duration_s=100.0
    )
    readings = [reading(at_s=5.0 + t, clock_mhz=2000.0 - 10 * t) for t in range(100)]
    points = series(recording, readings, 5.0)
    assert len(points) == 180
    assert sum(p.n for p in points) == len(at)
    assert [p.predict for p in points if p.at_s < 49] == [4.0] * len(
        [p for p in points if p.at_s < 49]
    )
    assert points[-1].lesson == 7.0
    assert slowdown(points) == 1.5
    clocks = [p.clock_mhz for p in points if p.clock_mhz is not None]
    assert clocks == sorted(clocks, reverse=True)
    assert len(clocks) == 100
    assert all(p.temperature_c is None for p in points)


# -- comparing -------------------------------------------------------------------------------


def result(*, factor=1.0, machine=None, fallbacks=(), sustained=(), **other):
    ms = percentiles([factor * v for v in np.linspace(4.0, 6.0, 101)])
    encoder = EncoderBench(
        runtime="onnx",
        precision="int8",
        placement=Placement(
            runtime="onnx",
            precision="int8",
            accelerator="cpu",
            threads=1,
            cores=None,
            nodes={"CPU": 3},
            fallbacks=fallbacks,
        ),
        threads=1,
        head="ridge",
        feature_map="identity",
        d=8,
        k=3,
        stages=dict.fromkeys(STAGES, ms),
        predict=ms,
        lesson=ms,
        lesson_over_predict=1.0,
        fold=ms,
        load_ms=1.0,
        first_ms=1.0,
        duration_s=1.0,
        batch=Batch(rows=1000 / factor, rows_together=8, pictures=None, pictures_together=0),
        cold_start=ColdStart(n=1, total_ms=900 * factor, import_ms=1.0, open_ms=1.0, first_ms=1.0),
        memory=Memory(rss_mb=None, peak_mb=100 * factor),
        written=Written(bytes_a_lesson=8000 * factor, lessons=5, counted_by=BY_KERNEL),
        energy=None,
        sustained=sustained,
    )
    usual = {
        "when": "2026-01-01T00:00:00Z",
        "bundle": "b",
        "bundle_sha256": "0" * 64,
        "machine": machine or describe_machine(),
        "kernels": "numba",
        "disk": "ext4",
        "encoders": (encoder,),
        "skipped": {},
        "valid": True,
        "invalid_because": (),
        "notes": (),
        "conditions": (QUIET,),
        "asked": (),
        "load_before": 0.0,
    }
    return BenchReport(**usual | other)


def test_a_result_comes_back_from_its_file_as_it_was(tmp_path):
    point = Point(
        at_s=1.0,
        n=2,
        predict=3.0,
        predict_p90=4.0,
        lesson=5.0,
        clock_mhz=None,
        temperature_c=50.5,
        power_w=None,
    )
    report = result(sustained=(point,), fallbacks=("a node",))
    write_report(report, tmp_path / "r.json")
    assert read_report(tmp_path / "r.json") == report


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("edge-cl-bench/1", "edge-cl-bench/9"),
        lambda text: text.replace('"valid": true', '"valid": 1'),
        lambda text: text.replace('"disk"', '"dusk"'),
        lambda text: text[: len(text) // 2],
        lambda text: "",
    ],
)
def test_what_is_no_result_is_refused_in_one_line(tmp_path, change):
    path = tmp_path / "r.json"
    write_report(result(), path)
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=r"r\.json is not a result of edge-cl bench") as caught:
        read_report(path)
    assert "\n" not in str(caught.value)


def test_equal_results_have_become_no_worse():
    rows = compare(result(), result())
    measured = {name for name, f in FIGURES.items() if f.value(result().encoders[0]) is not None}
    assert {row.figure for row in rows} == measured
    assert not any(row.worse for row in rows)


def test_a_machine_that_lost_its_pace_is_worse_in_every_figure_but_not_the_other_way_round():
    slow = compare(result(factor=6.0), result())
    assert all(row.worse for row in slow)
    assert not any(row.worse for row in compare(result(), result(factor=6.0)))


def test_the_tolerance_decides_figure_by_figure():
    now, before = result(factor=1.06), result()
    strict = {"encode": Tolerance(share=0.05), "rows": Tolerance(share=0.05)}
    assert {r.figure for r in compare(now, before, strict) if r.worse} == {"encode", "rows"}
    assert not any(r.worse for r in compare(now, before, {"encode": Tolerance(slack=0.31)}))
    assert any(r.worse for r in compare(now, before, {"encode": Tolerance(slack=0.29)}))


def other_machine():
    return msgspec.convert(
        msgspec.to_builtins(describe_machine()) | {"cpu": "another"}, type(describe_machine())
    )


@pytest.mark.parametrize(
    ("before", "what"),
    [
        (result(machine=other_machine()), "cpu was 'another'"),
        (result(bundle_sha256="1" * 64), "the bundle was 111111111111"),
        (result(kernels="numpy"), "the kernels were numpy"),
        (result(disk="tmpfs"), "the disk was tmpfs"),
        (result(valid=False, invalid_because=("throttled",)), "the old one is not valid"),
        (
            result(encoders=(msgspec.structs.replace(result().encoders[0], k=9),)),
            "k was 9, is 3",
        ),
        (result(encoders=()), "no encoder in common"),
    ],
)
def test_other_work_is_not_compared(before, what):
    with pytest.raises(InputError, match="cannot be compared") as caught:
        compare(result(), before)
    assert what in str(caught.value)


def test_tolerances_have_types():
    assert tolerance_named("encode=5%") == ("encode", Tolerance(share=0.05))
    assert tolerance_named("rss=10MB") == ("rss", Tolerance(slack=10.0))
    assert tolerance_named("rows=2.5/s") == ("rows", Tolerance(slack=2.5))


@pytest.mark.parametrize("wrong", ["encode", "encode=5", "speed=5%", "rss=5ms", "encode=-1%", ""])
def test_a_tolerance_of_another_unit_is_refused(wrong):
    with pytest.raises(InputError):
        tolerance_named(wrong)


# -- the table and the pictures --------------------------------------------------------------


def test_the_table_has_a_row_for_each_encoder_and_says_what_is_wrong():
    bad = result(valid=False, invalid_because=("throttled during the run",), fallbacks=("a|b",))
    table = markdown_table({"a.json": result(), "b.json": bad}).splitlines()
    widths = {line.replace("\\|", "").count("|") for line in table if line.startswith("|")}
    assert len(widths) == 1
    assert len([line for line in table if line.startswith("|")]) == 4
    assert table[2].endswith("| yes |")
    assert table[3].endswith("| NO |")
    assert "falls back" in table[3]
    assert table[-1] == "- b.json: not valid: throttled during the run"


def test_pictures_are_drawn_or_refused(tmp_path):
    points = tuple(
        Point(
            at_s=10.0 * i,
            n=5,
            predict=4.0 + i / 50,
            predict_p90=5.0,
            lesson=6.0,
            clock_mhz=1800.0 - i,
            temperature_c=50.0 + i,
            power_w=None,
        )
        for i in range(20)
    )
    draw_sustained(result(sustained=points), tmp_path / "heat.png")
    draw_report({"a": result(), "b": result(factor=2.0)}, tmp_path / "boards.png")
    for name in ("heat.png", "boards.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="no run over time"):
        draw_sustained(result(), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_the_json_is_plain(tmp_path):
    write_report(result(), tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["format"] == "edge-cl-bench/1"
