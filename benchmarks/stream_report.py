"""The tables and the picture of `streams.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import table

_COLOURS = {
    "identity": "#1b6ca8",
    "l2": "#2a9d5c",
    "power": "#8a5a9e",
    "random-relu:2048": "#e08e1b",
    "": "#444444",
}
_TITLES = {
    "Fashion": "Fashion-MNIST\n10 classes",
    "SH3D B": "SH3D B: 49 classes,\nunseen sessions",
    "SH3D C": "SH3D C: 49 classes,\nunseen objects",
    "SH3D E": "SH3D E: 49 classes,\nstudio, then elsewhere",
    "SH3D G": "SH3D G: 272 objects,\nunseen sessions",
}
_SHOWN = ("at once", "fp32")  # in the picture
_WAYS = {
    "default": "default",
    "gcv": "GCV",
    "by group": "by group",
    "best left out": "best left out",
    "best tested": "best tested",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One head behind a map, or a preset, on one stream.

    accuracy : "by class", "shuffled", "at once", "fp32" -> accuracy on the test rows.
    differing : order -> test rows answered differently than after learning all at once.
    seconds : of the processor, to learn class after class and to answer, without the moments.
    not_run : which of them there is no answer of, and why.
    """

    stream: str
    head: str
    map: str
    preset: bool
    from_moments: bool
    accuracy: dict[str, float]
    differing: dict[str, int]
    seconds: float
    not_run: str


def tables(
    rows: Sequence[Row],
    ridge: Mapping[str, Mapping[str, Mapping[str, float]]],
    sizes: Mapping[str, Sequence[int]],
) -> str:
    """Return accuracies, what fp32 changes, and the choices of λ, in markdown."""
    parts = [
        _accuracies(rows, sizes),
        _same(rows, sizes),
        _not_run(rows),
        _precisions(rows, sizes),
        _choices(ridge),
    ]
    return "\n\n".join(part for part in parts if part)


def _by_name(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, Row]]:
    named: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        named.setdefault((row.head, row.map), {})[row.stream] = row
    return named


def title(head: str, mapping: str) -> str:
    """Return what a row of a table is called."""
    if not mapping:
        return f"preset {head}"
    return head if mapping == "identity" else f"{head}, {mapping}"


def _accuracies(rows: Sequence[Row], sizes: Mapping[str, Sequence[int]]) -> str:
    lines = []
    for (head, mapping), found in _by_name(rows).items():
        cells = [_cell(found[stream]) if stream in found else "" for stream in sizes]
        lines.append([title(head, mapping), *cells])
    return table(["int8 features", *sizes], lines)


def _cell(row: Row) -> str:
    if not row.accuracy:
        return "–"
    if row.from_moments:
        return _points(row.accuracy.get("by class", next(iter(row.accuracy.values()))))
    orders = ("by class", "shuffled", "at once")
    return " / ".join(_points(row.accuracy[o]) if o in row.accuracy else "–" for o in orders)


def _points(accuracy: float) -> str:
    return f"{accuracy:.3f}".removeprefix("0")


def _same(rows: Sequence[Row], sizes: Mapping[str, Sequence[int]]) -> str:
    """Say how many answers differ from those after learning all at once."""
    exact = [row for row in rows if row.from_moments]
    asked = sum(sizes[row.stream][1] * len(row.differing) for row in exact)
    differing = [(row, how, n) for row in exact for how, n in row.differing.items() if n]
    text = (
        f"Heads that are a function of the sums, taught class after class and shuffled: "
        f"{sum(n for *_, n in differing):,} of {asked:,} answers differ from those after "
        "learning all at once"
    )
    if not differing:
        return f"{text}."
    where = "; ".join(
        f"{title(row.head, row.map)} on {row.stream}, {how}: {n}" for row, how, n in differing
    )
    return f"{text} ({where})."


def _not_run(rows: Sequence[Row]) -> str:
    lines = [
        f"- {title(row.head, row.map)} on {row.stream}: {row.not_run}"
        for row in rows
        if row.not_run
    ]
    return "\n".join(["Not run, or stopped:", "", *lines]) if lines else ""


def _precisions(rows: Sequence[Row], sizes: Mapping[str, Sequence[int]]) -> str:
    """Say what fp32 features change: of all rows in a sentence, without maps in a table."""
    change = {
        (row.head, row.map, row.stream): 100 * (row.accuracy["fp32"] - row.accuracy["at once"])
        for row in rows
        if {"fp32", "at once"} <= row.accuracy.keys()
    }
    if not change:
        return ""
    points = list(change.values())
    lines = [
        [title(head, mapping), *(_signed(change.get((head, mapping, s))) for s in sizes)]
        for head, mapping in _by_name(rows)
        if mapping in ("identity", "")
    ]
    return (
        "fp32 features instead of int8, learned at once: "
        f"{sum(points) / len(points):+.1f} points in the mean of all {len(points)} rows above, "
        f"{min(points):+.1f} to {max(points):+.1f}.\n\n"
    ) + table(["fp32 - int8, points", *sizes], lines)


def _signed(points: float | None) -> str:
    return "" if points is None else f"{round(points, 1) + 0.0:+.1f}"


def _choices(ridge: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    if not ridge:
        return ""
    lines = []
    for stream, ways in ridge.items():
        cells = [
            f"{ways[way]['ridge']:.2g}: {_points(ways[way]['left_out'])}, "
            f"{_points(ways[way]['test'])}"
            for way in _WAYS
        ]
        chosen, best = ways["by group"], ways["best left out"]
        gain = ", ".join(_signed(100 * (chosen[by] - best[by])) for by in ("left_out", "test"))
        lines.append([stream, *cells, gain])
    return (
        "λ of ridge in units of E‖x‖², by how it was chosen: accuracy on groups of the learned "
        "samples left out in turn (B: sessions; C: tenths of the objects), and when tested. The "
        "last column compares λ by group with the best of a sweep on the same groups, in "
        "points:\n\n"
    ) + table(["λ: left out, tested", *_WAYS.values(), "by group - best left out"], lines)


def draw(rows: Sequence[Row], sizes: Mapping[str, Sequence[int]], path: Path) -> None:
    """Write the picture: accuracy of each head, a panel a stream, int8 dots and fp32 rings.

    Both after learning in one call, shuffled; for a function of the sums any order is the same.
    What lies beyond the left edge is written there.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heads = list(dict.fromkeys(row.head for row in rows))
    figure = Figure(figsize=(13, 1.9 + 0.42 * len(heads)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(sizes), sharey=True)
    for axes, stream in zip(panels, sizes, strict=True):
        _panel(axes, [row for row in rows if row.stream == stream], heads)
        axes.set_title(_TITLES.get(stream, stream), fontsize=10)
        axes.set_xlabel("accuracy at the end")
    presets = {row.head for row in rows if row.preset}
    names = [f"preset {head}" if head in presets else head for head in heads]
    panels[0].set_yticks(range(len(heads)), names)
    panels[0].set_ylim(len(heads) - 0.5, -0.5)
    _legend(figure, panels[0], {row.map for row in rows})
    figure.savefig(path)


def _panel(axes: Any, rows: Sequence[Row], heads: Sequence[str]) -> None:
    for line in range(len(heads)):
        axes.axhspan(line - 0.5, line + 0.5, color="#f4f4f4" if line % 2 else "white", lw=0)
    known = [row for row in rows if "at once" in row.accuracy]
    # what depends on the order may lie anywhere: it does not set the scale
    steady = [row.accuracy for row in known if row.from_moments]
    shown = [found[how] for found in steady for how in _SHOWN if how in found] or [0, 1]
    room = 0.06 * (max(shown) - min(shown)) + 0.005
    left = min(shown) - room
    axes.set_xlim(left, max(shown) + room)
    for row in known:
        maps = [other.map for other in known if other.head == row.head]
        y = heads.index(row.head) + (maps.index(row.map) - (len(maps) - 1) / 2) * 0.2
        colour = _COLOURS[row.map]
        axes.scatter(row.accuracy["at once"], y, s=26, color=colour, zorder=3, lw=0)
        if "fp32" in row.accuracy:
            axes.scatter(row.accuracy["fp32"], y, s=60, fc="none", ec=colour, lw=1, zorder=4)
        if not row.from_moments and "by class" in row.accuracy:
            axes.scatter(row.accuracy["by class"], y, s=40, marker="x", color=colour, zorder=5)
        beyond = [
            f"{sign} at {_points(row.accuracy[how])}"
            for how, sign in (("at once", "$\\bullet$"), ("by class", "$\\times$"))
            if how in row.accuracy and row.accuracy[how] < left
        ]
        across = axes.get_yaxis_transform()
        text = "\n".join(beyond)
        axes.text(0.02, y, text, fontsize=8, color=colour, va="center", transform=across)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(_ticks())
    axes.xaxis.set_major_formatter("{x:g}")


def _ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=5, steps=[1, 2, 5, 10])


def _legend(figure: Any, axes: Any, maps: set[str]) -> None:
    for mapping, colour in _COLOURS.items():
        if mapping in maps:
            label = f"map {mapping}" if mapping else "preset with its own map and λ"
            axes.scatter([], [], s=26, color=colour, label=label)
    axes.scatter([], [], s=26, color="#888888", label="int8 features")
    axes.scatter([], [], s=60, fc="none", ec="#888888", label="fp32 features")
    crossed = "class after class, where the order matters"
    axes.scatter([], [], s=40, marker="x", color="#888888", label=crossed)
    figure.legend(frameon=False, loc="outside lower center", ncols=4, fontsize=9)
