"""The result of a benchmark: typed, versioned, with all that a figure means nothing without.

Times are milliseconds of wall clock, unless the name says otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from edge_cl.bounded_read import read_bounded
from edge_cl.device import Machine
from edge_cl.errors import InputError
from edge_cl.files import write_atomically
from edge_cl.placement import Placement

__all__ = [
    "STAGES",
    "Batch",
    "BenchReport",
    "ColdStart",
    "EncoderBench",
    "Energy",
    "Memory",
    "Percentiles",
    "Point",
    "Reading",
    "Written",
    "read_report",
    "write_report",
]

STAGES = ("prepare", "encode", "map", "learn", "commit", "flush", "predict")
_MOST_BYTES = 64 << 20


class Percentiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Milliseconds over `n` repetitions.

    p90_bound : the conservative p90 of `edge_cl.bench.early_stopping`; None: too few repetitions.
    """

    n: int
    min: float
    median: float
    p90: float
    p99: float
    max: float
    p90_bound: float | None


class Batch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples learned a second when many come at once, until an answer could be given.

    rows : vectors of features.  pictures : encoded as well; None where the bundle takes vectors.
    rows_together, pictures_together : how many come at once.
    """

    rows: float
    rows_together: int
    pictures: float | None
    pictures_together: int


class ColdStart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fresh process until its first answer, files being in the page cache; medians of `n`.

    total_ms : from the start of the process, as its parent sees it.
    import_ms, open_ms, first_ms : of it interpreter and library, opening the state, the first
        prediction.
    """

    n: int
    total_ms: float
    import_ms: float
    open_ms: float
    first_ms: float


class Memory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Resident memory of a process that only predicts and learns; None: the system does not tell.

    rss_mb : after its lessons.  peak_mb : the most it ever was.
    """

    rss_mb: float | None
    peak_mb: float


class Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What lessons gave to the disk, snapshots included.

    counted_by : "the kernel (/proc/self/io)", or "the size of the files" where it counts none.
    """

    bytes_a_lesson: float
    lessons: int
    counted_by: str


class Energy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The mean power, idle included, times the median of what is timed.

    What the sensor reaches is told by `BenchReport.asked`.

    sampled : readings of the sensor.
    """

    mean_power_w: float
    joules_a_prediction: float
    joules_a_lesson: float
    sampled: int


class Reading(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The board at a moment: see `edge_cl.device.conditions.Conditions`.

    at_s : since the benchmark began.
    """

    at_s: float
    temperature_c: float | None
    clock_mhz: float | None
    power_w: float | None
    governor: str
    now: tuple[str, ...]
    since_boot: tuple[str, ...]
    power_mode: str
    driver: str = ""


class Point(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a long run: medians of what was timed, means of what sensors said.

    at_s : its middle, since the run began.  n : predictions, and as many lessons.
    """

    at_s: float
    n: int
    predict: float
    predict_p90: float
    lesson: float
    clock_mhz: float | None
    temperature_c: float | None
    power_w: float | None


class EncoderBench(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One encoder on this machine.

    stages : `STAGES`. Of a lesson "learn" and "commit", the disk; of the answer after it
        "flush", what the head had put off, and "predict"; "prepare", "encode" and "map" of both.
    predict, lesson : whole calls; the lesson does not predict, the prediction finds all done.
    lesson_over_predict : ratio of the medians, same run; the lesson without the disk.
    fold : the rows that wait (256) enter the sums; once in so many lessons, or before a solve.
    load_ms : opening the learner.  first_ms : its first prediction, compilation included.
    duration_s : of the single stream.
    sustained : the run over time, where a long one was asked for.
    """

    runtime: str
    precision: str
    placement: Placement
    threads: int
    head: str
    feature_map: str
    d: int
    k: int
    stages: dict[str, Percentiles]
    predict: Percentiles
    lesson: Percentiles
    lesson_over_predict: float
    fold: Percentiles
    load_ms: float
    first_ms: float
    duration_s: float
    batch: Batch
    cold_start: ColdStart
    memory: Memory
    written: Written
    energy: Energy | None
    sustained: tuple[Point, ...] = ()

    @property
    def name(self) -> str:
        """Runtime, precision, and where it runs if not on the CPU."""
        if self.runtime == "none":
            return "vectors"
        where = "" if self.placement.accelerator == "cpu" else f" on {self.placement.accelerator}"
        return f"{self.runtime} {self.precision}{where}"


class BenchReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was measured, and on what.

    when : UTC.  kernels : "numba" or "numpy".  disk : kind of file system that lessons went to.
    skipped : encoders of the bundle that cannot run here, and why.
    valid, invalid_because : see `edge_cl.device.held_back`.  notes : see `edge_cl.bench.notes`.
    conditions : of the board before, meanwhile and afterwards.  asked : where they were read.
    load_before : runnable processes a minute before, as the system counts them.
    """

    format: Literal["edge-cl-bench/1"] = "edge-cl-bench/1"
    when: str
    bundle: str
    bundle_sha256: str
    machine: Machine
    kernels: str
    disk: str
    encoders: tuple[EncoderBench, ...]
    skipped: dict[str, str]
    valid: bool
    invalid_because: tuple[str, ...]
    notes: tuple[str, ...]
    conditions: tuple[Reading, ...]
    asked: tuple[str, ...]
    load_before: float


def write_report(report: BenchReport, path: Path) -> None:
    """Write a report as JSON.

    Raises
    ------
    StorageError : the disk refused.
    """
    text = msgspec.json.format(msgspec.json.encode(report), indent=1)
    write_atomically(path, text + b"\n")


def read_report(path: Path) -> BenchReport:
    """Read what `write_report` has written.

    Raises
    ------
    InputError : the file cannot be read, or is no result of this format.
    """
    data = read_bounded(path, _MOST_BYTES, error=InputError)
    try:
        return msgspec.json.decode(data, type=BenchReport)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not a result of edge-cl bench: {error}", hint="edge-cl bench --out FILE"
        ) from error
