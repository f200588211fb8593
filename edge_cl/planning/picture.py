"""A picture of a plan: memory and time over features and over classes, with the machine's limits.

Features are swept as those behind the map, whatever makes them: a projected embedding, the encoder
itself, a wider map. The dot is the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_cl.features import Identity
from edge_cl.picture_file import require_plot, save_picture
from edge_cl.planning.alternatives import Setup
from edge_cl.planning.plan import Plan, Planner
from edge_cl.specs import described

__all__ = ["draw_plan"]

_WIDTHS = (64, 128, 256, 384, 512, 768, 1024, 1280, 1536, 2048, 3072, 4096)
_CLASSES = (2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
_STAGES = {
    "learn": ("learn", "#1b6ca8"),
    "pause": ("longest lesson, besides", "#8a5fb0"),
    "flush": ("flush before an answer", "#e08e1b"),
    "predict": ("predict", "#2a9d5c"),
}
_ENCODE, _LIMIT, _MEMORY = "#7d93a6", "#b23a48", "#444444"


def draw_plan(plan: Plan, planner: Planner, path: Path) -> None:
    """Write the picture of `plan` to `path` (.png, .svg or .pdf).

    Raises
    ------
    MissingExtraError : matplotlib is not installed.
    StorageError : the disk refused.
    """
    require_plot()
    from matplotlib.figure import Figure

    at, k = plan.needs.d, plan.setup.classes
    plain = replace(plan.setup, d_in=at, feature_map=Identity())
    widths, counts = sorted({*_WIDTHS, at}), sorted({*_CLASSES, k})
    sweeps = (
        ("features d", widths, [replace(plain, d_in=d) for d in widths], at),
        ("classes k", counts, [replace(plain, classes=n) for n in counts], k),
    )
    figure = Figure(figsize=(11, 7.4), layout="constrained")
    rows = figure.subplots(2, 2, sharey="row", sharex="col")
    for column, (label, xs, setups, mark) in enumerate(sweeps):
        _memory(rows[0][column], xs, setups, plan, planner, mark)
        _times(rows[1][column], xs, setups, plan, planner, mark)
        rows[1][column].set_xlabel(label)
    rows[0][0].set_ylabel("memory of the process at most, MB")
    rows[1][0].set_ylabel("predicted, ms (band: least to most)")
    rows[0][0].set_title(f"{k} classes")
    rows[0][1].set_title(f"{at} features")
    named = rows[1][1].get_legend_handles_labels()
    figure.legend(*named, frameon=False, loc="outside lower center", ncols=len(named[0]))
    head = described(plan.setup.head)
    figure.suptitle(f"{plan.device}: {head} on {plan.bundle}; predicted, not measured there")
    save_picture(figure, path, dpi=110)


def _memory(
    axes: Any, xs: Sequence[int], setups: Sequence[Setup], plan: Plan, planner: Planner, at: int
) -> None:
    axes.plot(xs, [planner.takes(setup) / 1e6 for setup in setups], color=_MEMORY)
    axes.plot([at], [plan.peak_bytes / 1e6], "o", color=_MEMORY, label="this plan")
    for fit in plan.fits:
        axes.axhline(fit.limit.usable / 1e6, color=_LIMIT, lw=1, ls="--")
        axes.annotate(
            f"usable of {fit.limit.name}" if fit.limit.name.endswith("GB") else fit.limit.name,
            (0.02, fit.limit.usable / 1e6),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            color=_LIMIT,
            fontsize=8,
        )
    _logarithmic(axes)


def _times(
    axes: Any, xs: Sequence[int], setups: Sequence[Setup], plan: Plan, planner: Planner, at: int
) -> None:
    found = [planner.times(setup) for setup in setups]
    for stage, (name, colour) in _STAGES.items():
        spans = [times[stage] for times in found]
        known = [(x, span) for x, span in zip(xs, spans, strict=True) if span is not None]
        if not known:
            continue
        where, these = [x for x, _ in known], [span for _, span in known]
        axes.plot(where, [span.likely for span in these], color=colour, label=name)
        low, high = [span.least for span in these], [span.most for span in these]
        axes.fill_between(where, low, high, color=colour, alpha=0.18, lw=0)
        own = plan.times[stage]
        if own is not None:
            axes.plot([at], [own.likely], "o", color=colour)
    encode = plan.times["encode"]
    if encode is not None and encode.most:
        axes.axhspan(encode.least, encode.most, color=_ENCODE, alpha=0.25, lw=0)
        axes.axhline(encode.likely, color=_ENCODE, label="encode a picture")
    _logarithmic(axes)


def _logarithmic(axes: Any) -> None:
    axes.set(xscale="log", yscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
