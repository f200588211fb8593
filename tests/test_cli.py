import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from sensor_rows import CENTRES, rows

from edge_cl import Learner, __version__, features_bundle
from edge_cl.assets import household_pictures, shipped_bundle
from edge_cl.cli import app
from edge_cl.run_results import STAGES

COMMAND = [sys.executable, "-m", "edge_cl"]
COMMANDS = [command.name for command in app.registered_commands]
COMMANDS += [g.name for g in app.registered_groups if g.typer_instance.registered_callback]


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "lock"}


def spawn(*arguments, **options):
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def shell(*arguments, **options):
    options = {"text": True, "capture_output": True, "timeout": 60} | options
    return subprocess.run([*COMMAND, *arguments], check=False, **options)


def one_error(err):
    """Return the error line of stderr, which holds that line and maybe one hint."""
    lines = err.splitlines()
    assert lines[0].startswith("error: "), err
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: ")), err
    assert not lines[0].endswith(".")
    return lines[0]


# -- learning and answering ------------------------------------------------------------------


def test_learn_predict_and_status_tell_one_story(call):
    code, out, err = call("learn", "train.npz", "--bundle", "sensor.edgecl")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "learned: 30 samples"
    assert out.splitlines()[-1] == "state: edge-cl-state (30 samples, 3 classes)"
    code, out, err = call("predict", "test.npz", "--top", 1)
    assert (code, err) == (0, "")
    said = [line.rpartition(": ")[2].split()[0] for line in out.splitlines()]
    assert said == rows(30, 1)[1].tolist()
    code, out, err = call("status")
    assert (code, err) == (0, "")
    assert "head: ridge\n" in out


def test_json_is_one_object_or_one_a_line(call, taught):
    learned = json.loads(call("learn", "one.npz", "mug", "--json")[1])
    assert learned["learned"] == 1
    assert learned["samples"] == 31
    assert json.loads(call("status", "--json")[1])["samples"] == 31
    predicted = [json.loads(line) for line in call("predict", "test.npz", "--json")[1].splitlines()]
    assert len(predicted) == 30
    assert predicted[0]["predicted"] == next(iter(predicted[0]["probabilities"]))
    assert set(predicted[0]["stage_ms"]) == set(STAGES)
    *samples, summary = [json.loads(x) for x in call("run", "test.npz", "--json")[1].splitlines()]
    assert {s["kind"] for s in samples} == {"sample"}
    assert (summary["kind"], summary["samples"], summary["accuracy"]) == ("summary", 30, 1.0)
    assert json.loads(call("undo", "--json")[1])["undone"] == ["mug"]
    assert json.loads(call("tune-head", "--json")[1])["ridge"] > 0
    assert json.loads(call("inspect", "sensor.edgecl", "--json")[1])["verified"] is True


def test_the_state_folder_comes_from_the_option_or_the_environment(call, monkeypatch):
    call("learn", "train.npz", "--bundle", "sensor.edgecl", "--state", "elsewhere")
    monkeypatch.setenv("EDGE_CL_STATE", "elsewhere")
    assert call("status")[1].startswith("state: elsewhere (30 samples")


def test_another_head_is_asked_without_changing_the_state(call, taught):
    before = contents(taught)
    assert call("predict", "test.npz", "--head", "lda")[0] == 0
    assert contents(taught) == before


def test_a_map_is_chosen_when_learning_begins(call):
    options = ("--bundle", "sensor.edgecl", "--map", "random-relu:64")
    assert call("learn", "train.npz", *options)[0] == 0
    assert "feature map: random-relu" in call("status")[1]


def test_prequential_scores_before_it_learns(call, taught):
    code, out, _ = call("run", "test.npz", "--mode", "prequential", "-q")
    assert code == 0
    assert "prequential accuracy: 1.000 (30 of 30)" in out
    assert "state: edge-cl-state (60 samples, 3 classes)" in out
    assert call("status")[1].startswith("state: edge-cl-state (60 samples")


def test_running_in_mode_predict_changes_nothing(call, taught):
    before = contents(taught)
    assert call("run", "test.npz")[0] == 0
    assert contents(taught) == before


def test_undo_forget_and_merge_take_back_and_add_exactly(call, taught):
    predict = ("predict", "test.npz", "--top", 3)
    before = call(*predict)[1]
    call("learn", "one.npz", "vase")
    assert call("undo")[1].startswith("undone: vase\n")
    assert call(*predict)[1] == before
    call("learn", "one.npz", "vase")
    assert call("forget", "one.npz", "vase")[1].startswith("forgotten: 1 sample\n")
    assert call(*predict)[1] == before
    call("learn", "train.npz", "--bundle", "sensor.edgecl", "--state", "other")
    assert call("merge", "other")[1].startswith("merged: 30 samples\n")
    assert "(60 samples, 3 classes)" in call("status")[1]


def test_forgetting_a_file_is_all_or_nothing(call, taught):
    x, _ = rows(2)
    np.savez("two.npz", x=np.concatenate([rows(1)[0], 30 * x[1:]]))
    before = contents(taught)
    label = rows(1)[1][0]
    code, _, err = call("forget", "two.npz", label)
    assert code == 1
    one_error(err)
    assert contents(taught) == before


def test_a_preset_is_a_head_and_a_map(call):
    assert call("learn", "train.npz", "--bundle", "sensor.edgecl", "--preset", "nmc-janson")[0] == 0
    status = call("status")[1]
    assert "head: ncm(metric=euclidean)\n" in status
    assert "feature map: l2\n" in status
    assert call("run", "test.npz", "--mode", "learn", "--preset", "nmc-janson")[0] == 0


def sessions(folder, count=2):
    """Groups to tune by: an .npz file for each."""
    Path(folder).mkdir()
    for i in range(count):
        x, y = rows(20, 10 + i)
        np.savez(f"{folder}/session-{i}.npz", x=x, y=y)


def test_tuning_by_groups_changes_lambda_and_learns_nothing(call, taught):
    sessions("sessions")
    Path("sessions/notes.txt").write_text("")
    Path("sessions/.hidden").mkdir()
    code, out, err = call("tune-head", "--groups", "sessions")
    assert code == 0
    assert err == "note: sessions/notes.txt is not a group, left out\n"
    groups, before, now, state = out.splitlines()
    assert groups == "groups: session-0.npz, session-1.npz"
    assert (before, state) == ("head before: ridge", "state: edge-cl-state")
    assert now.startswith("head now: ridge(ridge=")
    assert "(30 samples, 3 classes)" in call("status")[1]
    told = json.loads(call("tune-head", "--groups", "sessions", "--json")[1])
    assert f"head now: {told['head']}" == now
    assert told["accuracy"][told["candidates"].index(told["ridge"])] > max(told["accuracy"]) - 0.2
    assert told["groups"] == ["session-0.npz", "session-1.npz"]


def test_a_class_that_one_group_alone_shows_is_noted(call, taught):
    sessions("sessions")
    x, y = rows(20, 10)
    np.savez("sessions/session-0.npz", x=x, y=np.append(y[:-3], ["teapot"] * 3))
    code, _, err = call("tune-head", "--groups", "sessions")
    assert code == 0
    assert "no other group shows the classes of 3 samples of session-0.npz" in err


def test_groups_of_pictures_are_a_folder_each_with_a_folder_for_each_class(call):
    for i in range(8):
        folder = Path(f"photos/{'day' if i < 4 else 'night'}/{'mug' if i % 2 else 'cup'}")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 99, (32, 32, 3), np.uint8)
        Image.fromarray(pixels + np.uint8(99 * (i % 2))).save(folder / f"{i}.png")
    assert call("learn", "photos/day")[0] == 0
    code, out, err = call("tune-head", "--groups", "photos")
    assert (code, err) == (0, "")
    assert out.startswith("groups: day, night\n")
    assert "(4 samples, 2 classes)" in call("status")[1]
    Image.fromarray(pixels).save("photos/day/loose.png")
    code, _, err = call("tune-head", "--groups", "photos")
    assert code == 1
    assert "photos/day/loose.png has no label" in one_error(err)


def test_features_are_exported_to_a_bundle_without_torch(call):
    code, out, _ = call("export", "--features", "train.npz", "--out", "made.edgecl")
    assert code == 0
    assert out.startswith("bundle: made.edgecl\n")
    assert call("inspect", "made.edgecl")[0] == 0
    assert call("learn", "train.npz", "--bundle", "made.edgecl")[0] == 0


def test_what_torch_is_needed_for_says_what_to_install(call, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for module in [m for m in sys.modules if m.startswith("edge_cl_export")]:
        monkeypatch.delitem(sys.modules, module)
    code, _, err = call("export", "efficientnet-lite0")
    assert code == 1
    assert "hint: pip install 'edge-cl[export]'" in err


# -- LABEL -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["one.npz", "test.npz"], "is a path"),
        (["one.npz", "photos"], "is a path"),
        (["one.npz", "none.jpg"], "looks like a path"),
        (["one.npz", "photos/none"], "looks like a path"),
    ],
)
def test_a_label_that_may_be_a_path_is_asked_back(call, taught, arguments, says):
    Path("photos").mkdir()
    before = contents(taught)
    code, _, err = call("learn", *arguments)
    assert code == 2
    assert says in one_error(err)
    assert contents(taught) == before
    label = arguments[1]
    assert call("learn", arguments[0], "--label", label)[0] == 0
    assert call("undo")[1].startswith(f"undone: {label}\n")


# -- bad input -------------------------------------------------------------------------------


def noise(path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def bad_things(place):
    """Everything that can be wrong with an input, by name."""
    Path("zero.jpg").write_bytes(b"")
    noise("cut.jpg")
    Path("cut.jpg").write_bytes(Path("cut.jpg").read_bytes()[:500])
    Path("text.jpg").write_text("no picture")
    Path("empty").mkdir()
    Path("flat").mkdir()
    noise("flat/a.jpg")
    np.savez("pickled.npz", x=rows(2)[0], y=np.array(["a", None], object))
    x, y = rows(3)
    np.savez("wide.npz", x=np.concatenate([x, x], axis=1), y=y)
    x[1, 2] = np.nan
    np.savez("nan.npz", x=x, y=y)
    Path("video.mp4").write_bytes(b"no video" * 99)
    sessions("one-group", 1)
    sessions("nan-group")
    shutil.copy("nan.npz", "nan-group/a.npz")
    Path("cut.edgecl").write_bytes(Path("sensor.edgecl").read_bytes()[:-9])
    Path("lines.txt").write_text("one.npz\tmug\n\tmug\n")
    other = features_bundle(CENTRES, name="other").archive()
    Path("other.edgecl").write_bytes(other)
    with Learner.open("foreign", bundle="other.edgecl") as learner:
        learner.learn(CENTRES[0], "mug")


BAD = [
    ("learn zero.jpg mug", 1, "zero.jpg is empty"),
    ("learn cut.jpg mug", 1, "cut.jpg is a damaged picture"),
    ("learn text.jpg mug", 1, "text.jpg is not a picture"),
    ("learn none.jpg mug", 1, "cannot read none.jpg: No such file or directory"),
    ("learn empty mug", 1, "empty holds no pictures"),
    ("learn empty", 1, "empty holds no pictures"),
    ("learn flat", 1, "flat/a.jpg has no label"),
    ("learn flat/a.jpg", 1, "flat/a.jpg has no label"),
    ("learn flat mug", 1, "flat/a.jpg: expected a vector"),
    ("learn one.npz", 1, "one.npz[0] has no label"),
    ("learn pickled.npz", 1, "pickled.npz holds pickled objects"),
    ("learn nan.npz", 1, "nan.npz[1]: expected finite features"),
    ("learn train.npz nan.npz --label x", 1, "nan.npz[1]: expected finite features"),
    ("learn wide.npz", 1, "wide.npz[0]: expected a vector of shape (6,), got (12,)"),
    ("learn video.mp4 mug", 1, "video.mp4 is not a video"),
    ("learn train.npz --head lad", 1, "unknown head 'lad'"),
    ("learn train.npz --map l3", 1, "unknown feature map 'l3'"),
    ("learn train.npz --preset acli", 1, "unknown preset 'acli'"),
    ("learn train.npz --preset fsa --head lda", 1, "expected a preset, or a head"),
    ("run test.npz --mode learn --preset fsa --map l2", 1, "expected a preset, or a head"),
    ("learn train.npz --preset nmc-janson", 1, "the state was learned behind the map identity"),
    ("learn train.npz --map l2", 1, "the state was learned behind the map identity"),
    ("learn train.npz --runtime onnx", 1, "holds no encoder"),
    ("learn train.npz --bundle none.edgecl", 1, "cannot read none.edgecl"),
    ("learn train.npz --bundle cut.edgecl", 1, "cut.edgecl"),
    ("learn train.npz --bundle other.edgecl", 1, "the state was learned with encoder"),
    ("learn one.npz --label", 2, "requires an argument"),
    ("learn one.npz --threads 0", 2, "--threads"),
    ("learn", 2, "Missing argument"),
    ("lern", 2, "No such command"),
    ("predict none.jpg", 1, "cannot read none.jpg"),
    ("predict zero.jpg", 1, "zero.jpg is empty"),
    ("predict test.npz --head lad", 1, "unknown head 'lad'"),
    ("predict test.npz --bundle other.edgecl", 1, "the state was learned with encoder"),
    ("run camera:63", 1, "camera:63 cannot be opened"),
    ("run camera:x", 1, "expected camera:NUMBER"),
    ("run nan.npz --mode learn --limit 1 --state new --bundle cut.edgecl", 1, "cut.edgecl"),
    ("run zero.jpg --mode learn --label mug", 1, "zero.jpg is empty"),
    ("run one.npz --mode prequential", 1, "one.npz[0] has no label"),
    ("run one.npz --mode guess", 2, "--mode"),
    ("tune-head --groups none", 1, "cannot read none: No such file or directory"),
    ("tune-head --groups empty", 1, "expected at least two groups with samples, got 0"),
    ("tune-head --groups one-group", 1, "expected at least two groups with samples, got 1"),
    ("tune-head --groups nan-group", 1, "nan-group/a.npz[1]: expected finite features"),
    ("undo 31", 1, "expected to undo 1..30 samples, got 31"),
    ("undo 0", 2, "N"),
    ("forget one.npz teapot", 1, "unknown label 'teapot'"),
    ("forget zero.jpg mug", 1, "zero.jpg is empty"),
    ("merge none", 1, "no state in none"),
    ("merge foreign", 1, "the state was learned with encoder"),
    ("merge edge-cl-state", 1, "is the state itself"),
    ("inspect none.edgecl", 1, "cannot read none.edgecl"),
    ("inspect cut.edgecl", 1, "cut.edgecl"),
    ("inspect text.jpg", 1, "text.jpg is not an edge-cl bundle"),
    ("verify sensor.edgecl", 1, "holds no inputs to compare on"),
    ("export", 2, "expected either NETWORK or --features"),
    ("export --features train.npz", 2, "--out"),
    ("export --features pickled.npz --out x.edgecl", 1, "pickled objects"),
    ("export --features nan.npz --out x.edgecl", 1, "row 1"),
    ("export m.py:f --input-size big --out x.edgecl", 2, "--input-size"),
    ("export m.py:f --mean 1,2 --out x.edgecl", 2, "--mean"),
    ("export m.onnx --layout CHW --out x.edgecl", 2, "--layout"),
    ("export timm/vit", 2, "--out"),
]


@pytest.mark.parametrize(("line", "code", "says"), BAD, ids=[line for line, _, _ in BAD])
def test_bad_input_is_one_line_and_changes_nothing(call, taught, bad_things, line, code, says):
    before = contents(taught)
    got, out, err = call(*line.split())
    assert (got, out) == (code, "")
    assert says in one_error(err)
    assert contents(taught) == before
    assert not Path("new").exists()


def test_a_bad_line_on_stdin_is_one_line_and_learn_changes_nothing(taught, bad_things):
    before = contents(taught)
    with Path("lines.txt").open() as stdin:
        done = shell("learn", "-", stdin=stdin)
    assert (done.returncode, done.stdout) == (1, "")
    assert "expected a line `path` or `path<TAB>label`" in one_error(done.stderr)
    assert contents(taught) == before


def test_opencv_does_not_speak_on_stderr(taught):
    done = shell("run", "camera:63")
    assert done.returncode == 1
    assert "camera:63" in one_error(done.stderr)


def test_skip_bad_reports_and_goes_on(call, taught, bad_things):
    code, out, err = call("learn", "nan.npz", "--skip-bad")
    assert code == 0
    assert "learned: 2 samples" in out
    assert "skipped: 1" in out
    assert err == "note: nan.npz[1]: expected finite features, row 0 is not\n"


@pytest.mark.parametrize(
    "line",
    ["predict test.npz", "status", "undo", "tune-head", "forget one.npz mug", "merge x", "run x"],
)
def test_a_state_that_does_not_exist_is_one_line_and_no_folder(call, line):
    code, out, err = call(*line.split())
    assert (code, out) == (1, "")
    if line != "run x":
        assert "no state in edge-cl-state" in one_error(err)
    assert not Path("edge-cl-state").exists()


def test_an_interrupted_learn_changes_nothing(call, taught, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    before = contents(taught)
    monkeypatch.setattr("edge_cl.learner.Learner.learn_many", interrupt)
    assert call("learn", "train.npz") == (130, "", "")
    assert contents(taught) == before


def test_a_damaged_state_is_one_line(call, taught):
    for path in taught.glob("snapshot-*"):
        data = bytearray(path.read_bytes())
        data[-100] ^= 1
        path.write_bytes(data)
    before = contents(taught)
    for line in ("status", "predict one.npz", "learn train.npz", "undo"):
        code, _, err = call(*line.split())
        assert code == 1
        assert "snapshot-1.safetensors is damaged" in one_error(err)
    assert contents(taught) == before


def test_control_characters_in_file_names_do_not_reach_the_terminal(call, taught):
    code, _, err = call("predict", "bad\x1b[31m\nname.jpg")
    assert code == 1
    assert r"bad\x1b[31m\nname.jpg" in one_error(err)


# -- the disk, and other processes -----------------------------------------------------------


def test_while_one_process_learns_others_can_only_look(call, taught):
    with Learner.open(taught):
        before = contents(taught)
        for line in ("learn one.npz mug", "undo", "run one.npz --mode learn --label mug"):
            code, _, err = call(*line.split())
            assert code == 1
            assert "in use by another process" in one_error(err)
        assert call("predict", "one.npz")[0] == 0
        assert call("status")[0] == 0
        assert call("run", "one.npz")[0] == 0
        assert contents(taught) == before


@pytest.mark.parametrize(
    "command", [["learn", "train.npz"], ["run", "train.npz", "--mode", "learn"]]
)
def test_a_full_disk_is_one_line_and_the_old_state_stays(taught, command):
    before = contents(taught)
    limited = ["bash", "-c", 'ulimit -f 1; exec "$@"', "bash", *COMMAND, *command, "--json"]
    environment = os.environ | {"EDGE_CL_KERNELS": "numpy"}  # Numba writes a cache of its own
    done = subprocess.run(
        limited, check=False, capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 1
    assert "cannot write edge-cl-state/events.db: " in one_error(done.stderr)
    assert contents(taught) == before
    assert not [p for p in taught.iterdir() if p.name.startswith(".")]


def test_a_folder_that_cannot_be_made_is_one_line(call):
    Path("file").write_text("")
    code, _, err = call("learn", "train.npz", "--bundle", "sensor.edgecl", "--state", "file/state")
    assert code == 1
    assert "cannot make file/state: Not a directory" in one_error(err)


# Without CAP_DAC_OVERRIDE root too must keep to what a folder's mode allows.
AS_ANYBODY = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", "edge_cl", *sys.argv[1:]])
"""


def test_a_read_only_folder_can_be_asked_but_not_taught(taught):
    def run(*arguments):
        line = [sys.executable, "-c", AS_ANYBODY, *arguments]
        return subprocess.run(line, check=False, capture_output=True, text=True, timeout=60)

    before = contents(taught)
    taught.chmod(0o500)
    try:
        done = run("learn", "train.npz")
        assert done.returncode == 1
        assert "edge-cl-state/" in one_error(done.stderr)
        assert run("predict", "one.npz").returncode == 0
        assert contents(taught) == before
    finally:
        taught.chmod(0o755)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_with_the_state_saved_and_a_summary(place, number):
    process = spawn(
        "run", "-", "--mode", "learn", "--bundle", "sensor.edgecl", "--json", stdin=subprocess.PIPE
    )
    for _ in range(3):
        process.stdin.write("one.npz\tmug\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["learned"] is True
    process.send_signal(number)  # while it waits for a line
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    summary = json.loads(out)
    assert summary["kind"] == "summary"
    assert summary["stopped"] is True
    assert summary["learned"] == 3
    with Learner.open("edge-cl-state", read_only=True) as learner:
        assert learner.status.samples_per_class == {"mug": 3}


def test_a_reader_that_leaves_ends_it_quietly_and_the_state_is_saved(place):
    x, _ = rows(20_000)
    np.savez("many.npz", x=x)
    process = spawn(
        *("run", "many.npz", "--mode", "learn", "--label", "mug", "--bundle", "sensor.edgecl")
    )
    assert process.stdout.readline().startswith("many.npz[0]: learned as mug")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 1
    assert err == ""
    with Learner.open("edge-cl-state", read_only=True) as learner:
        assert 0 < learner.status.samples < 20_000


# -- the shell itself ------------------------------------------------------------------------


def test_version_and_help_import_nothing_heavy():
    heavy = ("numpy", "numba", "onnxruntime", "PIL", "cv2", "rich", "matplotlib", "torch")
    code = (
        "import sys; from edge_cl.cli import exit_code; code = exit_code(['--help']); "
        f"print([m for m in {heavy} if m in sys.modules], code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_the_version_is_printed(call):
    assert call("--version") == (0, f"edge-cl {__version__}\n", "")


def test_without_a_command_the_help_goes_to_stderr(call):
    code, out, err = call()
    assert (code, out) == (2, "")
    assert err.startswith("Usage: edge-cl ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(call, command):
    code, out, _ = call(command, "--help")
    assert code == 0
    assert f"\n    edge-cl {command}" in out
    assert "--json" in out


def test_without_a_terminal_there_is_no_colour_and_no_bar(taught):
    done = shell("learn", "train.npz")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\x1b" not in done.stdout


def test_output_survives_a_terminal_that_cannot_show_it(taught):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    assert (
        shell("learn", "one.npz", "käse", env=environment).stdout.splitlines()[1] == r"new: k\xe4se"
    )


# -- real pictures ---------------------------------------------------------------------------


@pytest.fixture
def photos(place):
    with zipfile.ZipFile(household_pictures()) as archive:
        for name in archive.namelist():
            session, _, rest = name.partition("/")
            if session in ("studio", "evening") and rest.partition("/")[0] in ("mug", "chair"):
                archive.extract(name, "photos")
    return Path("photos")


def test_real_pictures_are_learned_and_recognised_in_another_session(call, photos):
    assert shipped_bundle().exists()
    code, out, _ = call("learn", photos / "studio")
    assert code == 0
    assert "new: chair, mug" in out
    assert not (Path("edge-cl-state") / "encoder.edgecl").exists()  # it ships: no copy is kept
    code, out, _ = call("run", photos / "evening", "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["accuracy"] > 0.9
    code, out, _ = call("predict", next((photos / "evening" / "mug").iterdir()))
    assert code == 0
    assert ": mug " in out


def test_a_video_is_learned_frame_by_frame(call, photos):
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10, (128, 128))
    frames = sorted((photos / "studio" / "mug").iterdir())[:5]
    for path in frames:
        writer.write(cv2.imread(str(path)))
    writer.release()
    code, out, err = call("learn", "clip.avi", "mug")
    assert (code, err) == (0, "")
    assert "learned: 5 samples" in out
    assert call("learn", photos / "studio" / "chair", "chair")[0] == 0
    code, out, _ = call("run", "clip.avi", "--every", 2, "--quiet", "--json", "--label", "mug")
    assert json.loads(out)["correct"] == 3


@pytest.mark.parametrize("command", ["status", "status --json", "--help", "--version"])
def test_output_onto_a_full_disk_is_one_line(taught, command):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [*COMMAND, *command.split()], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "error: cannot write the output: No space left on device\n"


def test_use_changes_the_head_for_good(call, taught):
    assert call("use", "lda")[0] == 0
    assert '"head": "lda' in call("status", "--json")[1]
    assert call("use", "svm")[0] == 1
    assert call("use", "ridge")[0] == 0
    assert '"head": "ridge"' in call("status", "--json")[1]
