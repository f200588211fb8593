"""The doctor looks at a state: it finds what was done to it, changes nothing, never raises."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from attacks.states import put_together, taken_apart

from edge_cl import Durability, Learner, features_bundle
from edge_cl.doctor import Examination, examine
from edge_cl.errors import EdgeCLError, StateError
from edge_cl.sealed import seal
from edge_cl.store.snapshots import read_saved

BUNDLE = features_bundle([[1.0, -1.0, 1.0]])
SMALL = Durability(ring=48, snapshot_every=16)
X = np.random.default_rng(0).standard_normal((30, 3)).astype(np.float32)


def teach(folder, **options):
    """A state as a killed process leaves it: a log, and lessons that no snapshot holds."""
    learner = Learner.open(folder, bundle=BUNDLE, durability=SMALL, **options)
    for i, x in enumerate(X):
        learner.learn(x, f"class {i % 3}")
    learner.save_version("one")
    for x in X[:5]:
        learner.learn(x, "class 0")
    return learner


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor") / "state"
    learner = teach(folder, archive=True)
    shutil.copytree(folder, folder.with_name("cut"))
    learner.close()
    return {"closed": folder, "cut": folder.with_name("cut")}


@pytest.fixture(params=["closed", "cut"])
def state(kept, request, tmp_path):
    return Path(shutil.copytree(kept[request.param], tmp_path / "state"))


def contents(folder):
    return {
        str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns)
        for p in folder.rglob("*")
        if p.is_file()
    }


def verdicts(found, what):
    return [one.verdict for one in found.findings if one.what == what]


def problems(found):
    return {one.what: one for one in found.findings if one.verdict == "problem"}


def test_a_whole_state_is_sound_and_left_as_it_was(state):
    before = contents(state)
    found = examine(state)
    assert found.sound, found.findings
    assert (found.seq, found.samples, found.classes, found.lost) == (35, 35, 3, 0)
    assert verdicts(found, "archive") == ["ok"]
    assert verdicts(found, "versions/one.safetensors") == ["ok"]
    assert contents(state) == before


def test_what_it_says_of_a_whole_state_is_what_is_there(kept):
    closed, cut = (
        {one.what: one.says for one in examine(kept[name]).findings} for name in ("closed", "cut")
    )
    assert "35 of 48 rows in use, newest change 35" in closed["events.db"]
    assert closed["events.db"].endswith("0 behind the newest snapshot")
    assert cut["events.db"].endswith("5 behind the newest snapshot")
    assert "log" in cut["events.db"]
    assert closed["archive"].startswith("35 samples")
    assert "change 30, samples: 30, classes: 3" in closed["versions/one.safetensors"]


# -- damage, each kind and what is said about it ---------------------------------------------


def flipped(path, position=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if position is None else position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("place", [0, 1])
def test_one_damaged_snapshot_costs_nothing_and_is_a_problem(state, place):
    name = f"snapshot-{place}.safetensors"
    flipped(state / name)
    found = examine(state)
    assert list(problems(found)) == [name]
    assert "is damaged" in problems(found)[name].says
    assert (found.samples, found.lost) == (35, 0)
    assert verdicts(found, "opening") == ["ok"]
    with Learner.open(state) as learner:
        assert learner.status.samples == 35
    mended = examine(state)
    assert mended.sound
    assert verdicts(mended, f"{name}.corrupt-1") == ["note"]


def test_both_snapshots_damaged_is_said_with_the_way_out(state):
    for place in (0, 1):
        flipped(state / f"snapshot-{place}.safetensors")
    found = problems(examine(state))
    assert set(found) == {"snapshot-0.safetensors", "snapshot-1.safetensors", "opening"}
    assert "copy a version" in found["opening"].do
    for place in (0, 1):  # it works
        shutil.copy(state / "versions/one.safetensors", state / f"snapshot-{place}.safetensors")
    with Learner.open(state) as learner:
        assert learner.status.samples in (30, 35)


def test_a_damaged_row_is_counted(kept, tmp_path):
    state = Path(shutil.copytree(kept["closed"], tmp_path / "state"))
    data = (state / "events.db").read_bytes()
    at = data.index(b"class 2" + bytes(9))
    flipped(state / "events.db", at)
    found = examine(state)
    assert "1 of 48 rows are damaged" in problems(found)["events.db"].says


@pytest.mark.parametrize("damage", [Path.unlink, lambda p: p.write_bytes(b"noise" * 999)])
def test_a_ring_that_is_gone_is_a_loss_that_nobody_can_count(kept, tmp_path, damage):
    state = Path(shutil.copytree(kept["closed"], tmp_path / "state"))
    damage(state / "events.db")
    found = examine(state)
    assert set(problems(found)) == {"events.db", "opening"}
    assert found.lost is None
    assert found.samples == 35
    with Learner.open(state):
        pass
    assert examine(state).sound


def test_a_gap_is_a_loss_that_is_counted_and_remembered(kept, tmp_path):
    state = Path(shutil.copytree(kept["cut"], tmp_path / "state"))
    with Learner.open(state, read_only=True) as learner:
        assert learner.status.samples == 35
    with open(state / "events.db-wal", "rb") as stream:
        log = stream.read()
    (state / "events.db-wal").write_bytes(b"")  # as if the log had never been synced
    assert log
    found = examine(state)
    assert found.samples == 30


def test_a_foreign_bundle_ring_snapshot_or_version_is_told(kept, tmp_path):
    other = tmp_path / "other"
    with teach(other):
        pass
    for name, what, verdict in (
        ("events.db", "events.db", "problem"),
        ("snapshot-0.safetensors", "snapshots", "problem"),
        ("versions/one.safetensors", "versions/one.safetensors", "note"),
    ):
        state = Path(shutil.copytree(kept["closed"], tmp_path / name.replace("/", "-")))
        shutil.copy(other / name, state / name)
        assert verdict in verdicts(examine(state), what)
    state = Path(shutil.copytree(kept["closed"], tmp_path / "bundle"))
    (state / "encoder.edgecl").write_bytes(features_bundle([[2.0, 1.0, 2.0]]).archive())
    found = problems(examine(state))
    assert "another encoder" in found["encoder.edgecl"].says
    (state / "encoder.edgecl").unlink()
    assert "another encoder" in problems(examine(state))["encoder"].says


def test_leftovers_and_what_was_put_aside_are_notes(state):
    (state / ".snapshot-0.safetensors.x1y2").write_bytes(b"half")
    (state / "versions/.one.safetensors.ab").write_bytes(b"half")
    (state / "events.db.corrupt-3").write_bytes(bytes(250_000))
    os.utime(state / "events.db.corrupt-3", (time.time() - 7300,) * 2)
    found = examine(state)
    assert found.sound
    says = {one.what: one.says for one in found.findings if one.verdict == "note"}
    assert "cut off" in says[".snapshot-0.safetensors.x1y2"]
    assert "cut off" in says[".one.safetensors.ab"]
    assert says["events.db.corrupt-3"] == "damaged, put aside 2 h ago, 0.2 MB"


def test_a_version_or_bundle_that_is_damaged_is_a_problem(state):
    flipped(state / "versions/one.safetensors")
    flipped(state / "encoder.edgecl")
    found = problems(examine(state))
    assert set(found) == {"versions/one.safetensors", "encoder.edgecl", "opening"}
    assert all(one.do for one in found.values())


def test_lost_lessons_of_the_past_are_a_note(kept, tmp_path):
    state = Path(shutil.copytree(kept["closed"], tmp_path / "state"))
    for place in (0, 1):
        path = state / f"snapshot-{place}.safetensors"
        saved = read_saved(path)
        records = msgspec.structs.replace(saved.header.records, lost=3)
        header = msgspec.structs.replace(saved.header, records=records)
        path.write_bytes(seal(header, saved.tensors))
    found = examine(state)
    assert found.sound
    assert verdicts(found, "lost") == ["note"]


def test_a_state_of_a_later_format_asks_for_an_update(state):
    path = state / "snapshot-0.safetensors"
    saved = read_saved(path)
    path.write_bytes(seal(msgspec.structs.replace(saved.header, format_version=9), saved.tensors))
    found = problems(examine(state))
    assert found["snapshot-0.safetensors"].do == "update edge-cl"


def test_a_state_of_format_1_is_a_note_until_it_is_taken_over(kept, tmp_path):
    header, tensors = taken_apart((kept["closed"] / "snapshot-0.safetensors").read_bytes())
    for field in ("nonce", "seq", "floor", "archive", "records"):
        del header[field]
    del tensors["undo_seq"], tensors["marks"]
    old = tmp_path / "old"
    old.mkdir(mode=0o700)
    shutil.copy(kept["closed"] / "encoder.edgecl", old)
    (old / "snapshot.safetensors").write_bytes(
        put_together(header | {"format_version": 1}, tensors)
    )
    found = examine(old)
    assert found.sound, problems(found)
    assert found.samples == int(tensors["n"].sum())
    assert verdicts(found, "snapshot.safetensors") == ["note"]
    with Learner.open(old):
        pass
    found = examine(old)
    assert found.sound
    assert verdicts(found, "snapshot.format-1.safetensors") == ["note"]
    assert verdicts(found, "snapshot-0.safetensors") == ["ok"]


# -- who else is there -----------------------------------------------------------------------


def test_it_says_who_holds_the_lock(tmp_path):
    learner = teach(tmp_path / "state")
    found = {one.what: one.says for one in examine(tmp_path / "state").findings}
    assert found["lock"] == f"held: process {os.getpid()} has the state open for writing"
    learner.close()
    found = {one.what: one.says for one in examine(tmp_path / "state").findings}
    assert found["lock"] == "free"


def test_a_state_that_is_being_taught_is_sound(tmp_path):
    learner, over, failures = teach(tmp_path / "state"), threading.Event(), []

    def go_on():
        i = 0
        try:
            while not over.is_set():
                i += 1
                learner.learn(X[i % 30], f"class {i % 3}")
                if i % 3 == 0:  # numbers that only snapshots hold
                    learner.rename_class("class 2", "other")
                    learner.rename_class("other", "class 2")
        except EdgeCLError as error:
            failures.append(error)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        for _ in range(20):
            found = examine(tmp_path / "state")
            assert found.sound, problems(found)
    finally:
        over.set()
        thread.join()
        learner.close()
    assert not failures


# Root may read and write what modes forbid, unless it gives these two away
AS_ANYBODY = """
import ctypes, os, sys
for capability in (1, 2):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", "edge_cl", *sys.argv[1:]])
"""


def test_a_folder_that_cannot_be_written_or_read(state):
    def run(*arguments):
        line = [sys.executable, "-c", AS_ANYBODY, *arguments]
        return subprocess.run(line, check=False, capture_output=True, text=True, timeout=60)

    before = contents(state)
    try:
        state.chmod(0o500)
        done = run("doctor", str(state), "--no-board", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        first = json.loads(done.stdout)["state"]["findings"][0]
        assert (first["what"], first["verdict"]) == ("folder", "note")
        (state / "snapshot-0.safetensors").chmod(0)
        done = run("doctor", str(state), "--no-board")
        assert done.returncode == 3
        assert "you may not read snapshot-0.safetensors" in done.stdout
        state.chmod(0)
        done = run("doctor", str(state), "--no-board")
        assert done.returncode == 3
        assert "you may not read it" in done.stdout
    finally:
        state.chmod(0o700)
        (state / "snapshot-0.safetensors").chmod(0o600)
    assert contents(state) == before


# -- anything at all -------------------------------------------------------------------------

NAMES = [
    *("events.db", "events.db-wal", "snapshot-0.safetensors", "snapshot-1.safetensors"),
    *("encoder.edgecl", "versions/one.safetensors", "lock"),
]


def spoiled(folder, chance):
    """Do something to one file; return what, so that a failure can be repeated."""
    path = folder / chance.choice(NAMES)
    kind = chance.choice(
        [
            "flip",
            "flip",
            "cut",
            "empty",
            "delete",
            "swap",
            "noise",
            "folder",
            "pipe",
            "link",
            "zero",
        ]
    )
    data = path.read_bytes() if path.is_file() else b""
    if kind in ("delete", "folder", "pipe", "link"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if kind == "folder":
            path.mkdir(parents=True)
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "link":
            path.symlink_to(chance.choice(["nowhere", path.name, "/dev/null"]))
    elif kind == "swap":
        other = folder / chance.choice(NAMES)
        if other.is_file() and path.is_file():
            other_data = other.read_bytes()
            other.write_bytes(data)
            path.write_bytes(other_data)
    elif data:
        at = chance.randrange(len(data))
        changed = {
            "flip": lambda: (
                data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
            ),
            "cut": lambda: data[:at],
            "empty": lambda: b"",
            "noise": lambda: chance.randbytes(min(len(data), 5000)),
            "zero": lambda: data[:at] + bytes(len(data[at : at + 512])) + data[at + 512 :],
        }[kind]()
        path.write_bytes(changed)
    return f"{kind} {path.name}"


def test_whatever_was_done_to_a_state_it_never_raises(kept, tmp_path):
    seen = set()
    for seed in range(400):
        chance = random.Random(seed)
        state = Path(shutil.copytree(kept[chance.choice(["closed", "cut"])], tmp_path / str(seed)))
        done = [spoiled(state, chance) for _ in range(chance.choice([1, 1, 1, 2, 4]))]
        before = sorted(os.listdir(state))
        try:
            found = examine(state)
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {done}") from error
        assert isinstance(found, Examination)
        assert sorted(os.listdir(state)) == before
        for one in found.findings:
            assert one.says
            assert "\n" not in one.says + one.do, (seed, one)
            seen.add((one.what, one.verdict))
        if found.samples != 35 and found.sound:  # a log that ends early was cut off, or it was not
            assert "events.db-wal" in " ".join(done) or "swap lock" in done, (seed, done)
        shutil.rmtree(state)
    assert len(seen) > 20


def test_a_folder_that_is_none_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "none", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StateError):
            examine(folder)


def test_an_empty_folder_holds_no_state(tmp_path):
    found = examine(tmp_path)
    assert "nothing was saved" in problems(found)["state"].says
    assert found.samples is None


# -- the command -----------------------------------------------------------------------------


def test_the_command_tells_it_with_the_exit_code(call, taught):
    code, out, err = call("doctor", "--no-board")
    assert (code, err) == (0, "")
    assert all(line.startswith("ok ") for line in out.splitlines())
    flipped(taught / "snapshot-0.safetensors")
    code, out, err = call("doctor", taught, "--no-board")
    assert code == 3
    assert err == "error: 1 problem found in edge-cl-state\n"
    assert "problem  snapshot-0.safetensors: " in out
    assert "         to do: " in out
    code, out, err = call("doctor", taught, "--no-board", "--json")
    assert code == 3
    told = json.loads(out)
    assert told["board"] is None
    assert told["sound"] is told["state"]["sound"] is False
    assert {"what", "verdict", "says", "do"} == set(told["state"]["findings"][0])


def test_the_command_wants_a_folder(call, monkeypatch):
    code, out, err = call("doctor", "none")
    assert (code, out) == (1, "")
    assert err.startswith("error: there is no folder none\n")
    monkeypatch.setenv("EDGE_CL_STATE", "elsewhere")
    assert "elsewhere" in call("doctor")[2]
