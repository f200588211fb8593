"""What `edge-cl plan` predicts for this machine, beside what is measured on it.

    python benchmarks/planning.py

Each setup is planned, then taught and asked; one thread. The machine may be shared: of single calls
the tenth that was disturbed least counts, of those that take long (pause, flush, whole, and the
encoder with one thread) the time of the thread itself, without what others took of its core. Speed
and calls are measured in turn. Bounds: bytes within 25 %, times within a
factor of 2. It exits with 3 where one is broken. Memory is that of a fresh process a setup, at its
peak. About three minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter, thread_time

import numpy as np
from report import write_results

from edge_cl import Learner, features_bundle, kernels
from edge_cl.assets import shipped_bundle
from edge_cl.bundle import Bundle, open_bundle
from edge_cl.encoders import open_encoder
from edge_cl.features import map_named
from edge_cl.heads import head_options
from edge_cl.planning import Planner
from edge_cl.planning.alternatives import Setup
from edge_cl.planning.target import target_named

RESULTS = Path(__file__).parent / "results" / "planning-x86-64.json"
FACTOR, SHARE = 2.0, 0.25

# numba brings SciPy in when it is there; edge-cl does not depend on it, and a board has none
_CHILD = """
import runpy, sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "scipy":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""

# head, map, features that go in, classes
SETUPS = [
    ("ridge", "identity", 128, 10),
    ("ridge", "identity", 1280, 10),
    ("ridge", "identity", 1280, 100),
    ("ridge", "identity", 1280, 1000),
    ("ridge", "random-relu:2560", 1280, 100),
    ("lda", "identity", 1280, 100),
    ("lda", "fourier:2048", 1280, 10),
    ("ncm", "identity", 1280, 1000),
    ("kalman", "identity", 1280, 100),
    ("fecam", "identity", 256, 100),
    ("ridge-balanced", "identity", 1280, 100),
]


def main() -> int:
    """Measure and write; 3 where a bound is broken."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_of:
        print(json.dumps(memory_of(*json.loads(given.memory_of))))
        return 0
    kernels.warm_up()
    results: dict[str, object] = {}
    broken: list[str] = []
    for threads in (1, 2):
        found = encoding(threads)
        results[f"plan-encode-lite0-int8-{threads}"] = found
        broken += check(f"encode, {threads} threads", found)
        print(f"encode, {threads} threads: {found}", flush=True)
    for head, feature_map, d, k in SETUPS:
        name = f"plan-{head}-{feature_map.replace(':', '-')}-d{d}-k{k}"
        found = one(head, feature_map, d, k)
        results[name] = found
        broken += check(name, found)
        told = "  ".join(f"{s} {v['predicted']:.3g}/{v['measured']:.3g}" for s, v in found.items())
        print(f"{name}: {told}", flush=True)
    write_results(RESULTS, results, [])
    for line in broken:
        print(f"broken: {line}")
    return 3 if broken else 0


def one(head: str, feature_map: str, d: int, k: int) -> dict[str, dict[str, float]]:
    """Return what is predicted and what is measured of a setup."""
    bundle = bundle_of(d)
    options, wanted = head_options(head), map_named(feature_map)
    setup = Setup(d_in=d, classes=k, head=options, feature_map=wanted)
    measured = times(bundle, head, feature_map, k)
    plan = Planner(bundle, target_named("here"), threads=1).plan(setup)
    found = {
        stage: {"predicted": plan.times[stage].likely, "measured": ms}  # type: ignore[union-attr]
        for stage, ms in measured.items()
    }
    held = {"peak": 0, "disk": 0}
    with tempfile.TemporaryDirectory() as folder:
        for _ in ("made", "opened again"):
            arguments = json.dumps([head, feature_map, d, k, f"{folder}/state"])
            done = subprocess.run(
                [sys.executable, "-c", _CHILD, __file__, "--memory-of", arguments],
                capture_output=True,
                text=True,
                check=True,
            )
            found_now = json.loads(done.stdout)
            held = {name: max(held[name], value) for name, value in found_now.items()}
    found["process, MB"] = {"predicted": plan.peak_bytes / 1e6, "measured": held["peak"] / 1e6}
    found["state, MB"] = {
        "predicted": plan.needs.state_bytes / 1e6,
        "measured": held["disk"] / 1e6,
    }
    return found


def times(bundle: Bundle, head: str, feature_map: str, k: int) -> dict[str, float]:
    """Return the medians of the stages, in ms."""
    learner = Learner.open(bundle=bundle, head=head, feature_map=feature_map)
    xs, names = samples(bundle.manifest.embedding.d), [f"class-{c}" for c in range(k)]
    teach(learner, xs, names)
    start = thread_time()
    learner.scores([])
    whole = (thread_time() - start) * 1e3
    slow = head in ("lda", "fecam", "ridge-balanced")
    learn, calls, flush, predict, mapped = [], [], [], [], []
    for i in range(30 if slow else 768):
        start = thread_time()
        lesson = learner.learn(xs[i % len(xs)], names[i % k]).stage_ms
        calls.append((thread_time() - start) * 1e3)
        start = thread_time()
        learner.scores([])
        flush.append((thread_time() - start) * 1e3)
        answer = learner.predict(xs[(i + 1) % len(xs)]).stage_ms
        learn.append(lesson.learn)
        predict.append(answer.predict)
        mapped.append(answer.map)
    found = {
        "learn": undisturbed(learn),
        "predict": undisturbed(predict),
        "map": undisturbed(mapped),
    }
    if slow:
        found["flush"] = undisturbed(flush)
    else:  # the least of lessons that are so far apart is no disturbance
        found["pause"] = pause(calls[256:])  # the first fold comes after so many
    if head in ("ridge", "fecam"):
        found["whole"] = whole
    return found


def pause(calls: list[float]) -> float:
    """Return what folding the sums (each 256th lesson) and the inverse (each 64th) takes."""
    often = [min(calls[i::64]) for i in range(64)]
    rarely = [min(calls[i::256]) for i in range(256)]
    inverse, longest = int(np.argmax(often)), int(np.argmax(rarely))
    found = rarely[longest] - undisturbed(calls)
    apart = longest % 64 != inverse
    return found + (often[inverse] - undisturbed(calls) if apart else 0.0)


def memory_of(head: str, feature_map: str, d: int, k: int, state: str) -> dict[str, float]:
    """Return the peak of this process after all that a learner does, and the bytes on disk."""
    bundle = bundle_of(d)
    kernels.warm_up()
    new = not Path(state).exists()
    with Learner.open(
        state,
        bundle=bundle,
        head=head if new else None,
        feature_map=feature_map if new else None,
        durability="save",
    ) as learner:
        xs, names = samples(d), [f"class-{c}" for c in range(k)]
        if new:
            teach(learner, xs, names)
        for i in range(100):
            learner.learn(xs[i % len(xs)], names[i % k])
            learner.predict(xs[0])
        learner.save()
    disk = sum(p.stat().st_size for p in Path(state).iterdir() if p.suffix != ".edgecl")
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return {"peak": int(status.partition("VmHWM:")[2].split()[0]) * 1024, "disk": disk}


def encoding(threads: int) -> dict[str, dict[str, float]]:
    """Return what is predicted and measured for a picture through the shipped encoder."""
    bundle = open_bundle(shipped_bundle())
    encoder = open_encoder(bundle, runtime="onnx", threads=threads)
    picture = np.zeros((1, *bundle.manifest.input.shape), np.uint8)
    clock = thread_time if threads == 1 else perf_counter
    measured = undisturbed(timed(lambda: encoder.encode(picture), clock) for _ in range(200))
    planner = Planner(bundle, target_named("here"), runtime="onnx", threads=threads)
    setup = Setup(
        d_in=1280, classes=10, head=head_options("ncm"), feature_map=map_named("identity")
    )
    predicted = planner.plan(setup).times["encode"]
    if predicted is None:
        raise SystemExit("nothing was predicted for the encoder")
    return {"encode": {"predicted": predicted.likely, "measured": measured}}


def check(name: str, found: dict[str, dict[str, float]]) -> list[str]:
    """Return what is out of its bounds; what takes less than 0.1 ms is Python's, and not told."""
    broken = []
    for figure, pair in found.items():
        ratio = pair["predicted"] / pair["measured"]
        if figure.endswith("MB"):
            good = abs(ratio - 1) <= SHARE
        else:
            good = 1 / FACTOR <= ratio <= FACTOR or max(pair.values()) < 0.1
        if not good:
            broken.append(f"{name}: {figure} is predicted {ratio:.2f} times what was measured")
    return broken


def bundle_of(d: int) -> Bundle:
    """Return a bundle of ready-made features."""
    return features_bundle(np.random.default_rng(0).standard_normal((64, d)))


def samples(d: int) -> list[np.ndarray]:
    """Return features to teach and ask."""
    return list(np.random.default_rng(1).standard_normal((128, d)))


def teach(learner: Learner, xs: list[np.ndarray], names: list[str]) -> None:
    """Teach several samples of each class."""
    total = max(3 * len(names), 512)
    for start in range(0, total, 500):
        rows = range(start, min(start + 500, total))
        learner.learn_many([xs[i % 128] for i in rows], [names[i % len(names)] for i in rows])


def undisturbed(ms: Iterable[float]) -> float:
    """Return what a tenth of the calls take at most."""
    return float(np.percentile(list(ms), 10))


def timed(call: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return ms of a call."""
    start = clock()
    call()
    return (clock() - start) * 1e3


if __name__ == "__main__":
    sys.exit(main())
