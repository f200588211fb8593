"""Measuring every encoder of a bundle on this machine, and the board meanwhile.

Lessons go to a state in a folder, as in use: what the disk takes is a stage. Timings of a shared
machine are noisy: medians and ratios carry over, maxima do not.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from edge_cl import kernels
from edge_cl.arrays import F64, U8
from edge_cl.bench import batches
from edge_cl.bench.cold_start import start_cold
from edge_cl.bench.document import STAGES, Batch, BenchReport, EncoderBench, Energy, Written
from edge_cl.bench.fresh_process import Task
from edge_cl.bench.notes import notes
from edge_cl.bench.stream import percentiles, single_stream
from edge_cl.bench.sustained import series
from edge_cl.bench.turns import COLUMNS, LESSON, PREDICTION, inputs_for, turn
from edge_cl.bench.watch import Watch
from edge_cl.bench.writing import Account, disk_of
from edge_cl.bundle import Bundle, EncoderSpec
from edge_cl.device import describe_machine
from edge_cl.device.conditions import Conditions, read_conditions
from edge_cl.device.held_back import reasons_against
from edge_cl.encoders import choose_encoder, fitting_encoders, matching_encoders
from edge_cl.errors import BackendError, InputError, StorageError
from edge_cl.heads import HeadOptions
from edge_cl.learner import Learner

__all__ = ["MLPERF", "bench"]

MLPERF = (600.0, 1024)  # seconds and queries of MLPerf's single stream, as its mlperf.conf has them
_WARM_UP = 8
_STARTS = 3  # of a fresh process
_LESSONS = 20  # that it learns


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wishes:
    """What was asked for; see `bench`."""

    head: str | HeadOptions
    feature_map: str
    classes: int
    seconds: float
    repetitions: int
    threads: int
    accelerator: str | None
    cores: str | Iterable[int] | None
    strict: bool
    sustained: bool
    seed: int


def bench(
    bundle: Bundle,
    *,
    head: str | HeadOptions = "ridge",
    feature_map: str = "identity",
    classes: int = 100,
    seconds: float = 10.0,
    repetitions: int = 64,
    sustained: bool = False,
    threads: int = 1,
    runtime: str | None = None,
    precision: str | None = None,
    accelerator: str | None = None,
    cores: str | Iterable[int] | None = None,
    strict: bool = False,
    folder: Path | None = None,
    seed: int = 0,
    read: Callable[[], Conditions] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> BenchReport:
    """Time every encoder of `bundle` that can run here, or those asked for.

    Parameters
    ----------
    classes : the head knows that many before timing begins.
    seconds, repetitions : the single stream of an encoder goes on for as long, and for as many
        predictions and lessons (>= 20); `MLPERF` has those of MLPerf.
    sustained : keep the stream as points over time.
    runtime, precision, threads, accelerator, cores, strict : see `edge_cl.encoders.open_encoder`.
        Without an accelerator each encoder runs on the CPU, or on the NPU it was made for.
    folder : the states are kept below it while it measures; None: the current folder.
    read : asks the board's sensors; None: `edge_cl.device.conditions.read_conditions`.
    progress : called with what is measured and the share done, 0..1.

    Raises
    ------
    InputError : too few repetitions or classes, or no encoder of that kind.
    BackendError : an encoder does not work here, or with `strict` not where it was asked to; or
        the library of none is installed.
    StorageError : nothing can be written to the folder.
    """
    if repetitions < 20 or classes < 2 or not 0 <= seconds < float("inf"):
        raise InputError(
            "expected repetitions >= 20, classes >= 2 and seconds >= 0, "
            f"got {repetitions}, {classes} and {seconds}"
        )
    wishes = _Wishes(
        head=head,
        feature_map=feature_map,
        classes=classes,
        seconds=seconds,
        repetitions=repetitions,
        threads=threads,
        accelerator=accelerator,
        cores=cores if cores is None or isinstance(cores, str) else tuple(cores),
        strict=strict,
        sustained=sustained,
        seed=seed,
    )
    tell = progress or (lambda name, share: None)
    place = Path.cwd() if folder is None else folder
    load = os.getloadavg()[0]
    matching = matching_encoders(bundle, runtime, precision)
    if accelerator is not None:
        choose_encoder(bundle, runtime, precision, accelerator)  # refuses where there is none
        matching = fitting_encoders(matching, accelerator)
    specs = matching or (None,)
    found: list[EncoderBench] = []
    skipped: dict[str, str] = {}
    missing = None
    with Watch(seconds * len(specs), read=read or read_conditions) as watch:
        for spec in specs:
            name = _name(spec)
            try:
                if spec:
                    choose_encoder(bundle, spec.runtime, spec.precision, _accelerator(spec, wishes))
            except BackendError as error:  # its library is not installed
                missing = error
                skipped[name] = f"{error}; {error.hint}"
                continue
            with _state_below(place) as state:
                found.append(
                    _measured(bundle, spec, wishes, Path(state), watch, partial(tell, name))
                )
    if missing is not None and not found:
        raise missing
    machine = describe_machine()
    reasons = reasons_against(watch.readings)
    return BenchReport(
        when=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        bundle=bundle.name,
        bundle_sha256=bundle.sha256,
        machine=machine,
        kernels=kernels.BACKEND,
        disk=disk_of(place),
        encoders=tuple(found),
        skipped=skipped,
        valid=not reasons,
        invalid_because=reasons,
        notes=notes(watch.readings, found, asked=watch.asked, load=load, cores=machine.cores),
        conditions=tuple(watch.readings),
        asked=watch.asked,
        load_before=round(load, 2),
    )


def _measured(
    bundle: Bundle,
    spec: EncoderSpec | None,
    wishes: _Wishes,
    state: Path,
    watch: Watch,
    progress: Callable[[float], None],
) -> EncoderBench:
    rng = np.random.default_rng(wishes.seed)
    inputs = inputs_for(bundle, rng)
    names = [f"class-{c}" for c in range(wishes.classes)]
    start = perf_counter()
    with _opened(bundle, spec, wishes, state) as learner:
        load_ms = (perf_counter() - start) * 1e3
        learner.learn_many([inputs[c % len(inputs)] for c in range(len(names))], names)
        start = perf_counter()
        learner.predict(inputs[0])
        first_ms = (perf_counter() - start) * 1e3
        account, began_s = Account(state), watch.now_s
        recording = single_stream(
            turn(learner, inputs, names, rng),
            COLUMNS,
            seconds=wishes.seconds,
            repetitions=wishes.repetitions,
            warm_up=_WARM_UP,
            progress=progress,
        )
        written, counted_by = account.closed()
        points = series(recording, watch.readings, began_s) if wishes.sustained else ()
        power = [r.power_w for r in watch.readings if r.power_w is not None and r.at_s >= began_s]
        status = learner.status
    placement = status.placement
    cold, memory = start_cold(
        Task(
            state=str(state),
            runtime=spec.runtime if spec else None,
            precision=spec.precision if spec else None,
            threads=wishes.threads,
            accelerator=_accelerator(spec, wishes),
            cores=placement.cores,
            shape=inputs[0].shape,
            label=names[0],
            lessons=_LESSONS,
        ),
        starts=_STARTS,
    )
    predict = percentiles(recording.columns[PREDICTION])
    lesson = percentiles(recording.columns[LESSON])
    work = recording.columns[LESSON] - recording.columns["commit"]
    lessons = len(recording.began_s) + _WARM_UP
    return EncoderBench(
        runtime=placement.runtime,
        precision=placement.precision,
        placement=placement,
        threads=wishes.threads,
        head=status.head,
        feature_map=status.feature_map,
        d=status.d,
        k=wishes.classes,
        stages={name: percentiles(recording.columns[name]) for name in STAGES},
        predict=predict,
        lesson=lesson,
        lesson_over_predict=float(np.median(work)) / predict.median,
        fold=batches.fold_times(status.d, rng),
        load_ms=load_ms,
        first_ms=first_ms,
        duration_s=recording.duration_s,
        batch=_batch(bundle, spec, wishes, inputs, names, rng),
        cold_start=cold,
        memory=memory,
        written=Written(bytes_a_lesson=written / lessons, lessons=lessons, counted_by=counted_by),
        energy=_energy(power, predict.median, lesson.median),
        sustained=points,
    )


def _opened(
    bundle: Bundle, spec: EncoderSpec | None, wishes: _Wishes, state: Path | None
) -> Learner:
    return Learner.open(
        state,
        bundle=bundle,
        head=wishes.head,
        feature_map=wishes.feature_map,
        runtime=spec.runtime if spec else None,
        precision=spec.precision if spec else None,
        threads=wishes.threads,
        accelerator=_accelerator(spec, wishes),
        cores=wishes.cores,
        strict=wishes.strict,
    )


def _accelerator(spec: EncoderSpec | None, wishes: _Wishes) -> str | None:
    """Return what an encoder is asked to run on: what is wished, else what it was compiled for."""
    return wishes.accelerator or (spec.accelerator if spec else "") or None


def _name(spec: EncoderSpec | None) -> str:
    if spec is None:
        return "vectors"
    compiled = f" for {spec.accelerator}" if spec.accelerator else ""
    return f"{spec.runtime} {spec.precision}{compiled}"


@contextmanager
def _state_below(folder: Path) -> Iterator[str]:
    """Hand out a new folder that is removed afterwards."""
    try:
        made = tempfile.TemporaryDirectory(prefix=".edge-cl-bench-", dir=folder)
    except OSError as error:
        raise StorageError(
            f"cannot write to {folder}: {error.strerror or error}",
            hint="run it in a folder on the disk that states are to lie on",
        ) from error
    with made as name:
        yield name


def _batch(
    bundle: Bundle,
    spec: EncoderSpec | None,
    wishes: _Wishes,
    inputs: Sequence[U8] | Sequence[F64],
    names: Sequence[str],
    rng: np.random.Generator,
) -> Batch:
    embedding = bundle.manifest.embedding
    spread = (embedding.mean_square_norm / embedding.d) ** 0.5
    rows = rng.standard_normal((batches.ROWS, embedding.d)) * spread
    rate = batches.rows_a_second(rows, names, head=wishes.head, feature_map=wishes.feature_map)
    pictures = None
    if spec is not None:
        with _opened(bundle, spec, wishes, None) as learner:  # an NPU has one user at a time
            pictures = batches.pictures_a_second(learner, inputs, names)
    return Batch(
        rows=rate,
        rows_together=len(rows),
        pictures=pictures,
        pictures_together=len(inputs) if spec else 0,
    )


def _energy(power_w: Sequence[float], predict_ms: float, lesson_ms: float) -> Energy | None:
    if not power_w:
        return None
    mean = float(np.mean(power_w))
    return Energy(
        mean_power_w=mean,
        joules_a_prediction=mean * predict_ms / 1e3,
        joules_a_lesson=mean * lesson_ms / 1e3,
        sampled=len(power_w),
    )
