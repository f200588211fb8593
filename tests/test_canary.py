"""An encoder's first load happens in a child: what may go wrong there ends there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import model_bytes as mb
import msgspec
import numpy as np
import pytest
from safetensors.numpy import save
from test_bundle import FILES, MANIFEST

from edge_cl import features_bundle
from edge_cl.bundle import pack_bundle, read_bundle
from edge_cl.encoders import canary, open_encoder, proven
from edge_cl.encoders.canary_message import Answer, written_answer
from edge_cl.encoders.litert_runner import litert_available
from edge_cl.errors import BackendError

INPUTS = np.arange(1, 7, dtype=np.float32).reshape(2, 3)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Nothing is proven yet, and what will be is kept apart."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(proven, "_here", set())
    return tmp_path / "cache" / "edge-cl" / "proven"


def a_bundle(encoder, features=INPUTS, *, runtime="onnx", parity=True):
    member = {"onnx": "encoder.onnx", "litert": "encoder.tflite"}[runtime]
    spec = msgspec.structs.replace(MANIFEST.encoders[0], member=member, runtime=runtime)
    members = {member: encoder, "report.json": FILES["report.json"]}
    if parity:
        known = {"inputs": INPUTS, "features": np.asarray(features, np.float32)}
        members["parity.safetensors"] = save(known)
    return read_bundle(pack_bundle(msgspec.structs.replace(MANIFEST, encoders=(spec,)), members))


GOOD = a_bundle(mb.IDENTITY)


def instead(monkeypatch, code):
    """Let this Python code be the child."""
    monkeypatch.setattr(canary, "child_command", lambda: [sys.executable, "-c", code])


def limit(monkeypatch, **limits):
    monkeypatch.setattr(canary, "LIMITS", canary.Limits(**limits))


def no_child(monkeypatch):
    def fail():
        raise AssertionError("a child was started")

    monkeypatch.setattr(canary, "child_command", fail)


def nothing_remembered(cache):
    return not cache.exists() and not proven._here


# -- encoders that work --------------------------------------------------------------------------


@pytest.mark.parametrize("parity", [True, False])
def test_an_encoder_is_tried_once(monkeypatch, cache, parity):
    bundle = a_bundle(mb.IDENTITY, parity=parity)
    np.testing.assert_array_equal(open_encoder(bundle).encode(INPUTS), INPUTS)
    assert len(list(cache.iterdir())) == 1
    no_child(monkeypatch)
    open_encoder(bundle)
    monkeypatch.setattr(proven, "_here", set())  # another process
    open_encoder(bundle)


RUNTIMES = {"onnx": mb.IDENTITY} | ({"litert": mb.tflite()} if litert_available() else {})


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("threads", [1, 4, 16])
def test_the_limits_leave_room_for_the_runtime_and_its_threads(runtime, threads):
    open_encoder(a_bundle(RUNTIMES[runtime], runtime=runtime), threads=threads)


def test_the_shipped_encoder_is_proven_and_predicts_in_a_cold_process(tmp_path, capsys):
    code = (
        "import time; t = time.perf_counter()\n"
        "import numpy as np; from edge_cl import Learner\n"
        "l = Learner.open(); l.learn(np.zeros((300, 200, 3), np.uint8), 'dark')\n"
        "l.predict(np.zeros((300, 200, 3), np.uint8)); print(time.perf_counter() - t)"
    )
    seconds = [
        float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(2)
    ]
    with capsys.disabled():
        first, later = seconds
        sys.stdout.write(f"\nfirst answer of a process: {first:.2f} s, once proven {later:.2f} s\n")
    assert len(list((tmp_path / "cache" / "edge-cl" / "proven").iterdir())) == 1


def test_a_bundle_without_an_encoder_has_nothing_to_prove(monkeypatch, cache):
    no_child(monkeypatch)
    open_encoder(features_bundle(INPUTS))
    assert nothing_remembered(cache)


def test_features_without_a_direction_are_alike():
    open_encoder(a_bundle(mb.times(np.zeros((3, 3))), np.zeros((2, 3))))


# -- encoders that do not ------------------------------------------------------------------------


def infinite():
    zero = mb.tensor(np.zeros(3, np.float32), "w")
    return mb.onnx(mb.graph([mb.node("Div", ["x", "w"])], initializers=[zero]))


BROKEN = {
    "another network": (mb.times([[0, 1, 0], [0, 0, -1], [1, 0, 0]]), "mean cosine"),
    "features turned round": (mb.times(-np.eye(3)), "mean cosine -1.000"),
    "features all zero": (mb.times(np.zeros((3, 3))), "mean cosine 0.000"),
    "features not finite": (infinite(), "not finite"),
    "features of another length": (
        mb.onnx(
            mb.graph([mb.node("Concat", ["x", "x"], attributes=[mb.attribute("axis", 3, 2, 1)])])
        ),
        r"expected features \(2, 3\)",
    ),
    "an unknown operator": (mb.onnx(mb.graph([mb.node("Nonsense")])), "ONNX Runtime cannot load"),
    "other names": (
        mb.onnx(mb.graph([mb.node("Identity", ["x"], ["z"])]).replace(b"\1y", b"\1z")),
        "the manifest says x and y",
    ),
    "more memory than there is": (mb.huge(1 << 40), "ONNX Runtime failed"),
    "more memory than the limit": (mb.huge(1 << 30), "ONNX Runtime failed"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_an_encoder_that_does_not_work_here_is_one_clear_line(cache, what):
    blob, message = BROKEN[what]
    with pytest.raises(BackendError, match=message) as caught:
        open_encoder(a_bundle(blob))
    assert "\n" not in str(caught.value) + caught.value.hint and caught.value.hint
    assert nothing_remembered(cache)


def test_a_network_that_never_ends_is_ended(monkeypatch, cache):
    bundle = a_bundle(mb.endless())
    limit(monkeypatch, cpu_seconds=1)
    with pytest.raises(BackendError, match="more than 1 s of CPU"):
        open_encoder(bundle)
    limit(monkeypatch, wall_seconds=1.0)
    with pytest.raises(BackendError, match="within 1 s"):
        open_encoder(bundle)
    assert nothing_remembered(cache)


# -- children that crash -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGILL", "SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGKILL"])
def test_a_crash_is_an_error_that_names_it(monkeypatch, cache, name):
    instead(monkeypatch, f"import os, signal; os.kill(os.getpid(), signal.{name})")
    with pytest.raises(BackendError, match=name) as caught:
        open_encoder(GOOD)
    hint = {"SIGILL": "lacks an instruction", "SIGKILL": "out of memory"}
    assert hint.get(name, "do not use this encoder") in caught.value.hint
    assert nothing_remembered(cache)


def test_a_signal_without_a_name_is_told_by_its_number(monkeypatch):
    instead(monkeypatch, "import os; os.kill(os.getpid(), 40)")
    with pytest.raises(BackendError, match="signal 40"):
        open_encoder(GOOD)


def test_a_child_that_eats_memory_meets_the_limit(monkeypatch):
    limit(monkeypatch, memory_bytes=300 << 20)
    instead(monkeypatch, "import sys; sys.stdin.buffer.read(); a = bytearray(400 << 20)")
    with pytest.raises(BackendError, match="MemoryError"):
        open_encoder(GOOD)
    limit(monkeypatch, memory_bytes=3 << 30)  # the same child, with room
    with pytest.raises(BackendError, match="no answer"):
        open_encoder(GOOD)


def test_a_child_that_burns_time_is_ended(monkeypatch):
    limit(monkeypatch, cpu_seconds=1)
    instead(monkeypatch, "while True: pass")
    with pytest.raises(BackendError, match="CPU"):
        open_encoder(GOOD)


def test_a_child_that_sleeps_is_ended_with_its_own_children(monkeypatch, tmp_path):
    told = tmp_path / "pid"
    limit(monkeypatch, wall_seconds=1.0)
    instead(
        monkeypatch,
        "import subprocess, time, pathlib\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(told)!r}).write_text(str(child.pid))\n"
        "time.sleep(600)",
    )
    with pytest.raises(BackendError, match="within 1 s"):
        open_encoder(GOOD)
    for _ in range(100):  # it is dead at once; init takes a moment to bury it
        if not alive(int(told.read_text())):
            return
        time.sleep(0.05)
    raise AssertionError("a grandchild lives on")


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_a_child_writes_is_bounded(monkeypatch):
    limit(monkeypatch, answer_bytes=1 << 20)
    write = "import os\nwhile True: os.write({}, b'x' * 65536)"
    for stream in (1, 2):
        instead(monkeypatch, write.format(stream))
        with pytest.raises(BackendError):  # EFBIG ends it
            open_encoder(GOOD)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff\xff\xff\xff",
        b"\2\0\0\0[]",
        b"\2\0\0\0{}",
        written_answer(Answer(shape=(2, 3))),
        written_answer(Answer(shape=(-2, -3)), INPUTS),
        written_answer(Answer(shape=(1 << 62, 4)), INPUTS),
        written_answer(Answer(shape=(2, 3)), INPUTS)[:-1],
        written_answer(Answer(shape=(2, 3)), np.full((2, 3), np.nan, np.float32)),
        written_answer(Answer(shape=(3, 2)), INPUTS),
        written_answer(Answer(shape=(1, 3)), INPUTS[:1]),
        written_answer(Answer(error="it is broken")),
    ],
)
def test_a_false_answer_proves_nothing(monkeypatch, cache, answer):
    instead(monkeypatch, f"import os; os.write(1, {answer!r})")
    with pytest.raises(BackendError):
        open_encoder(GOOD)
    assert nothing_remembered(cache)
    instead(
        monkeypatch, f"import os; os.write(1, {written_answer(Answer(shape=(2, 3)), INPUTS)!r})"
    )
    open_encoder(GOOD)


def test_a_child_has_no_stdin_of_ours_and_few_rights_to_memory(monkeypatch, tmp_path):
    told = tmp_path / "told"
    instead(
        monkeypatch,
        "import os, resource, sys\n"
        "data = sys.stdin.buffer.read()\n"
        "limits = [resource.getrlimit(getattr(resource, 'RLIMIT_' + n)) for n in "
        "('AS', 'CPU', 'CORE')]\n"
        "leads = os.getsid(0) == os.getpid()\n"
        "score = open('/proc/self/oom_score_adj').read().strip()\n"
        f"open({str(told)!r}, 'w').write(repr((len(data) > 100, limits, leads, score)))",
    )
    with pytest.raises(BackendError, match="no answer"):
        open_encoder(GOOD)
    size = len(GOOD.files["encoder.onnx"])
    memory, seconds = canary.LIMITS.memory_bytes + 32 * size, canary.LIMITS.cpu_seconds
    limits = [(memory, memory), (seconds, seconds + 5), (0, 0)]
    assert told.read_text() == repr((True, limits, True, "1000"))


def test_an_interrupt_leaves_no_child(monkeypatch, tmp_path):
    told = tmp_path / "pid"
    instead(
        monkeypatch,
        "import os, pathlib, signal, time\n"
        f"pathlib.Path({str(told)!r}).write_text(str(os.getpid()))\n"
        "os.kill(os.getppid(), signal.SIGINT); time.sleep(600)",
    )
    with pytest.raises(KeyboardInterrupt):
        open_encoder(GOOD)
    assert not alive(int(told.read_text()))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_a_python_of_its_own_it_says_so(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(BackendError, match="cannot start a Python"):
        open_encoder(GOOD)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(BackendError, match="No such file"):
        open_encoder(GOOD)


def test_a_child_starts_no_child(monkeypatch):
    """A program that Python is embedded in may be what `sys.executable` starts again."""
    monkeypatch.setenv(canary.INSIDE, "1")
    with pytest.raises(BackendError, match="cannot start a Python"):
        open_encoder(GOOD)


# -- remembering ---------------------------------------------------------------------------------


def spoil_file(cache, text):
    for path in cache.iterdir():
        path.write_text(text)


@pytest.mark.parametrize("text", ["", "proven", "0" * 64 + "\n"])
def test_a_damaged_note_proves_nothing(monkeypatch, cache, text):
    open_encoder(GOOD)
    spoil_file(cache, text)
    monkeypatch.setattr(proven, "_here", set())
    no_child(monkeypatch)
    with pytest.raises(AssertionError):
        open_encoder(GOOD)


def test_a_proof_holds_for_what_was_proven_and_nothing_else(monkeypatch, tmp_path):
    def key(bundle=GOOD):
        return proven.key(bundle, bundle.manifest.encoders[0])

    assert key() == key(a_bundle(mb.IDENTITY))
    keys = {
        key(),
        key(a_bundle(mb.times(np.eye(3)))),
        key(a_bundle(mb.IDENTITY, 2 * INPUTS)),
        key(a_bundle(mb.IDENTITY, parity=False)),
    }
    monkeypatch.setattr(proven, "TRIAL_VERSION", 2)
    keys.add(key())
    monkeypatch.setattr(proven, "_cpu", lambda: ["another board"])
    keys.add(key())
    monkeypatch.setattr(proven, "_installed", lambda module: [module, "1.0"])
    keys.add(key())
    assert len(keys) == 7


@pytest.mark.parametrize(
    "variables",
    [
        {"XDG_CACHE_HOME": "/proc/nothing/can/be/written/here"},
        {"XDG_CACHE_HOME": "relative"},
        {"XDG_CACHE_HOME": "", "HOME": "/proc/nowhere"},
    ],
)
def test_without_a_cache_folder_a_process_remembers(monkeypatch, tmp_path, variables):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/proc/nowhere")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    open_encoder(GOOD)
    no_child(monkeypatch)
    open_encoder(GOOD)
    assert not (tmp_path / "relative").exists()


def test_the_folder_is_where_the_specification_says(monkeypatch, tmp_path):
    assert proven.folder() == tmp_path / "cache" / "edge-cl" / "proven"
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert proven.folder() == tmp_path / ".cache" / "edge-cl" / "proven"
    open_encoder(GOOD)
    assert os.stat(tmp_path / ".cache" / "edge-cl").st_mode & 0o777 == 0o700
