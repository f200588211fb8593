"""A benchmark's result as lines for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edge_cl.cli.output import line, note

if TYPE_CHECKING:
    from edge_cl.bench import BenchReport, Comparison, EncoderBench

_COLUMNS = ("median", "p90", "p99", "max")


def print_report(report: BenchReport, name: str) -> None:
    """Print what was measured; notes and verdicts are for stderr."""
    machine = report.machine
    line(f"bundle: {report.bundle} ({name})")
    line(f"machine: {machine.board or machine.cpu}, {machine.cores} cores, {machine.architecture}")
    for encoder in report.encoders:
        line("")
        _print_encoder(encoder, report.disk)
    for what, why in report.skipped.items():
        note(f"left out: {what}: {why}")


def print_comparison(rows: Iterable[Comparison]) -> None:
    """Print every figure that was compared, and which have become worse."""
    line("")
    line(f"{'':<32}{'before':>12}{'now':>12}{'limit':>12}")
    for row in rows:
        verdict = "  WORSE" if row.worse else ""
        name = f"{row.encoder}, {row.figure}, {row.unit}"
        numbers = "".join(f"{value:>12.3f}" for value in (row.before, row.now, row.limit))
        line(f"{name:<32}{numbers}{verdict}")


def _print_encoder(e: EncoderBench, disk: str) -> None:
    line(f"{e.name}, threads: {e.threads}; {e.head}, d: {e.d}, classes: {e.k}")
    line(f"runs: {e.placement.line}")
    line(f"{'ms':<24}" + "".join(f"{column:>10}" for column in _COLUMNS))
    rows = {**e.stages, "a prediction, in all": e.predict, "a lesson, in all": e.lesson}
    for name, p in rows.items():
        line(f"{name:<24}" + "".join(f"{getattr(p, column):>10.3f}" for column in _COLUMNS))
    line(f"{e.predict.n} predictions and lessons in turn, {e.duration_s:.1f} s")
    if e.predict.p90_bound is not None:
        line(
            f"p90, with 99 % confidence at most: a prediction {e.predict.p90_bound:.3f} ms, "
            f"a lesson {e.lesson.p90_bound:.3f} ms"
        )
    line(f"a lesson takes {e.lesson_over_predict:.2f} times a prediction, but for the disk")
    line(f"256 lessons enter the sums together: {e.fold.median:.2f} ms")
    pictures = f", {e.batch.pictures:.1f} pictures" if e.batch.pictures is not None else ""
    line(f"learned a second, many at once: {e.batch.rows:.0f} vectors{pictures}")
    c = e.cold_start
    line(
        f"cold start {c.total_ms:.0f} ms: import {c.import_ms:.0f}, opening {c.open_ms:.0f}, "
        f"first prediction {c.first_ms:.0f}"
    )
    rss = f"{e.memory.rss_mb:.0f} MB, " if e.memory.rss_mb is not None else ""
    line(f"memory of a process that learns: {rss}peak {e.memory.peak_mb:.0f} MB")
    w = e.written
    line(f"written a lesson: {w.bytes_a_lesson:.0f} bytes to {disk or 'disk'}, by {w.counted_by}")
    if e.energy is not None:
        line(
            f"energy at {e.energy.mean_power_w:.1f} W, idle included: "
            f"{e.energy.joules_a_prediction:.3f} J a prediction, "
            f"{e.energy.joules_a_lesson:.3f} J a lesson"
        )
    if e.sustained:
        first, last = e.sustained[0], e.sustained[-1]
        line(f"a prediction at first {first.predict:.2f} ms, at the end {last.predict:.2f} ms")
