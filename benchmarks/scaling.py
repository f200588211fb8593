"""What a lesson of ridge costs: in units of memory traffic, and over samples and classes.

    python benchmarks/scaling.py

d = 1280 synthetic grid features, one thread, everything that is compared in turn in one
run. A lesson is timed whole: sums, head, and the weights exact afterwards. The solution from
the sums, which is due once in many thousand lessons, is timed by itself. It writes results,
tables and picture; it takes a few minutes.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from recursions import BlasRLS, Lesson, NumPyRLS, Unit
from report import short, table, write_results, write_section
from threadpoolctl import threadpool_limits

from edge_cl.arrays import F64, I16
from edge_cl.heads import Ridge, RidgeOptions
from edge_cl.heads.inverse import PENDING
from edge_cl.moments import Moments

RESULTS = Path(__file__).parent / "results" / "scaling-x86-64.json"
PICTURE = Path(__file__).parent.parent / "docs" / "scaling.png"
_D, _K = 1280, 100
_SPREAD = 100.0  # standard deviation of a feature, in grid steps
_RIDGE = 0.3 * _SPREAD**2 * _D  # the default, 0.3 times the mean squared norm
_SAMPLES = (1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
_CLASSES = (10, 30, 100, 300, 1000, 3000, 10_000)
_LEARNED = 4096  # samples learned before the race, and before the classes are varied

Inverse = Literal["double", "single"]
Timed = tuple[float, bool]  # seconds, and whether a block was folded


@dataclass(frozen=True, kw_only=True)
class Times:
    """Milliseconds a lesson.

    p99_apart_ms : p99 of the lessons in which no block of waiting rows entered a matrix.
    folded_ms : median of those in which one did; 0 where there was none.
    """

    timed: int
    p50_ms: float
    p99_ms: float
    p99_apart_ms: float
    folded_ms: float
    mean_ms: float


class EdgeRidge:
    """A ridge head of edge-cl that has learned `n` samples of `k` classes already."""

    def __init__(self, n: int, k: int, seed: int, inverse: Inverse = "double") -> None:
        rng = np.random.default_rng(seed)
        self._moments = Moments(_D)
        self._moments.grow(k)
        for start in range(0, n, 10_000):
            size = min(10_000, n - start)
            self._moments.add(_samples(rng, size), np.arange(start, start + size) % k)
        options = RidgeOptions(ridge=_RIDGE, inverse=inverse)
        self._head = Ridge(self._moments, options, scale=1.0, mean_square_norm=_SPREAD**2 * _D)
        self._head.tensors()
        self._lessons = 0

    def learn(self, x: F64, label: int) -> None:
        """See `recursions.Lesson.learn`."""
        q, y = x.astype(np.int16)[None], np.array([label])
        self._moments.add(q, y)
        self._head.update(q, y, +1)
        self._head.tensors()  # solves, if the update has left that for later
        self._lessons += 1

    @property
    def folded(self) -> bool:
        """The head's rows fold with every 64th lesson, those of the moments with the next."""
        return self._lessons % PENDING < 2

    @property
    def W(self) -> F64:  # noqa: N802
        """The weights (d, k)."""
        return self._head.tensors()["W"]

    def solve_anew(self) -> None:
        """Compute inverse and weights from the sums."""
        self._head.refresh()
        self._head.tensors()


def main() -> int:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with threadpool_limits(1):
        race, solving = run_race(lessons=4608)
        errors = weight_errors(lessons=2000)
        by_samples = run_curve({n: (EdgeRidge(n, _K, seed=3), _K) for n in _SAMPLES})
        by_classes = run_curve(
            {k: (EdgeRidge(_LEARNED, k, seed=3), k) for k in _CLASSES}
            | {-k: (Unit(_D, k), k) for k in _CLASSES}
        )
        least = {k: by_classes.pop(-k) for k in _CLASSES}
    results: dict[str, object] = {
        "lesson-d1280-k100": {name: asdict(times) for name, times in race.items()},
        "lesson-weights-d1280-k100": errors,
        "lesson-solve-d1280-k100": solving,
        "lesson-over-samples-d1280-k100": {n: asdict(t) for n, t in by_samples.items()},
        "lesson-over-classes-d1280": {k: asdict(t) for k, t in by_classes.items()},
        "unit-over-classes-d1280": {k: asdict(t) for k, t in least.items()},
    }
    write_results(options.out, results, ["scipy"])
    write_section("scaling", tables(race, solving, errors, by_samples, by_classes, least))
    draw(by_samples, by_classes, least)
    return 0


def run_race(lessons: int) -> tuple[dict[str, Times], dict[str, float]]:
    """Time a lesson of each in turn, in blocks of 64 and fewer; and a solution from the sums."""
    racers: dict[str, tuple[Lesson, int]] = {
        "U": (Unit(_D, _K), 64),
        "edge-cl": (EdgeRidge(_LEARNED, _K, seed=0), 64),
        "edge-cl-single": (EdgeRidge(_LEARNED, _K, 0, "single"), 64),
        "BLAS": (BlasRLS(_D, _K, _RIDGE, np.float32), 16),
        "BLAS-double": (BlasRLS(_D, _K, _RIDGE, np.float64), 16),
        "NumPy": (NumPyRLS(_D, _K, _RIDGE), 8),
    }
    rng = np.random.default_rng(1)
    taken: dict[str, list[Timed]] = {name: [] for name in racers}
    for lesson, _ in racers.values():  # compiles
        _time_lessons(lesson, rng, 64, _K)
    gc.collect()
    solver, anew = EdgeRidge(_LEARNED, _K, seed=0), []
    for turn in range(lessons // 64):
        for name, (lesson, size) in racers.items():
            taken[name] += _time_lessons(lesson, rng, size, _K)
        if turn % 4 == 0:
            start = time.perf_counter()
            solver.solve_anew()
            anew.append(time.perf_counter() - start)
    solving = {"p50_ms": statistics.median(anew) * 1e3, "timed": len(anew)}
    return {name: _summary(seconds) for name, seconds in taken.items()}, solving


def weight_errors(lessons: int) -> dict[str, float]:
    """Return the relative error of W after the same lessons, against one solution of all."""
    rng = np.random.default_rng(4)
    x, labels = _samples(rng, lessons).astype(np.float64), rng.integers(0, _K, lessons)
    exact = np.linalg.solve(x.T @ x + _RIDGE * np.eye(_D), x.T @ np.eye(_K)[labels])
    racers: dict[str, EdgeRidge | BlasRLS | NumPyRLS] = {
        "edge-cl": EdgeRidge(0, _K, seed=0),
        "edge-cl-single": EdgeRidge(0, _K, 0, "single"),
        "BLAS": BlasRLS(_D, _K, _RIDGE, np.float32),
        "BLAS-double": BlasRLS(_D, _K, _RIDGE, np.float64),
        "NumPy": NumPyRLS(_D, _K, _RIDGE),
    }
    errors = {}
    for name, lesson in racers.items():
        for row, label in zip(x, labels.tolist(), strict=True):
            lesson.learn(row, label)
        errors[name] = float(np.abs(lesson.W - exact).max() / np.abs(exact).max())
    return errors


def run_curve(lessons: dict[int, tuple[Lesson, int]], rounds: int = 8) -> dict[int, Times]:
    """Time lessons over k classes, in turn, 64 at a time; the first round warms up."""
    rng = np.random.default_rng(2)
    taken: dict[int, list[Timed]] = {x: [] for x in lessons}
    gc.collect()
    for turn in range(rounds + 1):
        for x, (lesson, k) in lessons.items():
            seconds = _time_lessons(lesson, rng, 64, k)
            taken[x] += seconds if turn else []
    return {x: _summary(seconds) for x, seconds in taken.items()}


def _time_lessons(lesson: Lesson, rng: np.random.Generator, size: int, k: int) -> list[Timed]:
    x = _samples(rng, size).astype(np.float64)
    labels = rng.integers(0, k, size).tolist()
    seconds = []
    for row, label in zip(x, labels, strict=True):
        start = time.perf_counter()
        lesson.learn(row, label)
        seconds.append((time.perf_counter() - start, lesson.folded))
    return seconds


def _samples(rng: np.random.Generator, n: int) -> I16:
    q = np.rint(rng.standard_normal((n, _D), np.float32) * np.float32(_SPREAD))
    return np.asarray(q, np.int16)


def _summary(timed: list[Timed]) -> Times:
    seconds = [t for t, _ in timed]
    folded = [t for t, fold in timed if fold]
    return Times(
        timed=len(seconds),
        p50_ms=statistics.median(seconds) * 1e3,
        p99_ms=float(np.percentile(seconds, 99)) * 1e3,
        p99_apart_ms=float(np.percentile([t for t, fold in timed if not fold], 99)) * 1e3,
        folded_ms=statistics.median(folded) * 1e3 if folded else 0.0,
        mean_ms=statistics.fmean(seconds) * 1e3,
    )


def tables(
    race: dict[str, Times],
    solving: dict[str, float],
    errors: dict[str, float],
    samples: dict[int, Times],
    classes: dict[int, Times],
    least: dict[int, Times],
) -> str:
    """Return what was measured, in markdown."""
    unit = race["U"].p50_ms
    names = {
        "U": "U, the unit of memory traffic",
        "edge-cl": "edge-cl ridge, `double` (default)",
        "edge-cl-single": "edge-cl ridge, `single`",
        "BLAS-double": "recursion by BLAS, one triangle, float64",
        "BLAS": "recursion by BLAS, one triangle, float32",
        "NumPy": "recursion in NumPy, float64",
    }
    rows = []
    for name, spelled in names.items():
        t = race[name]
        units = [short(ms / unit) for ms in (t.p50_ms, t.p99_apart_ms, t.mean_ms)]
        fold = f"{t.folded_ms:.1f}" if t.folded_ms else ""
        error = f"{errors[name]:.0e}" if name in errors else ""
        rows.append([spelled, f"{t.p50_ms:.3f}", *units, fold, error])
    header = ["d = 1280, k = 100", "p50, ms", "p50, U", "p99 outside folds, U", "mean, U"]
    header += ["a fold, ms", "error of W"]
    per_unit = [short(classes[k].p50_ms / least[k].p50_ms) for k in classes]
    return "\n\n".join(
        [
            table(header, rows),
            f"To solve anew from the sums: {short(solving['p50_ms'])} ms (median of"
            f" {solving['timed']}), {short(solving['p50_ms'] / unit)} U.\n\n{_verdict(race)}",
            _curve("samples learned before", samples),
            _curve("classes", classes)
            + f"\n| p50, U of as many classes | {' | '.join(per_unit)} |",
        ]
    )


def _verdict(race: dict[str, Times]) -> str:
    """Say how each recursion compares with edge-cl at the same precision."""
    found = []
    for theirs, ours in (
        ("BLAS-double", "edge-cl"),
        ("BLAS", "edge-cl-single"),
        ("NumPy", "edge-cl"),
    ):
        ratios = [
            getattr(race[theirs], field) / getattr(race[ours], field)
            for field in ("p50_ms", "mean_ms")
        ]
        found.append(
            f"`{theirs}` takes {ratios[0]:.2g} times the median and {ratios[1]:.2g} times the"
            f" mean of `{ours}`."
        )
    return " ".join(found)


def _curve(name: str, points: dict[int, Times]) -> str:
    header = [name, *(f"{x:,}" for x in points)]
    medians = [f"{t.p50_ms:.2f}" for t in points.values()]
    means = [f"{t.mean_ms:.2f}" for t in points.values()]
    return table(header, [["p50, ms", *medians], ["mean, ms", *means]])


def draw(samples: dict[int, Times], classes: dict[int, Times], least: dict[int, Times]) -> None:
    """Write the picture: the cost of a lesson over samples learned, and over classes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left: Any = figure.add_subplot(1, 2, 1)
    right: Any = figure.add_subplot(1, 2, 2)
    flat = dict.fromkeys(samples, least[_K])
    for axes, points, floor in ((left, samples, flat), (right, classes, least)):
        x = list(points)
        medians = [t.p50_ms for t in points.values()]
        axes.plot(x, medians, "o-", color="#1b6ca8", label="median")
        means = [t.mean_ms for t in points.values()]
        axes.plot(x, means, "x:", color="#7d93a6", label="mean, blocks included")
        units = [t.p50_ms for t in floor.values()]
        axes.plot(x, units, "--", color="#e08e1b", label="U: half of P and W, once, float32")
        if axes is left:
            axes.set_ylim(0, 1.5 * max(means))
        else:
            axes.set_yscale("log")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xscale("log")
    left.set(ylabel="milliseconds to learn one sample")
    left.set_xlabel("samples learned before (log scale; 100 classes)")
    right.set_xlabel(f"classes (both scales logarithmic; {_LEARNED:,} samples learned before)")
    left.legend(frameon=False, loc="upper left")
    figure.suptitle("A lesson of ridge at d = 1280, weights exact afterwards, one thread")
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
