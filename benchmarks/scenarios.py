"""The scenarios: permanent ids, what is measured, and the bound each must keep.

A timing is a median; a claim about speed is a ratio of medians measured in turn in one run.
Processes are started anew where start-up counts, so that nothing is warm by accident.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from data.fashion import encode_grey, read_idx

from edge_cl.assets import shipped_bundle
from edge_cl.bench import bench
from edge_cl.bundle import Bundle, open_bundle
from edge_cl.encoders import open_encoder
from edge_cl.features import Identity, feature_map
from edge_cl.heads import HEADS, HeadOptions, RidgeOptions, build_head
from edge_cl.moments import Moments

Metrics = dict[str, float]
HEAVY = (
    "torch",
    "numba",
    "onnxruntime",
    "ai_edge_litert",
    "tflite_runtime",
    "sklearn",
    "matplotlib",
)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What some scenarios need and a checkout does not hold.

    precisions : a bundle with fp32 and int8 encoders (`edge-cl export efficientnet-lite0`).
    fashion : a folder with the four idx files of Fashion-MNIST, packed or not.
    """

    precisions: Path | None = None
    fashion: Path | None = None
    cache: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One measurement. `bounds`: metric -> ("<" or ">=", limit)."""

    what: str
    measure: Callable[[Resources], Metrics]
    bounds: dict[str, tuple[str, float]]
    needs: str = ""


def import_package(_: Resources) -> Metrics:
    code = (
        "import time, sys; t = time.perf_counter(); import edge_cl; "
        f"print(time.perf_counter() - t, sum(m in sys.modules for m in {HEAVY}))"
    )
    runs = [_python(code).split() for _ in range(9)]
    return {
        "median_s": statistics.median(float(r[0]) for r in runs),
        "heavy_modules": max(float(r[1]) for r in runs),
    }


def show_help(_: Resources) -> Metrics:
    command = [sys.executable, "-m", "edge_cl", "--help"]
    return {"median_s": statistics.median(_wall(command) for _ in range(9))}


def first_prediction(_: Resources) -> Metrics:
    """Open a saved state in a new process; the JIT cache is warm, the process is not."""
    with tempfile.TemporaryDirectory() as folder:
        teach = (
            "import numpy as np; from edge_cl import Learner; r = np.random.default_rng(0)\n"
            f"with Learner.open({folder!r}) as l:\n"
            "    l.learn_many([r.integers(0,256,(96,96,3),np.uint8) for _ in range(40)],"
            " [f'c{i%20}' for i in range(40)])\n"
            "    l.predict(np.zeros((9,9,3),np.uint8)); l.learn(np.zeros((9,9,3),np.uint8),'c1')"
        )
        _python(teach)
        ask = (
            "import numpy as np; from edge_cl import Learner\n"
            f"Learner.open({folder!r}, read_only=True).predict(np.zeros((96,96,3),np.uint8))"
        )
        command = [sys.executable, "-c", ask]
        return {"median_s": statistics.median(_wall(command) for _ in range(7))}


def lesson_over_predict(_: Resources) -> Metrics:
    """Ridge, d = 1280, 100 classes, exact after every sample; pictures of 640 x 480."""
    reports = [
        bench(_shipped(), classes=100, repetitions=300, seconds=0.0, threads=1).encoders[0]
        for _ in range(3)
    ]
    ratios = [r.lesson_over_predict for r in reports]
    middle = sorted(reports, key=lambda r: r.lesson_over_predict)[1]
    return {
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "predict_median_ms": middle.predict.median,
        "lesson_median_ms": middle.lesson.median,
        "encode_median_ms": middle.stages["encode"].median,
        "learn_median_ms": middle.stages["learn"].median,
        "learn_p99_ms": middle.stages["learn"].p99,
    }


def resident_memory(_: Resources) -> Metrics:
    """Let a learner with the shipped bundle and 100 classes predict and learn."""
    code = (
        "import numpy as np; from edge_cl import Learner; r = np.random.default_rng(0)\n"
        "l = Learner.open(threads=1)\n"
        "xs = [r.integers(0,256,(480,640,3),np.uint8) for _ in range(4)]\n"
        "for i in range(300):\n"
        "    l.learn(xs[i % 4], f'c{i % 100}'); i > 99 and l.predict(xs[i % 4])\n"
        "kb = dict(line.split()[:2] for line in open('/proc/self/status') if line[:2] == 'Vm')\n"
        "print(int(kb['VmRSS:']) / 2**10, int(kb['VmHWM:']) / 2**10)"
    )
    runs = [[float(v) for v in _python(code).split()] for _ in range(3)]
    return {
        "rss_mb": statistics.median(r[0] for r in runs),
        "peak_mb": statistics.median(r[1] for r in runs),
    }


def int8_over_fp32(resources: Resources) -> Metrics:
    """ONNX Runtime, one thread, one picture, in turn."""
    bundle = open_bundle(_need(resources.precisions))
    encoders = {
        p: open_encoder(bundle, runtime="onnx", precision=p, threads=1) for p in ("fp32", "int8")
    }
    x = np.random.default_rng(0).integers(0, 256, (1, *bundle.manifest.input.shape), np.uint8)
    times: dict[str, list[float]] = {p: [] for p in encoders}
    for i in range(220):
        for p, encoder in encoders.items():
            start = time.perf_counter()
            encoder.encode(x)
            if i >= 20:
                times[p].append((time.perf_counter() - start) * 1e3)
    pairs = [a / b for a, b in zip(times["fp32"], times["int8"], strict=True)]
    return {
        "speedup": statistics.median(pairs),
        "fp32_median_ms": statistics.median(times["fp32"]),
        "int8_median_ms": statistics.median(times["int8"]),
    }


def fashion_heads(resources: Resources) -> Metrics:
    """First 20,000 training pictures in one pass, all 10,000 test pictures, shipped encoder."""
    x, y = _fashion_features(resources, None)
    return _accuracies(_shipped(), x[:20000], y[:20000], x[20000:], y[20000:])


def fashion_ridge_sweep(resources: Resources) -> Metrics:
    """As `fashion_heads`: ridge with λ from a thousandth of E‖x‖² to ten times it."""
    x, y = _fashion_features(resources, None)
    options = {
        f"ridge_{times:g}": RidgeOptions(
            ridge=times * _shipped().manifest.embedding.mean_square_norm
        )
        for times in (0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0)
    }
    return _accuracies(_shipped(), x[:20000], y[:20000], x[20000:], y[20000:], options)


def fashion_precision(resources: Resources) -> Metrics:
    """Head accuracy and cosine of int8 against fp32 features of the same pictures."""
    bundle = open_bundle(_need(resources.precisions))
    n = 2000  # of the training and of the test pictures
    rows = np.r_[:n, 20000 : 20000 + n]
    features = {p: _fashion_features(resources, (bundle, p), rows) for p in ("fp32", "int8")}
    metrics: Metrics = {}
    for p, (x, y) in features.items():
        found = _accuracies(bundle, x[:n], y[:n], x[n:], y[n:])
        metrics.update({f"{head}_{p}": value for head, value in found.items()})
    a, b = (features[p][0].astype(np.float64) for p in ("fp32", "int8"))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    loss = max(metrics[f"{h}_fp32"] - metrics[f"{h}_int8"] for h in ("ridge", "lda", "ncm"))
    metrics.update(
        cosine_mean=float(cosine.mean()),
        cosine_worst=float(cosine.min()),
        ridge_loss_points=100 * (metrics["ridge_fp32"] - metrics["ridge_int8"]),
        largest_loss_points=100 * loss,
    )
    return metrics


SCENARIOS: dict[str, Scenario] = {
    "import": Scenario(
        what="import edge_cl",
        measure=import_package,
        bounds={"median_s": ("<", 0.15), "heavy_modules": ("<", 1)},
    ),
    "help": Scenario(
        what="edge-cl --help, whole process", measure=show_help, bounds={"median_s": ("<", 0.5)}
    ),
    "first-prediction": Scenario(
        what="whole process: open a state, predict one picture",
        measure=first_prediction,
        bounds={"median_s": ("<", 2.5)},
    ),
    "lesson-over-predict-d1280-k100": Scenario(
        what="time of a lesson over time of a prediction, ridge",
        measure=lesson_over_predict,
        bounds={"ratio": ("<", 1.15)},
    ),
    "memory-d1280-k100": Scenario(
        what="resident memory of a learner", measure=resident_memory, bounds={"rss_mb": ("<", 250)}
    ),
    "lite0-int8-over-fp32-onnx-t1": Scenario(
        what="EfficientNet-Lite0: fp32 time over int8 time",
        measure=int8_over_fp32,
        bounds={"speedup": (">=", 1.7)},
        needs="precisions",
    ),
    "fashion20k-heads": Scenario(
        what="Fashion-MNIST, 20,000 pictures in one pass",
        measure=fashion_heads,
        bounds={"ridge": (">=", 0.885), "lda": (">=", 0.880), "ncm": (">=", 0.795)},
        needs="fashion",
    ),
    "fashion20k-ridge-sweep": Scenario(
        what="Fashion-MNIST, ridge over λ in units of E‖x‖²",
        measure=fashion_ridge_sweep,
        bounds={"ridge_0.3": (">=", 0.885)},
        needs="fashion",
    ),
    "fashion-int8-against-fp32": Scenario(
        what="what int8 costs: cosine, and accuracy of the heads",
        measure=fashion_precision,
        bounds={"cosine_mean": (">=", 0.98), "ridge_loss_points": ("<", 0.5)},
        needs="precisions fashion",
    ),
}


def _shipped() -> Bundle:
    return open_bundle(shipped_bundle())


def _need(path: Path | None) -> Path:
    if path is None:
        raise SystemExit("this scenario needs a resource: see --help")
    return path


def _python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def _wall(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def _accuracies(
    bundle: Bundle,
    x: np.ndarray,
    y: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    heads: Mapping[str, HeadOptions] | None = None,
) -> Metrics:
    heads = heads or {name: HEADS[name] for name in ("ridge", "lda", "ncm")}
    to_grid = feature_map(Identity(), bundle.manifest.embedding)
    moments = Moments(to_grid.d)
    moments.add(to_grid(x), y)
    found: Metrics = {}
    for name, options in heads.items():
        head = build_head(
            options,
            moments,
            scale=to_grid.scale,
            mean_square_norm=to_grid.mean_square_norm,
        )
        found[name] = float((head.scores(to_grid(x_test)).argmax(1) == y_test).mean())
    return found


def _fashion_features(
    resources: Resources,
    which: tuple[Bundle, str] | None,
    rows: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    folder = _need(resources.fashion)
    parts = [("train", slice(20000)), ("t10k", slice(None))]
    pictures = np.concatenate([read_idx(folder, f"{p}-images-idx3-ubyte")[n] for p, n in parts])
    y = np.concatenate([read_idx(folder, f"{p}-labels-idx1-ubyte")[n] for p, n in parts])
    if rows is not None:
        pictures, y = pictures[rows], y[rows]
    encoder = (
        open_encoder(_shipped(), threads=2)
        if which is None
        else open_encoder(which[0], runtime="onnx", precision=which[1], threads=2)
    )
    return encode_grey(encoder, pictures), y.astype(np.int64)


def to_json(result: object) -> str:
    """Return `result` as JSON that diffs well."""
    return json.dumps(result, indent=2, sort_keys=True) + "\n"
