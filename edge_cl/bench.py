"""How long a picture takes on this machine, stage by stage, and what learning adds.

One picture after the other, as a camera gives them: the next begins when the last is done.
Every encoder of the bundle that can run here is timed. For each picture a prediction and a
lesson are timed, in turn, so that a drift of the machine's speed touches both alike.
Timings of a shared machine are noisy: medians and ratios carry over, maxima do not.
"""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from edge_cl.arrays import F64, U8
from edge_cl.bundle import Bundle, EncoderSpec
from edge_cl.device import Machine, describe_machine
from edge_cl.encoders import choose_encoder, matching_encoders
from edge_cl.errors import InputError, MissingExtraError
from edge_cl.heads import HeadOptions
from edge_cl.learner import Learner
from edge_cl.results import StageTimes

__all__ = ["BenchReport", "EncoderBench", "Percentiles", "bench"]

_PICTURE = (480, 640, 3)  # what a cheap camera delivers
_WARM_UP = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Milliseconds over `n` repetitions."""

    n: int
    min: float
    median: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderBench:
    """One encoder on this machine.

    stages : "prepare", "encode", "decide" (of a prediction), "learn" (moments and head).
    predict, lesson : a whole call; the lesson does not predict.
    lesson_over_predict : ratio of the medians, same run.
    load_ms : opening the learner.  first_ms : its first prediction, compilation included.
    """

    runtime: str
    precision: str
    threads: int
    head: str
    d: int
    k: int
    stages: dict[str, Percentiles]
    predict: Percentiles
    lesson: Percentiles
    lesson_over_predict: float
    load_ms: float
    first_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchReport:
    """What was measured, with the machine it was measured on.

    skipped : encoders of the bundle that cannot run here, and why.
    peak_memory_mb : largest resident size of this process so far.
    """

    bundle: str
    bundle_sha256: str
    machine: Machine
    encoders: tuple[EncoderBench, ...]
    skipped: dict[str, str]
    peak_memory_mb: float


def bench(
    bundle: Bundle,
    *,
    head: str | HeadOptions = "ridge",
    feature_map: str = "identity",
    classes: int = 100,
    repetitions: int = 200,
    threads: int = 1,
    runtime: str | None = None,
    precision: str | None = None,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> BenchReport:
    """Time every encoder of `bundle` that can run here, or those asked for.

    Parameters
    ----------
    classes : the head knows that many before timing begins.
    repetitions : pictures timed an encoder, >= 20.
    progress : called with the encoder's name and the share done, 0..1.

    Raises
    ------
    InputError : too few repetitions or classes, or no encoder of that kind.
    """
    if repetitions < 20 or classes < 2:
        raise InputError(
            f"expected repetitions >= 20 and classes >= 2, got {repetitions} and {classes}"
        )
    report = progress or (lambda name, share: None)
    results: list[EncoderBench] = []
    skipped: dict[str, str] = {}
    for spec in matching_encoders(bundle, runtime, precision) or (None,):
        name = f"{spec.runtime} {spec.precision}" if spec else "vectors"
        try:
            if spec:
                choose_encoder(bundle, spec.runtime, spec.precision)
        except MissingExtraError as error:
            skipped[name] = f"{error}; {error.hint}"
            continue
        results.append(
            _bench_encoder(
                bundle,
                spec,
                head,
                feature_map,
                classes,
                repetitions,
                threads,
                seed,
                partial(report, name),
            )
        )
    return BenchReport(
        bundle=bundle.name,
        bundle_sha256=bundle.sha256,
        machine=describe_machine(),
        encoders=tuple(results),
        skipped=skipped,
        peak_memory_mb=_peak_memory_mb(),
    )


def _bench_encoder(
    bundle: Bundle,
    spec: EncoderSpec | None,
    head: str | HeadOptions,
    feature_map: str,
    classes: int,
    repetitions: int,
    threads: int,
    seed: int,
    progress: Callable[[float], None],
) -> EncoderBench:
    rng = np.random.default_rng(seed)
    inputs = _inputs(bundle, rng)
    names = [f"class-{c}" for c in range(classes)]
    start = perf_counter()
    learner = Learner.open(
        bundle=bundle,
        head=head,
        feature_map=feature_map,
        runtime=spec.runtime if spec else None,
        precision=spec.precision if spec else None,
        threads=threads,
    )
    load_ms = (perf_counter() - start) * 1e3
    learner.learn_many([inputs[c % len(inputs)] for c in range(classes)], names)
    start = perf_counter()
    learner.predict(inputs[0])
    first_ms = (perf_counter() - start) * 1e3

    predicted: list[StageTimes] = []
    taught: list[StageTimes] = []
    gc.collect()
    for i in range(_WARM_UP + repetitions):
        x = inputs[int(rng.integers(len(inputs)))]
        label = names[int(rng.integers(classes))]
        predicted.append(learner.predict(x).stage_ms)
        taught.append(learner.learn(x, label).stage_ms)
        progress((i + 1) / (_WARM_UP + repetitions))
    predicted, taught = predicted[_WARM_UP:], taught[_WARM_UP:]

    stages = {
        field.name: _percentiles([getattr(t, field.name) for t in source])
        for field in fields(StageTimes)
        for source in [taught if field.name == "learn" else predicted]
    }
    predict = _percentiles([t.total for t in predicted])
    lesson = _percentiles([t.total for t in taught])
    status = learner.status
    return EncoderBench(
        runtime=spec.runtime if spec else "none",
        precision=spec.precision if spec else "fp32",
        threads=threads,
        head=status.head,
        d=status.d,
        k=classes,
        stages=stages,
        predict=predict,
        lesson=lesson,
        lesson_over_predict=lesson.median / predict.median,
        load_ms=load_ms,
        first_ms=first_ms,
    )


def _inputs(bundle: Bundle, rng: np.random.Generator) -> list[U8] | list[F64]:
    spec = bundle.manifest.input
    if spec.kind == "image":
        return [rng.integers(0, 256, _PICTURE, np.uint8) for _ in range(16)]
    spread = float(np.sqrt(bundle.manifest.embedding.mean_square_norm / spec.shape[0]))
    return [rng.standard_normal(spec.shape[0]) * spread for _ in range(16)]


def _percentiles(ms: list[float]) -> Percentiles:
    q = np.percentile(ms, [0, 50, 90, 99, 100])
    return Percentiles(
        n=len(ms),
        min=float(q[0]),
        median=float(q[1]),
        p90=float(q[2]),
        p99=float(q[3]),
        max=float(q[4]),
    )


def _peak_memory_mb() -> float:
    try:  # of this program; what getrusage says can be inherited from the one that started it
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
