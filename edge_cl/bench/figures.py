"""The figures of a result that have a name: what can be compared, with its unit and tolerance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from edge_cl.bench.document import STAGES, EncoderBench

__all__ = ["FIGURES", "Figure", "Tolerance"]


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """How much worse a figure may be.

    share : of what it was; 0.05 is 5 %.
    slack : in its own unit, on top.
    """

    share: float = 0.0
    slack: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number that a result holds.

    better : "less" or "more".
    tolerance : where nobody says another: what repeated runs of a quiet machine differ by.
    value : reads it; None: it was not measured.
    """

    name: str
    unit: str
    tolerance: Tolerance
    value: Callable[[EncoderBench], float | None]
    better: str = "less"

    def limit(self, before: float, tolerance: Tolerance) -> float:
        """Return the worst value that `before` lets pass."""
        room = before * tolerance.share + tolerance.slack
        return before + room if self.better == "less" else before - room

    def is_worse(self, now: float, limit: float) -> bool:
        """Say whether a value lies beyond the limit."""
        return now > limit if self.better == "less" else now < limit


def _stage(name: str) -> Figure:
    # The disk's own caches and collections make the commit what a machine repeats least.
    usual = Tolerance(share=0.5, slack=1.0) if name == "commit" else _TIME
    return Figure(name=name, unit="ms", tolerance=usual, value=lambda e: e.stages[name].median)


_TIME = Tolerance(share=0.10, slack=0.05)
_TAIL = Tolerance(share=0.25, slack=0.25)
_RATE = Tolerance(share=0.15)

FIGURES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        *(_stage(name) for name in STAGES),
        Figure(name="prediction", unit="ms", tolerance=_TIME, value=lambda e: e.predict.median),
        Figure(name="prediction-p90", unit="ms", tolerance=_TAIL, value=lambda e: e.predict.p90),
        Figure(
            name="lesson",
            unit="ms",
            tolerance=Tolerance(share=0.25, slack=1.0),
            value=lambda e: e.lesson.median,
        ),
        Figure(name="fold", unit="ms", tolerance=_TAIL, value=lambda e: e.fold.median),
        Figure(
            name="rows", unit="/s", tolerance=_RATE, value=lambda e: e.batch.rows, better="more"
        ),
        Figure(
            name="pictures",
            unit="/s",
            tolerance=_RATE,
            value=lambda e: e.batch.pictures,
            better="more",
        ),
        Figure(
            name="cold-start",
            unit="ms",
            tolerance=Tolerance(share=0.25, slack=50.0),
            value=lambda e: e.cold_start.total_ms,
        ),
        Figure(
            name="rss",
            unit="MB",
            tolerance=Tolerance(share=0.10, slack=4.0),
            value=lambda e: e.memory.rss_mb,
        ),
        Figure(
            name="peak",
            unit="MB",
            tolerance=Tolerance(share=0.10, slack=4.0),
            value=lambda e: e.memory.peak_mb,
        ),
        Figure(
            name="written",
            unit="B",
            tolerance=Tolerance(share=0.25, slack=20_000.0),  # a snapshot more, in 1000 lessons
            value=lambda e: e.written.bytes_a_lesson,
        ),
    )
}
