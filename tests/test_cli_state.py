"""Commands about what a state has seen: history, lessons by number, classes, versions, events."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sensor_rows import rows

from edge_cl import Learner
from edge_cl.cli import app

EVENT = "00000000c0ffee000000000000000001"
GROUPS = [
    (group.name, command.name)
    for group in app.registered_groups
    for command in group.typer_instance.registered_commands
]


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in Path(folder).rglob("*")
        if p.is_file() and p.name != "lock"
    }


def samples(call):
    return json.loads(call("status", "--json")[1])["samples_per_class"]


def history(call, *arguments):
    code, out, err = call("history", "--json", *arguments)
    assert (code, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize(("group", "command"), GROUPS)
def test_every_command_of_a_group_has_help_with_examples(call, group, command):
    code, out, _ = call(group, command, "--help")
    assert code == 0
    assert f"\n    edge-cl {group} {command}" in out
    assert "--json" in out


# -- history and numbers ---------------------------------------------------------------------


def test_history_lists_the_newest_changes_newest_first(call, taught):
    code, out, err = call("history", "-n", 3)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["30", "29", "28"]
    assert lines[0].split()[2:] == ["learned", rows(30)[1][-1]]
    assert "T" in lines[0].split()[1]
    assert len(call("history")[1].splitlines()) == 20
    assert len(history(call, "-n", 100)) == 30


def test_history_shows_what_does_not_stand(call, taught):
    label = history(call, "-n", 1)[0]["label"]
    call("undo")
    out = call("history", "-n", 2)[1].splitlines()
    assert out[0].endswith(f"undone {label} (lesson 30)")
    assert out[1].endswith(f"learned {label}  [taken back]")
    newest, lesson = history(call, "-n", 2)
    assert (newest["target"], newest["stands"], lesson["stands"]) == (30, True, False)
    assert lesson["when"][:2] == "20"


def test_history_works_while_another_process_learns(call, taught):
    with Learner.open(taught) as learner:
        learner.learn(rows(1)[0][0], "vase")
        assert history(call, "-n", 1)[0]["seq"] == 31


def test_a_time_that_no_clock_shows_is_left_out():
    from edge_cl.cli.history_command import when

    assert when(1 << 63) is None
    assert when(0).startswith(("1970", "1969"))


def test_lessons_are_forgotten_by_number_all_or_none(call, taught):
    before = samples(call)
    labels = {one["seq"]: one["label"] for one in history(call, "-n", 30)}
    kept = contents(taught)
    code, out, err = call("forget", "--lesson", 3, "--lesson", 99)
    assert (code, out) == (1, "")
    assert err.startswith("error: lesson 99 is not held any more, or never was\n")
    assert contents(taught) == kept
    assert call("forget", "--lesson", 3, "--lesson", 7)[1].startswith(
        f"forgotten: 2 samples ({labels[3]}, {labels[7]})\n"
    )
    for number in (3, 7):
        before[labels[number]] -= 1
    assert samples(call) == before
    assert "taken back before" in call("forget", "--lesson", 3)[2]


# -- classes ---------------------------------------------------------------------------------


def test_a_class_is_renamed_merged_and_forgotten(call, taught):
    before = samples(call)
    assert call("class", "rename", "mug", "blue mug")[1].startswith("renamed: mug to blue mug\n")
    assert samples(call)["blue mug"] == before["mug"]
    out = call("class", "merge", "cup", "blue mug")[1]
    assert out.startswith(f"merged: cup into blue mug ({before['cup']} samples)\n")
    told = json.loads(call("class", "forget", "vase", "--json")[1])
    assert told == {"forgotten": "vase", "samples": before["vase"], "state": "edge-cl-state"}
    assert samples(call) == {"blue mug": before["mug"] + before["cup"]}


def test_a_class_whose_samples_are_not_held_is_not_forgotten(call, taught):
    call("learn", "train.npz", "--bundle", "sensor.edgecl", "--state", "other")
    call("merge", "other")  # its samples never came here, only their sums
    before = contents(taught)
    code, out, err = call("class", "forget", "mug")
    assert (code, out) == (1, "")
    assert "are held" in err
    assert "archive" in err
    assert contents(taught) == before


# -- versions --------------------------------------------------------------------------------


def test_a_version_is_kept_listed_returned_to_and_dropped(call, taught):
    before = call("predict", "test.npz")[1]
    assert call("version", "list") == (0, "", "")
    assert call("version", "save", "first")[1].startswith("saved: first\n")
    assert call("version", "list")[1] == "first: 30 samples, 3 classes, ridge\n"
    assert "versions: first\n" in call("status")[1]
    call("learn", "one.npz", "teapot")
    assert call("predict", "test.npz")[1] != before
    out = call("version", "rollback", "first")[1]
    assert out.splitlines()[1] == "kept: before-rollback (31 samples)"
    assert call("predict", "test.npz")[1] == before
    assert call("version", "rollback", "before-rollback")[0] == 0
    assert "teapot" in samples(call)
    assert call("version", "drop", "first")[0] == 0
    assert [one["name"] for one in json.loads(call("version", "list", "--json")[1])] == [
        "before-rollback"
    ]


# -- promotion -------------------------------------------------------------------------------


def test_a_head_is_promoted_only_where_it_is_better(call):
    rng = np.random.default_rng(0)
    # What tells the classes apart is small beside what does not: means alone mislead
    y = rng.integers(0, 2, 400)
    x = rng.normal(size=(400, 6)).astype(np.float32) * np.float32(0.1)
    x[:, 0] += np.where(y, 0.3, -0.3)
    x[:, 1:3] += 3 * rng.normal(size=(400, 1)).astype(np.float32)
    np.savez("learn.npz", x=x[:200], y=np.array(["left", "right"])[y[:200]])
    np.savez("held.npz", x=x[200:], y=np.array(["left", "right"])[y[200:]])
    assert call("learn", "learn.npz", "--bundle", "sensor.edgecl", "--head", "lda")[0] == 0
    code, out, err = call("promote", "ncm", "--held-out", "held.npz")
    assert code == 3
    assert err == "error: ncm is not better than lda, which stays\n"
    assert "tested on: 200 samples (held-out)\n" in out
    assert call("use", "ncm")[0] == 0
    code, out, err = call("promote", "lda", "--held-out", "held.npz", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["promoted"]
    assert told["accuracy_after"] > told["accuracy_before"]
    assert "head: lda\n" in call("status")[1]
    assert "promoted lda over ncm" in call("history", "-n", 1)[1]


def test_heads_that_were_compared_are_promoted_by_what_was_tested(call):
    options = ("--bundle", "sensor.edgecl", "--compare", "ncm")
    assert call("learn", "train.npz", *options)[0] == 0
    call("run", "test.npz", "--mode", "prequential", "-q")
    code, out, _ = call("promote", "ncm")
    assert code == 3
    assert "(prequential)" in out
    assert "head: ridge\n" in call("status")[1]


# -- exactly once ----------------------------------------------------------------------------


def test_a_command_that_is_repeated_with_its_event_learns_once(call, taught):
    learn = ("learn", "one.npz", "teapot", "--event", EVENT)
    first = json.loads(call(*learn, "--json")[1])
    assert (first["learned"], first["seq"], first["duplicate"]) == (1, 31, False)
    assert first["new_classes"] == ["teapot"]
    again = json.loads(call(*learn, "--json")[1])
    assert (again["learned"], again["seq"], again["duplicate"]) == (0, 31, True)
    assert again["samples"] == 31
    code, out, err = call(*learn)
    assert code == 0
    assert out.startswith("learned: 0 samples\n")
    assert err == "note: this event was learned before, as lesson 31\n"
    assert history(call, "-n", 1)[0]["event"] == EVENT
    older = EVENT[:-1] + "0"
    code, _, err = call("learn", "one.npz", "mug", "--event", older)
    assert code == 1
    assert "must rise" in err


# -- when it is on disk ----------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["lesson", "group:7", "save"])
def test_a_run_keeps_everything_whatever_the_durability(call, taught, durability):
    options = ("--mode", "prequential", "-q", "--durability", durability)
    assert call("run", "test.npz", *options)[0] == 0
    assert sum(samples(call).values()) == 60


def test_a_lesson_of_a_run_is_on_disk_when_it_is_shown(call, taught, monkeypatch):
    seen = []

    def look(*_):
        with Learner.open(taught, read_only=True) as learner:
            seen.append(learner.status.samples)

    monkeypatch.setattr("edge_cl.cli.run_command.show_event", look)
    call("run", "test.npz", "--mode", "prequential", "--limit", 5)
    assert seen == [31, 32, 33, 34, 35]


def test_an_archive_is_begun_and_kept(call, taught):
    call("learn", "test.npz", "--archive")
    call("learn", "one.npz", "mug")
    found = json.loads(call("doctor", "--no-board", "--json")[1])["state"]
    assert any(one["says"].startswith("61 samples") for one in found["findings"])


def test_mended_damage_is_told_once_by_who_mends_it(call, taught):
    path = taught / "snapshot-0.safetensors"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    code, _, err = call("status")
    assert code == 0
    assert "edge-cl doctor says more" in err
    assert err.count("\n") == 1
    code, _, err = call("learn", "one.npz", "mug")
    assert code == 0
    assert "snapshot-0.safetensors is damaged" in err.splitlines()[0]
    assert err.splitlines()[1:] == [
        "note: no lesson is lost, and the damage is mended",
        "note: kept for inspection: snapshot-0.safetensors.corrupt-1",
    ]
    assert call("learn", "one.npz", "mug")[2] == ""


def test_lost_lessons_are_told(call, taught):
    with Learner.open(taught, durability="lesson") as learner:
        x = rows(5)[0]
        for one in x:
            learner.learn(one, "vase")
        shutil.copytree(taught, "cut")
    Path("cut/events.db").write_bytes(b"noise")
    code, _, err = call("undo", "--state", "cut")
    assert code == 0
    assert "it cannot be told how many lessons are lost" in err
    assert "note: kept for inspection: events.db.corrupt-1" in err


# -- wrong input -----------------------------------------------------------------------------

BAD = [
    ("history -n 0", 2, "-n"),
    ("history --state none", 1, "no state in none"),
    ("forget", 2, "expected FILE and LABEL, or --lesson N"),
    ("forget one.npz", 2, "expected FILE and LABEL, or --lesson N"),
    ("forget one.npz mug --lesson 3", 2, "expected FILE and LABEL, or --lesson N"),
    ("forget --lesson 0", 2, "--lesson"),
    ("forget --lesson 31", 1, "lesson 31 is not held any more, or never was"),
    ("class", 2, "Missing command"),
    ("class rename mug", 2, "Missing argument"),
    ("class rename teapot pot", 1, "unknown label 'teapot'"),
    ("class rename mug cup", 1, "there is a class 'cup' already"),
    ("class merge mug mug", 1, "expected two classes"),
    ("class merge teapot mug", 1, "unknown label 'teapot'"),
    ("class forget teapot", 1, "unknown label 'teapot'"),
    ("version", 2, "Missing command"),
    ("version save ../x", 1, "expected a name of 1..64"),
    ("version rollback none", 1, "no version 'none' is kept"),
    ("version drop none", 1, "no version 'none' is kept"),
    ("promote lad --held-out test.npz", 1, "unknown head 'lad'"),
    ("promote lda", 1, "not among the heads that are compared"),
    ("promote lda --held-out none", 1, "cannot read none"),
    ("promote lda --held-out one.npz", 1, "one.npz[0] has no label"),
    ("learn one.npz mug --event 12", 2, "expected 32 hex digits, got '12'"),
    (f"learn one.npz mug --event {'0' * 32}", 1, "not all zero"),
    (f"learn train.npz --event {EVENT}", 1, "--event names one sample, here are more"),
    (f"learn one.npz --event {EVENT}", 1, "one.npz[0] has no label"),
    (f"learn one.npz mug --skip-bad --event {EVENT}", 2, "none to skip"),
    ("run test.npz --mode learn --durability group:0", 1, "unknown durability 'group:0'"),
]


@pytest.mark.parametrize(("line", "code", "says"), BAD, ids=[line for line, _, _ in BAD])
def test_bad_input_is_one_line_and_changes_nothing(call, taught, line, code, says):
    before = contents(taught)
    got, out, err = call(*line.split())
    assert (got, out) == (code, "")
    lines = err.splitlines()
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: "))
    assert contents(taught) == before


@pytest.mark.parametrize(
    "line",
    [
        *("history", "forget --lesson 1", "class rename a b", "class merge a b"),
        *("class forget a", "version save a", "version list", "version rollback a"),
        *("version drop a", "promote lda", "doctor --no-board"),
    ],
)
def test_without_a_state_it_is_one_line_and_no_folder(call, line):
    code, out, err = call(*line.split())
    assert (code, out) == (1, "")
    assert "edge-cl-state" in err.splitlines()[0]
    assert not Path("edge-cl-state").exists()
