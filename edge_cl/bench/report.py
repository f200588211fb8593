"""Several results as one table, in markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edge_cl.bench.document import BenchReport, EncoderBench

__all__ = ["machine_name", "markdown_table"]

_HEAD = (
    "machine",
    "encoder",
    "head",
    "d × k",
    "threads",
    "prediction ms",
    "p90 bound",
    "lesson ms",
    "encode",
    "flush",
    "commit",
    "rows/s",
    "cold start ms",
    "peak MB",
    "valid",
)
_WORDS = 4  # columns that are no numbers


def markdown_table(reports: Mapping[str, BenchReport]) -> str:
    """Return a table of results by name, a row for each encoder, and what there is to say of them.

    Times are medians. The p90 bound is that of `edge_cl.bench.early_stopping`, "-" where there
    were too few predictions.
    """
    lines = [_row(_HEAD), _row("---" if i < _WORDS else "---:" for i in range(len(_HEAD)))]
    said: list[str] = []
    for name, report in reports.items():
        lines += [_row(_cells(report, encoder)) for encoder in report.encoders]
        said += [f"- {name}: not valid: {reason}" for reason in report.invalid_because]
        said += [f"- {name}: {note}" for note in report.notes]
        said += [f"- {name}: left out {what}: {why}" for what, why in report.skipped.items()]
    return "\n".join([*lines, *([""] if said else []), *said])


def machine_name(report: BenchReport) -> str:
    """Return the board's name, or else the processor's."""
    return report.machine.board or report.machine.cpu


def _cells(report: BenchReport, e: EncoderBench) -> Iterable[str]:
    bound = e.predict.p90_bound
    yield f"{machine_name(report)} × {report.machine.cores}"
    yield e.name + ("" if not e.placement.fallbacks else " (falls back)")
    yield e.head + ("" if e.feature_map == "identity" else f", {e.feature_map}")
    yield f"{e.d} × {e.k}"
    yield str(e.threads)
    yield _number(e.predict.median)
    yield "-" if bound is None else _number(bound)
    yield _number(e.lesson.median)
    for stage in ("encode", "flush", "commit"):
        yield _number(e.stages[stage].median)
    yield f"{e.batch.rows:.0f}"
    yield f"{e.cold_start.total_ms:.0f}"
    yield f"{e.memory.peak_mb:.0f}"
    yield "yes" if report.valid else "NO"


def _number(ms: float) -> str:
    return f"{ms:.3f}" if ms < 1 else f"{ms:.2f}" if ms < 100 else f"{ms:.0f}"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
