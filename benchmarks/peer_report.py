"""The table and the picture of `peers.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import short, table

_COLOURS = {
    "edge-cl": "#1b6ca8",
    "scikit-learn": "#e08e1b",
    "River": "#2a9d5c",
    "transcribed": "#8a5a9e",
}
_LEGEND = {"transcribed": "transcribed from the paper"}
_SPELLED = {  # in the picture; the legend says the library
    "ridge, random-relu:2048": "ridge on\n2048 random ReLU",
    "RidgeClassifier, refitted": "RidgeClassifier,\nrefitted",
    "LDA svd, refitted": "LDA svd,\nrefitted",
    "LDA lsqr + OAS, refitted": "LDA lsqr + OAS,\nrefitted",
    "LogisticRegression 1-vs-rest": "LogisticRegression\n1-vs-rest",
}
_ALL = 10_000  # test pictures; a slow peer is tested on fewer, and the table says so
_ALIKE = (
    ("LDA", "scikit-learn", "LDA lsqr + OAS, refitted"),
    ("LDA", "transcribed", "SLDA as published"),
    ("ridge, random-relu:2048", "transcribed", "RanPAC, M = 2048"),
)
_DIRECTIONS = [(12, 0), (0, 14), (0, -14), (-12, 0), (12, 14), (12, -14), (-12, 14), (-12, -14)]
_PLACES = [
    (dx * reach, dy * reach) for reach in (1.0, 1.8, 2.8, 4.0, 5.5) for dx, dy in _DIRECTIONS
]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured of one peer.

    incremental, shuffled : accuracy at the end, and the parameters that gave it.
    learn_ms : of the call alone.  lesson_ms : until the next prediction knows the sample.
    predict_ms : of a prediction when nothing was learned since the last one.
    held_bytes : of what was learned, without the encoder.
    """

    name: str
    library: str
    incremental: float
    incremental_with: str
    shuffled: float
    shuffled_with: str
    learn_ms: float
    lesson_ms: float
    predict_ms: float
    timed: int
    held_bytes: int
    tested: int


def tables(rows: Sequence[Row]) -> str:
    """Return the comparison in markdown, the best of each column in bold, and who wins what."""
    columns: list[tuple[str, Callable[[Row], float], Callable[[float], str], int]] = [
        ("class-incremental", lambda r: r.incremental, _accuracy, -1),
        ("shuffled", lambda r: r.shuffled, _accuracy, -1),
        ("learn one, ms", lambda r: r.lesson_ms, short, 1),
        ("predict one, ms", lambda r: r.predict_ms, short, 1),
        ("memory, MB", lambda r: r.held_bytes / 1e6, short, 1),
    ]
    best = [min(sign * value(row) for row in rows) for _, value, _, sign in columns]
    lines = []
    for row in rows:
        cells = [f"{row.library}: {row.name}{_fewer(row)}"]
        for (_, value, form, sign), least in zip(columns, best, strict=True):
            text = form(value(row))
            cells.append(f"**{text}**" if sign * value(row) == least else text)
        lines.append(cells)
    body = table(["", *(name for name, *_ in columns)], lines)
    return f"{body}\n\n{_notes(rows)}\n\n{_wins(rows)}"


def _notes(rows: Sequence[Row]) -> str:
    chosen = "; ".join(
        f"{row.library} {row.name}: {row.incremental_with} and {row.shuffled_with}"
        for row in rows
        if row.incremental_with
    )
    return (
        f"Parameters that were best on the test pictures, class-incremental and shuffled: {chosen}."
        " One standard error of an accuracy is 0.3 points here."
    )


def _wins(rows: Sequence[Row]) -> str:
    """Say where a peer does better: than the default head, and than the head most like it."""
    named = {(row.library, row.name): row for row in rows}
    ours = named["edge-cl", "ridge"]
    peers = [row for row in rows if row.library != "edge-cl"]
    lines = ["Where a peer does better than the default head, ridge:", ""]
    lines += [f"- {row.library} {row.name}: {_better(row, ours)}" for row in peers]
    lines += ["", "Like for like, where the peer does better:", ""]
    for mine, library, theirs in _ALIKE:
        better = _better(named[library, theirs], named["edge-cl", mine])
        lines.append(f"- {library} {theirs} against {mine}: {better}")
    return "\n".join(lines)


def _better(row: Row, ours: Row) -> str:
    found = []
    if row.tested == ours.tested:
        for order in ("incremental", "shuffled"):
            points = 100 * (getattr(row, order) - getattr(ours, order))
            if points > 0:
                spelled = "class-incremental" if order == "incremental" else order
                found.append(f"{points:.2f} points {spelled}")
    for what, mine, theirs in (
        ("less time to learn", ours.lesson_ms, row.lesson_ms),
        ("less time to predict", ours.predict_ms, row.predict_ms),
        ("less memory", ours.held_bytes, row.held_bytes),
    ):
        if mine / theirs > 1:
            ratio = mine / theirs
            found.append(f"{f'{ratio:.2f}' if ratio < 2 else short(ratio)} times {what}")
    return ", ".join(found) or "nowhere"


def _fewer(row: Row) -> str:
    return "" if row.tested == _ALL else f" ({row.tested:,} tested)"


def _accuracy(value: float) -> str:
    return f"{value:.4f}".lstrip("0")


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the picture: class-incremental accuracy over the time of a lesson."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)  # knows how large a text is
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1.5))
    slowest = max(row.lesson_ms for row in rows)
    for axes, limits in ((upper, (0.77, 0.905)), (lower, (0.15, 0.25))):
        _scatter(axes, [row for row in rows if limits[0] < row.incremental < limits[1]])
        axes.set(xscale="log", ylim=limits, xlim=(0.02, 5 * slowest))
        axes.grid(alpha=0.25, which="major")
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_formatter("{x:g}")
    upper.spines["bottom"].set_visible(False)
    upper.tick_params(axis="x", length=0, which="both")
    for axes, y in ((upper, 0), (lower, 1)):  # where the axis is broken
        axes.plot(0, y, marker=[(-1, -0.5), (1, 0.5)], ms=11, color="k", clip_on=False,
                  transform=axes.transAxes)  # fmt: skip
    _legend(upper)
    figure.supylabel("accuracy at the end, class-incremental order", fontsize=10)
    lower.set_xlabel("milliseconds to learn one sample, until the next prediction knows it (log)")
    figure.suptitle(
        "Split Fashion-MNIST: 10,000 pictures in one pass, same int8 encoder, 1280 features"
    )
    figure.canvas.draw()
    for axes in (upper, lower):
        _label(axes, [row for row in rows if axes.get_ylim()[0] < row.incremental])
    figure.savefig(path)


def _scatter(axes: Any, rows: Sequence[Row]) -> None:
    for row in rows:
        axes.scatter(
            row.lesson_ms,
            row.incremental,
            s=130 if row.library == "edge-cl" else 75,
            color=_COLOURS[row.library],
            zorder=3,
        )


def _legend(axes: Any) -> None:
    for library, colour in _COLOURS.items():
        axes.scatter([], [], s=75, color=colour, label=_LEGEND.get(library, library))
    axes.legend(frameon=False, loc="lower right")


def _label(axes: Any, rows: Sequence[Row]) -> None:
    """Name every point, at the nearest place where no other name or point is."""
    from matplotlib.text import Text

    low, high = axes.get_ylim()
    shown = [row for row in rows if low < row.incremental < high]
    points = [axes.transData.transform((row.lesson_ms, row.incremental)) for row in shown]
    taken: list[tuple[float, ...]] = [(x - 8, y - 8, x + 8, y + 8) for x, y in points]
    if axes.get_legend():
        taken.append(tuple(axes.get_legend().get_window_extent().extents))
    inside = axes.get_window_extent().extents
    for row in shown:
        for dx, dy in _PLACES:
            note = axes.annotate(
                _SPELLED.get(row.name, row.name) + _fewer(row),
                (row.lesson_ms, row.incremental),
                (dx, dy),
                textcoords="offset pixels",
                ha="left" if dx > 0 else "right" if dx < 0 else "center",
                va="bottom" if dy > 0 else "top" if dy < 0 else "center",
                fontsize=9.5,
                color=_COLOURS[row.library],
                weight="bold" if row.library == "edge-cl" else "normal",
                arrowprops={"arrowstyle": "-", "color": "#999999", "lw": 0.6, "shrinkB": 6},
            )
            note.update_positions(axes.figure.canvas.get_renderer())
            box = tuple(Text.get_window_extent(note).extents)  # without the line to the point
            free = all(
                box[2] < t[0] or t[2] < box[0] or box[3] < t[1] or t[3] < box[1] for t in taken
            )
            if free and inside[0] < box[0] and box[2] < inside[2] and inside[1] < box[1]:
                taken.append(box)
                break
            note.remove()
