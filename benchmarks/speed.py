"""What learning costs beside single lessons: batches, predictions, first use, NumPy kernels.

    python benchmarks/speed.py

d = 1280 unless said, synthetic grid features, one thread; what is compared takes turns in one
run, and a claim is a ratio of medians. It writes results and table; it takes about two minutes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numba import njit
from report import short, table, write_results, write_section
from scipy.linalg import blas
from threadpoolctl import threadpool_limits

from edge_cl import kernels
from edge_cl.arrays import F64, I16
from edge_cl.heads import Ridge, RidgeOptions
from edge_cl.heads.masked import simplex_projection
from edge_cl.kernels import compiled, reference
from edge_cl.moments import Moments

RESULTS = Path(__file__).parent / "results" / "speed-x86-64.json"
_D, _K = 1280, 100
_KERNELS = ("add_rows", "follow")

# numba brings SciPy's BLAS in when SciPy is there; edge-cl does not depend on it.
_FIRST_USE = """
import sys, time
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "scipy":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
import numpy
from edge_cl import kernels
start = time.perf_counter()
kernels.warm_up()
print(time.perf_counter() - start)
"""


def main() -> int:
    """Measure and write."""
    with threadpool_limits(1):
        results: dict[str, dict[str, float]] = {
            "batches-256-d1280-k100-rms100": batches(100.0),
            "batches-256-d1280-k100-rms700": batches(700.0),
            "predict-d1280-k100": predict(100),
            "predict-d1280-k10000": predict(10_000),
            "numpy-kernels-d512-k100": numpy_kernels(512),
            "numpy-kernels-d1280-k100": numpy_kernels(1280),
            "renewal-d1280-k100-double": renewal("double"),
            "renewal-d1280-k100-single": renewal("single"),
        }
    results["first-use"] = first_use()
    write_results(RESULTS, dict(results), ["scipy"])
    write_section("speed", tables(results))
    return 0


def batches(spread: float, size: int = 256, samples: int = 10_000) -> dict[str, float]:
    """Learn samples in batches, beside dsyrk on the same rows; then the weights."""
    rng = np.random.default_rng(0)
    learned, products, weights = [], [], []
    for _ in range(5):
        moments, head = _learner(4096, _K, spread)
        learning = multiplying = 0.0
        for start in range(0, samples, size):
            n = min(size, samples - start)
            q, y = _samples(rng, n, _D, spread), rng.integers(0, _K, n)
            x = q.astype(np.float64)
            learning += _seconds(partial(_learn, moments, head, q, y))
            multiplying += _seconds(partial(blas.dsyrk, 1.0, x.T))
        learned.append(learning)
        products.append(multiplying)
        weights.append(_seconds(head.tensors))
    ratio = statistics.median(products) / statistics.median(learned)
    return {
        "learn_ms": statistics.median(learned) * 1e3,
        "dsyrk_ms": statistics.median(products) * 1e3,
        "share_of_dsyrk": ratio,
        "weights_afterwards_ms": statistics.median(weights) * 1e3,
    }


def predict(k: int) -> dict[str, float]:
    """Time scores and probabilities of one row, beside one pass over W."""
    rng = np.random.default_rng(0)
    _, head = _learner(4096, k, 100.0)
    W, q = head.tensors()["W"], _samples(rng, 1, _D, 100.0)
    scores = head.scores(q)
    taken = _in_turn(
        {
            "pass": lambda: _read(W),
            "scores": lambda: head.scores(q),
            "probabilities": lambda: simplex_projection(scores),
            "sort": lambda: np.sort(scores),
        },
        rounds=60,
    )
    return {f"{name}_ms": s * 1e3 for name, s in taken.items()} | {
        "scores_per_pass": taken["scores"] / taken["pass"]
    }


def numpy_kernels(d: int) -> dict[str, float]:
    """Time a lesson on the NumPy kernels beside one on the compiled ones."""
    rng = np.random.default_rng(0)
    pairs = {name: _learner(2000, _K, 100.0, d) for name in ("numba", "numpy")}

    def lesson(name: str) -> Callable[[], None]:
        def run() -> None:
            q, y = _samples(rng, 1, d, 100.0), rng.integers(0, _K, 1)
            _learn(*pairs[name], q, y)

        return run

    taken: dict[str, list[float]] = {"numba": [], "numpy": []}
    for _ in range(40):
        for name, module in (("numba", compiled), ("numpy", reference)):
            for kernel in _KERNELS:
                setattr(kernels, kernel, getattr(module, kernel))
            taken[name] += [_seconds(lesson(name)) for _ in range(64)]
    for kernel in _KERNELS:
        setattr(kernels, kernel, getattr(compiled, kernel))
    medians = {f"{name}_ms": statistics.median(s) * 1e3 for name, s in taken.items()}
    return medians | {"numpy_per_numba": medians["numpy_ms"] / medians["numba_ms"]}


def renewal(inverse: str) -> dict[str, float]:
    """Measure what holds the caller up when the inverse is computed anew in the background."""
    rng = np.random.default_rng(0)
    moments, head = _learner(4096, _K, 100.0, inverse=inverse)
    busy: list[float] = []
    quiet: list[float] = []
    pauses, solves, residuals = [], [], []
    for _ in range(6):
        head._age_limit = head._age + 300  # sooner than in earnest
        last = head.renewal
        while head.renewal is last:
            q, y = _samples(rng, 1, _D, 100.0), rng.integers(0, _K, 1)
            under_way = any(t.name == "edge-cl solve" for t in threading.enumerate())
            (busy if under_way else quiet).append(_seconds(partial(_learn, moments, head, q, y)))
        pauses.append(head.renewal.pause_s)
        solves.append(head.renewal.solve_s)
        residuals.append(head.renewal.residual)
    return {
        "pause_ms": statistics.median(pauses) * 1e3,
        "largest_pause_ms": max(pauses) * 1e3,
        "solve_ms": statistics.median(solves) * 1e3,
        "lesson_meanwhile_ms": statistics.median(busy) * 1e3,
        "lesson_otherwise_ms": statistics.median(quiet) * 1e3,
        "residual_before": max(residuals),
    }


def first_use() -> dict[str, float]:
    """Seconds to compile every kernel, with an empty cache and with a full one."""
    cold, warm = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as cache:
            environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "EDGE_CL_KERNELS": "numba"}
            for times, repeats in ((cold, 1), (warm, 3)):
                for _ in range(repeats):
                    command = [sys.executable, "-c", _FIRST_USE]
                    out = subprocess.run(
                        command, env=environment, capture_output=True, text=True, check=True
                    )
                    times.append(float(out.stdout))
    return {"cold_s": statistics.median(cold), "warm_s": statistics.median(warm)}


def tables(results: dict[str, dict[str, float]]) -> str:
    """Return what was measured, in markdown."""
    rows = []
    for rms in (100, 700):
        r = results[f"batches-256-d1280-k100-rms{rms}"]
        rate = f"{r['share_of_dsyrk']:.2f} times the rate of dsyrk"
        name = f"10,000 samples in batches of 256, features of {rms} grid steps rms"
        rows.append([name, f"{short(r['learn_ms'])} ms", rate])
    for k in (100, 10_000):
        r = results[f"predict-d1280-k{k}"]
        name = f"scores of one row, {k:,} classes"
        ratio = f"{r['scores_per_pass']:.2f} passes over W"
        rows.append([name, f"{r['scores_ms']:.3f} ms", ratio])
    r = results["predict-d1280-k10000"]
    ratio = f"{r['probabilities_ms'] / r['pass_ms']:.2f} passes over W"
    rows.append(["their probabilities, 10,000 classes", f"{r['probabilities_ms']:.3f} ms", ratio])
    for d in (512, 1280):
        r = results[f"numpy-kernels-d{d}-k100"]
        ratio = f"{r['numpy_per_numba']:.1f} times that of Numba"
        rows.append([f"a lesson on NumPy kernels, d = {d}", f"{r['numpy_ms']:.3f} ms", ratio])
    for inverse in ("double", "single"):
        r = results[f"renewal-d1280-k100-{inverse}"]
        pause = f"pause {short(r['pause_ms'])} ms, residual before {r['residual_before']:.0e}"
        name = f"inverse computed anew in the background, `{inverse}`"
        rows.append([name, f"{short(r['solve_ms'])} ms", pause])
    r = results["first-use"]
    rows.append(["kernels compiled, empty cache", f"{r['cold_s']:.1f} s", ""])
    rows.append(["kernels loaded, full cache", f"{r['warm_s']:.2f} s", ""])
    return table(["one thread, d = 1280", "time", "beside"], rows)


@njit(fastmath=True)
def _read(W: F64) -> float:  # pragma: no cover
    total = 0.0
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            total += W[i, j]
    return total


def _learner(
    n: int, k: int, spread: float, d: int = _D, inverse: str = "double"
) -> tuple[Moments, Ridge]:
    rng = np.random.default_rng(3)
    moments = Moments(d)
    moments.grow(k)
    moments.add(_samples(rng, n, d, spread), np.arange(n) % k)
    options = RidgeOptions(inverse="single" if inverse == "single" else "double")
    head = Ridge(moments, options, scale=1.0, mean_square_norm=spread**2 * d)
    head.tensors()
    return moments, head


def _learn(moments: Moments, head: Ridge, q: I16, y: np.typing.NDArray[np.int64]) -> None:
    moments.add(q, y)
    head.update(q, y, +1)


def _samples(rng: np.random.Generator, n: int, d: int, spread: float) -> I16:
    q = np.rint(rng.standard_normal((n, d), np.float32) * np.float32(spread))
    return np.asarray(np.clip(q, -2047, 2047), np.int16)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _in_turn(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            taken[name].append(_seconds(run))
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


if __name__ == "__main__":
    sys.exit(main())
