"""Where a network runs is set, and told: threads, cores, and that nothing of ours starts more."""

import json
import os
import subprocess
import sys
from pathlib import Path

import model_bytes as mb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from test_canary import a_bundle

from edge_cl import Learner, features_bundle
from edge_cl.assets import shipped_bundle
from edge_cl.bundle import open_bundle
from edge_cl.encoders import Encoder, open_encoder
from edge_cl.encoders.cores import checked_cores, cores_named, kept_on
from edge_cl.encoders.litert_runner import litert_available
from edge_cl.encoders.passthrough import PassthroughRunner
from edge_cl.errors import BackendError, InputError
from edge_cl.placement import Placement, core_ranges

HERE = tuple(sorted(os.sched_getaffinity(0)))
LAST = HERE[-1]
PICTURE = np.arange(224 * 224 * 3, dtype=np.uint8).reshape(224, 224, 3)


def tasks():
    """Thread -> the cores it may use, as the kernel tells it."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        (cores,) = (v.partition(":")[2].strip() for v in lines if v.startswith("Cpus_allowed_list"))
        found[task.name] = cores
    return found


# -- cores ---------------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 40), min_size=1))
def test_ranges_of_cores_read_back(cores):
    read = set()
    for part in core_ranges(cores).split(","):
        first, _, last = part.partition("-")
        read |= set(range(int(first), int(last or first) + 1))
    assert read == cores


def test_cores_are_named_in_three_ways():
    assert cores_named("all") == HERE
    assert cores_named(str(LAST)) == (LAST,)
    assert cores_named(core_ranges(HERE)) == HERE
    big = cores_named("big")
    assert big and set(big) <= set(HERE)


def test_big_are_the_fastest_cores_that_may_be_used(monkeypatch):
    from edge_cl.device.processors import CoreCluster

    kinds = [CoreCluster(cores=c, capacity=0, max_mhz=0) for c in ((98, 99), (LAST,), HERE)]
    monkeypatch.setattr("edge_cl.encoders.cores.core_clusters", lambda: kinds)
    assert cores_named("big") == (LAST,)
    monkeypatch.setattr("edge_cl.encoders.cores.core_clusters", list)  # it does not tell
    assert cores_named("big") == HERE


@pytest.mark.parametrize(
    "text", ["", "little", "1-", "-1", "3-1", "0,,1", "1.5", "0-99999999999", "²"]
)
def test_what_names_no_cores_is_refused(text):
    with pytest.raises(InputError, match="expected cores as big, all, or numbers"):
        cores_named(text)


def test_a_core_with_a_number_beyond_all_is_refused():
    with pytest.raises(InputError, match="expected cores as big, all, or numbers"):
        cores_named("9" * 5000)


def test_cores_that_this_process_may_not_use_are_refused():
    with pytest.raises(InputError, match=r"expected cores of .*, got 4000"):
        cores_named("4000")
    with pytest.raises(InputError, match="got none"):
        checked_cores(())
    with pytest.raises(InputError, match="4001"):
        Learner.open(cores=(4001,))
    with pytest.raises(InputError, match="which this process may use"):
        Learner.open(cores="4001")


def test_a_thread_is_put_back_whatever_happens():
    before = os.sched_getaffinity(0)
    with kept_on((LAST,)):
        assert os.sched_getaffinity(0) == {LAST}
    assert os.sched_getaffinity(0) == before
    encoder = open_encoder(a_bundle(mb.IDENTITY), cores=(LAST,))
    with pytest.raises(BackendError):
        encoder.encode(np.zeros((1, 7), np.float32))
    assert os.sched_getaffinity(0) == before


def test_the_calling_thread_works_on_the_cores_too():
    class Watching(PassthroughRunner):
        def run(self, batch):
            self.seen = os.sched_getaffinity(0)
            return super().run(batch)

    bundle, runner = features_bundle([[1.0]]), Watching()
    Encoder(bundle, None, runner, cores=(LAST,)).encode(np.ones((1, 1), np.float32))
    assert runner.seen == {LAST}
    Encoder(bundle, None, runner).encode(np.ones((1, 1), np.float32))
    assert runner.seen == set(HERE)


def shipped():
    return open_bundle(shipped_bundle())


def test_threads_of_onnx_runtime_stay_on_the_cores_that_were_named():
    before = set(tasks())
    encoder = open_encoder(shipped(), runtime="onnx", threads=3, cores=(LAST,))
    x = encoder.encode(encoder.prepare(PICTURE)[None])
    made = {cores for task, cores in tasks().items() if task not in before}
    assert made == {str(LAST)}
    assert tasks()[str(os.getpid())] == core_ranges(HERE)
    assert encoder.placement.cores == (LAST,)
    free = open_encoder(shipped(), runtime="onnx", threads=3)
    assert_array_equal(free.encode(free.prepare(PICTURE)[None]), x)  # where, not what
    assert free.placement.cores is None


if litert_available():

    def test_threads_of_litert_stay_on_the_cores_that_were_named():
        """XNNPACK makes them when the network is loaded; in a process of its own, to see them."""
        code = (
            "import model_bytes as mb; from test_canary import a_bundle\n"
            "from test_placement import tasks, LAST; import numpy as np\n"
            "from edge_cl.encoders import open_encoder\n"
            "b = a_bundle(mb.tflite(), runtime='litert'); before = set(tasks())\n"
            "e = open_encoder(b, threads=3, cores=(LAST,)); e.encode(np.ones((1, 3), np.float32))\n"
            "print(LAST, sorted(c for t, c in tasks().items() if t not in before), e.placement)"
        )
        out = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        )
        assert out.returncode == 0, out.stderr
        assert out.stdout.startswith(f"{LAST} ['{LAST}', '{LAST}'] "), out.stdout


def test_threads_default_to_the_cores_they_are_kept_on():
    assert open_encoder(shipped(), cores=(LAST,)).placement.threads == 1
    assert open_encoder(shipped()).placement.threads == min(4, len(HERE))


# -- what is told --------------------------------------------------------------------------------


def test_a_placement_in_a_line():
    placement = Placement(
        runtime="onnx",
        precision="int8",
        accelerator="cpu",
        threads=2,
        cores=None,
        nodes={"CPUExecutionProvider": 83},
    )
    assert placement.line == (
        "onnx int8 on cpu, threads: 2, cores: any, nodes: CPUExecutionProvider 83"
    )
    assert placement.fallbacks == ()


def test_every_node_of_the_shipped_encoder_is_told():
    placement = open_encoder(shipped(), threads=1).placement
    assert set(placement.nodes) == {"CPUExecutionProvider"}
    assert placement.nodes["CPUExecutionProvider"] > 50  # it has 52 convolutions
    assert placement.fallbacks == ()


def test_features_that_come_ready_made_run_nowhere():
    with Learner.open(bundle=features_bundle([[1.0, 2.0]])) as learner:
        placement = learner.status.placement
    assert (placement.runtime, placement.nodes, placement.threads) == ("none", {}, 0)
    assert "ready-made" in placement.line


def test_status_tells_where_the_network_runs(call, place):
    (place / "shipped.edgecl").write_bytes(Path(shipped_bundle()).read_bytes())
    from PIL import Image

    Image.fromarray(PICTURE).save("one.png")
    options = ("--cores", str(LAST), "--threads", 1)
    assert call("learn", "one.png", "mug", "--bundle", "shipped.edgecl", *options)[0] == 0
    assert call("predict", "one.png", *options, "--accelerator", "cpu", "--strict")[0] == 0
    code, out, _ = call("status")
    assert code == 0
    assert "runs as: onnx int8 on cpu, threads: " in out and "fallback" not in out
    code, out, _ = call("status", "--json")
    placement = json.loads(out)["placement"]
    assert placement["accelerator"] == "cpu" and placement["fallbacks"] == []
    assert placement["nodes"]["CPUExecutionProvider"] > 50


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--cores", "4000"), "which this process may use"),
        (("--cores", "some"), "expected cores as"),
        (("--accelerator", "abacus"), "unknown accelerator 'abacus'"),
        (("--accelerator", "openvino"), "OpenVINOExecutionProvider"),
        (("--accelerator", "rknn"), "holds no encoder for rknn"),
    ],
)
def test_a_place_that_is_not_there_is_one_line(call, place, option, says):
    from PIL import Image

    Image.fromarray(PICTURE).save("one.png")
    code, out, error = call("learn", "one.png", "mug", "--bundle", shipped_bundle(), *option)
    assert (code, out) == (1, "")
    assert says in error and error.count("\n") <= 2
    assert not (place / "edge-cl-state").exists()
    code, _, error = call("verify", shipped_bundle(), *option)
    assert code in (1, 3) and says in error


def test_more_threads_than_any_machine_has_are_refused_before_they_are_made(call, place):
    code, out, error = call("verify", shipped_bundle(), "--threads", 99999)
    assert (code, out) == (1, "") and "at most 1024 threads, got 99999" in error
    with pytest.raises(InputError, match="at most 1024 threads"):
        open_encoder(open_bundle(shipped_bundle()), threads=1025)


SHORT = """
import resource, sys
from edge_cl.assets import shipped_bundle
from edge_cl.bundle import open_bundle
from edge_cl.encoders import open_encoder
from edge_cl.errors import BackendError
bundle = open_bundle(shipped_bundle())
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), -1))
try:
    open_encoder(bundle)
except BackendError as error:
    print(error)
"""


def test_a_library_that_does_not_fit_into_memory_is_one_line():
    open_encoder(shipped())  # proven: no child process finds out before
    run = subprocess.run([sys.executable, "-c", SHORT], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("\n") == 1
    assert "cannot be loaded" in run.stdout


# -- one thread budget ---------------------------------------------------------------------------

BUDGET = """
import os, sys, time
import numpy as np
from edge_cl import Learner
threads = int(sys.argv[1])
learner = Learner.open(sys.argv[2], threads=threads, head="lda")
rng = np.random.default_rng(0)
most = 0
for i in range(12):
    picture = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    learner.learn(picture, "ab"[i % 2]); learner.predict(picture)
    most = max(most, len(os.listdir("/proc/self/task")))
began = time.process_time()
time.sleep(1.0)
print(most, time.process_time() - began)
"""


@pytest.mark.slow
def test_a_learner_has_the_threads_it_was_given_and_idles_when_it_is_idle(tmp_path):
    """The encoder's, of which the caller is one; no other works beside them, and none spins."""
    threads = 3
    blas = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "GOTO_NUM_THREADS")
    environment = {k: v for k, v in os.environ.items() if k not in blas}
    run = [sys.executable, "-c", BUDGET, str(threads), str(tmp_path / "state")]
    done = subprocess.run(run, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    most, busy = done.stdout.split()
    started = max(0, len(HERE) - 1)  # OpenBLAS makes its own when it is loaded; they only wait
    assert threads <= int(most) <= threads + started + 1  # and the one that puts pages on disk
    assert float(busy) < 0.05
