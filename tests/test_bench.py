"""The benchmark measures what it says, on a bundle without a network and on the shipped one."""

import json
import time
from functools import partial

import numpy as np
import pytest

from edge_cl import InputError, Learner, StorageError, features_bundle, open_bundle
from edge_cl.added_encoder import with_encoder
from edge_cl.assets import shipped_bundle
from edge_cl.bench import MLPERF, bench, read_report
from edge_cl.bench.batches import fold_times
from edge_cl.bench.document import STAGES
from edge_cl.bench.figures import FIGURES
from edge_cl.bench.turns import COLUMNS, turn
from edge_cl.bundle import pack_bundle, read_bundle, write_bundle
from edge_cl.cli import exit_code
from edge_cl.device.conditions import read_conditions
from edge_cl.device.system import System
from edge_cl.errors import BackendError
from edge_cl.moments import Moments


def vectors(d=24):
    return features_bundle(np.random.default_rng(0).standard_normal((50, d)))


@pytest.fixture
def quick(monkeypatch):
    """One cold start of a process is enough for a test."""
    monkeypatch.setattr("edge_cl.bench.measure._STARTS", 1)


def test_every_stage_is_timed(tmp_path, quick):
    shares = []
    report = bench(
        vectors(),
        classes=5,
        seconds=0.0,
        repetitions=70,
        folder=tmp_path,
        progress=lambda name, share: shares.append(share),
    )
    (found,) = report.encoders
    assert (found.name, found.d, found.k) == ("vectors", 24, 5)
    assert found.stages.keys() == set(STAGES)
    for p in [*found.stages.values(), found.predict, found.lesson]:
        assert p.n == 70
        assert 0 <= p.min <= p.median <= p.p90 <= p.p99 <= p.max
        assert p.median <= p.p90_bound <= p.max
    assert 0 < found.lesson_over_predict < found.lesson.median / found.predict.median
    assert found.stages["commit"].median > 0
    assert found.cold_start.total_ms >= found.cold_start.import_ms > 0
    assert found.memory.peak_mb >= found.memory.rss_mb > 20
    assert found.written.bytes_a_lesson > 24 * 2  # an int16 a feature
    assert found.batch.rows > 0
    assert found.batch.pictures is None
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(report.conditions) >= 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_encoder_takes_its_time_in_a_prediction_and_in_a_lesson(tmp_path, quick):
    npu = b"RKNN\0\0\0\0" + bytes(56)  # besides, for a library that is not installed here
    made = with_encoder(open_bundle(shipped_bundle()), npu, "net.rknn")
    bundle = read_bundle(pack_bundle(*made))
    report = bench(bundle, classes=4, seconds=0.0, repetitions=20, folder=tmp_path, sustained=True)
    (found,) = report.encoders
    assert "rknn-toolkit-lite2" in report.skipped["rknn int8"]
    assert (found.runtime, found.precision) == ("onnx", "int8")
    assert found.placement.nodes
    assert found.stages["encode"].median < found.predict.median
    assert found.stages["encode"].min < found.lesson.median
    assert found.batch.pictures > 0
    assert sum(point.n for point in found.sustained) == found.predict.n


@pytest.mark.parametrize(
    "wrong", [{"repetitions": 3}, {"classes": 1}, {"precision": "int8"}, {"seconds": -1.0}]
)
def test_wrong_wishes_are_refused(wrong, tmp_path):
    with pytest.raises(InputError):
        bench(vectors(), folder=tmp_path, **wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_state_is_refused(tmp_path):
    with pytest.raises(StorageError, match="cannot write to"):
        bench(vectors(), folder=tmp_path / "none", seconds=0.0)


def test_a_process_that_does_not_start_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("edge_cl.bench.cold_start._CODE", "raise SystemExit('no\\nthis one')")
    with pytest.raises(BackendError, match="ended early: this one"):
        bench(vectors(), folder=tmp_path, seconds=0.0, repetitions=20)
    assert list(tmp_path.iterdir()) == []


# -- the stages are what their names say --------------------------------------------------------


def test_the_laps_of_a_call_add_up_to_the_call(tmp_path):
    x = np.random.default_rng(0).standard_normal(400)
    with Learner.open(tmp_path / "s", bundle=vectors(400)) as learner:
        learner.learn(x, "a")
        start = time.perf_counter()
        lesson = learner.learn(x, "b").stage_ms
        took = (time.perf_counter() - start) * 1e3
    assert lesson.predict == 0.0
    assert min(lesson.prepare, lesson.map, lesson.learn, lesson.commit) > 0
    assert lesson.total <= took


def test_only_a_state_on_disk_has_something_to_commit(tmp_path):
    x = np.random.default_rng(0).standard_normal((30, 24))
    with Learner.open(bundle=vectors()) as memory, Learner.open(tmp_path, bundle=vectors()) as disk:
        in_memory = np.median([memory.learn(row, "a").stage_ms.commit for row in x])
        on_disk = np.median([disk.learn(row, "a").stage_ms.commit for row in x])
    assert in_memory < 0.05 < on_disk


def test_a_slow_disk_shows_in_commit_alone(tmp_path, monkeypatch):
    x = np.random.default_rng(0).standard_normal(24)
    with Learner.open(tmp_path, bundle=vectors()) as learner:
        learner.learn(x, "a")
        store = learner._journal.store
        append = store.append

        def slowly(first, rows):
            time.sleep(0.05)
            append(first, rows)

        monkeypatch.setattr(store, "append", slowly)
        spent = learner.learn(x, "a").stage_ms
    assert spent.commit > 50
    assert spent.learn < 50


def test_what_a_head_puts_off_is_flushed_before_it_is_asked():
    """LDA solves its d³ when it is asked for; the prediction of the turn finds that done."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 300))
    with Learner.open(bundle=features_bundle(x), head="lda") as learner:
        names = ["a", "b", "c"]
        learner.learn_many(x, [names[i % 3] for i in range(200)])
        take = turn(learner, list(x), names, rng)
        take()
        table = np.array([take() for _ in range(15)])
        unflushed = [
            (learner.learn(x[i], "a"), learner.predict(x[i]).stage_ms.predict)[1] for i in range(15)
        ]
    median = dict(zip(COLUMNS, np.median(table, axis=0), strict=True))
    assert median["flush"] > 3 * median["predict"]
    assert np.median(unflushed) > 3 * median["predict"]


def test_as_many_rows_are_folded_as_can_wait(monkeypatch):
    waiting = []
    fold = Moments._fold

    def counted(self):
        waiting.append(self._waiting)
        fold(self)

    monkeypatch.setattr(Moments, "_fold", counted)
    found = fold_times(8, np.random.default_rng(0))
    assert set(waiting) == {256}  # each time a full block, and never one that overflowed
    assert found.n + 1 == len(waiting)


# -- the command ---------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, monkeypatch, quick):
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "v.edgecl", vectors().manifest, {})
    return tmp_path


QUICK = ["bench", "--bundle", "v.edgecl", "--classes", "5", "--seconds", "0"]


def test_the_command_writes_what_it_shows_and_makes_a_table(place, capsys):
    assert exit_code([*QUICK, "--out", "a.json", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    report = read_report(place / "a.json")
    assert shown == json.loads((place / "a.json").read_text())
    assert report.encoders[0].predict.n == 64
    assert exit_code(["bench", "report", "a.json"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("| machine | encoder |")
    assert out.splitlines()[2].count("|") == out.splitlines()[0].count("|")
    assert exit_code(["bench", "report", "a.json", "--json"]) == 0
    (row,) = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert row["figures"]["encode"] == report.encoders[0].stages["encode"].median


@pytest.mark.slow
def test_a_check_passes_within_its_tolerances_and_exits_with_3_beyond(place, capsys):
    assert exit_code([*QUICK, "--out", "now.json"]) == 0
    wide = [f"--tolerance={name}=100000%" for name, f in FIGURES.items() if f.better == "less"]
    wide += ["--tolerance=rows=100%"]
    before = json.loads((place / "now.json").read_text())
    before["encoders"][0]["memory"]["peak_mb"] = 1.0
    (place / "better.json").write_text(json.dumps(before))
    capsys.readouterr()
    assert exit_code([*QUICK, "--check", "better.json", *wide, "--tolerance=peak=5%"]) == 3
    (worse,) = [row for row in capsys.readouterr().out.splitlines() if "WORSE" in row]
    assert worse.startswith("vectors, peak, MB")
    assert (
        exit_code([*QUICK, "--check", "better.json", *wide, "--tolerance=peak=5%", "--json"]) == 3
    )
    rows = json.loads(capsys.readouterr().out)["check"]
    assert [row["figure"] for row in rows if row["worse"]] == ["peak"]
    before["machine"]["cpu"] = "another"
    (place / "other.json").write_text(json.dumps(before))
    assert exit_code([*QUICK, "--check", "other.json"]) == 1
    assert "cannot be compared: cpu was 'another'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_is_not_valid_says_so_and_exits_with_3(place, capsys, monkeypatch):
    governor = place / "board/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    governor.parent.mkdir(parents=True)
    governor.write_text("powersave\n")
    recorded = partial(read_conditions, System(place / "board"))
    monkeypatch.setattr("edge_cl.bench.measure.read_conditions", recorded)
    assert exit_code([*QUICK, "--out", "low.json"]) == 3
    assert "NOT VALID: the governor is powersave" in capsys.readouterr().err
    assert not read_report(place / "low.json").valid
    assert exit_code([*QUICK, "--anyway"]) == 0
    assert "NOT VALID" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ["--plot", "a.png"],
        ["--mlperf", "--sustained", "1s"],
        ["--sustained", "soon"],
        ["--tolerance", "encode=5%"],
        ["--seconds", "-1"],
    ],
)
def test_options_that_do_not_go_together_are_a_usage_error(place, wrong, capsys):
    assert exit_code([*QUICK[:3], *wrong]) == 2
    assert capsys.readouterr().out == ""


def test_mlperf_is_the_full_duration():
    assert MLPERF == (600.0, 1024)
