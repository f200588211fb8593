"""Two pictures: a long run over time, and several results beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_cl.bench.document import BenchReport, EncoderBench, Point
from edge_cl.bench.report import machine_name
from edge_cl.bench.sustained import slowdown
from edge_cl.errors import InputError
from edge_cl.picture_file import require_plot, save_picture

__all__ = ["draw_report", "draw_sustained"]

_COLOURS = {
    "prepare": "#b8c4ce",
    "encode": "#7d93a6",
    "map": "#f2c57c",
    "flush": "#b23a48",
    "predict": "#e08e1b",
    "learn": "#1b6ca8",
    "commit": "#2a9d5c",
}
_PREDICTION = ("prepare", "encode", "map", "predict")
_LINES = ("#1b6ca8", "#e08e1b", "#2a9d5c", "#b23a48", "#6b4c9a", "#7d93a6")
_SENSORS = (
    ("clock_mhz", "clock, MHz"),
    ("temperature_c", "temperature, °C"),
    ("power_w", "power, W"),
)


def draw_sustained(report: BenchReport, path: Path) -> None:
    """Draw latency, and what the board's sensors said meanwhile, over time.

    Raises
    ------
    InputError : the result has no points over time.
    MissingExtraError : matplotlib is not installed.
    StorageError : the disk refused.
    """
    require_plot()
    from matplotlib.figure import Figure

    drawn = [e for e in report.encoders if e.sustained]
    if not drawn:
        raise InputError("the result has no run over time", hint="edge-cl bench --sustained 30m")
    told = [
        (field, label)
        for field, label in _SENSORS
        if any(getattr(p, field) is not None for e in drawn for p in e.sustained)
    ]
    figure = Figure(figsize=(10, 3.6 + 1.7 * len(told)), layout="constrained")
    rows = figure.subplots(
        1 + len(told), 1, sharex=True, squeeze=False, height_ratios=[2] + [1] * len(told)
    )[:, 0]
    for encoder, colour in zip(drawn, _LINES, strict=False):
        _draw_latency(rows[0], encoder, colour)
        for axes, (field, _) in zip(rows[1:], told, strict=True):
            at, values = _sensor(encoder.sustained, field)
            axes.plot(at, values, ".-", ms=3, color=colour)
    rows[0].set(ylabel="a prediction, ms", ylim=(0, None))
    rows[0].legend(frameon=False, loc="lower left", fontsize=9)
    for axes, (_, label) in zip(rows[1:], told, strict=True):
        axes.set_ylabel(label)
    for axes in rows:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    rows[-1].set_xlabel("minutes since the run began")
    figure.align_ylabels(rows)
    silent = "" if told else "\nthis machine tells neither clock nor temperature nor power"
    verdict = "" if report.valid else f"\nNOT VALID: {report.invalid_because[0]}"
    figure.suptitle(f"{machine_name(report)}: predictions and lessons in turn{silent}{verdict}")
    save_picture(figure, path, dpi=120)


def draw_report(reports: Mapping[str, BenchReport], path: Path) -> None:
    """Draw where a prediction and a lesson of each result spend their time.

    Raises
    ------
    MissingExtraError : matplotlib is not installed.
    StorageError : the disk refused.
    """
    require_plot()
    from matplotlib.figure import Figure

    bars = [(report, e) for report in reports.values() for e in report.encoders]
    figure = Figure(figsize=(11, 1.9 + 1.05 * len(bars)), layout="constrained")
    axes = figure.add_subplot()
    longest = 0.0
    for i, (_, encoder) in enumerate(bars):
        stages = {name: encoder.stages[name].median for name in _COLOURS}
        lesson = {n: stages[n] for n in ("prepare", "encode", "map", "learn", "commit")}
        answer = {n: stages[n] for n in ("flush", *_PREDICTION)}
        for y, parts in ((i - 0.19, answer), (i + 0.19, lesson)):
            left = 0.0
            for name, width in parts.items():
                axes.barh(y, width, left=left, height=0.34, color=_COLOURS[name])
                left += width
            what = "prediction" if y < i else "lesson"
            axes.text(left, y, f"  {what} {left:.2f} ms", va="center", fontsize=9)
            longest = max(longest, left)
    names = [
        f"{machine_name(r)}\n{e.name}, {e.head}, d {e.d}, {e.k} classes"
        + ("" if r.valid else "\nNOT VALID")
        for r, e in bars
    ]
    axes.set(
        yticks=range(len(bars)),
        yticklabels=names,
        xlabel="milliseconds (medians of stages); the prediction is the first after a lesson",
        xlim=(0, longest * 1.22),
        ylim=(len(bars) - 0.45, -0.55),
    )
    axes.tick_params(axis="y", labelsize=9, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(alpha=0.25, axis="x")
    axes.set_axisbelow(True)
    handles = [axes.barh(0, 0, color=colour, label=name) for name, colour in _COLOURS.items()]
    figure.legend(handles=handles, frameon=False, ncols=7, loc="outside upper center", fontsize=9)
    save_picture(figure, path, dpi=120)


def _draw_latency(axes: Any, encoder: EncoderBench, colour: str) -> None:
    points = encoder.sustained
    at = [point.at_s / 60 for point in points]
    middle = [point.predict for point in points]
    slower = slowdown(points)
    axes.plot(
        at,
        middle,
        color=colour,
        label=f"{encoder.name}: median; at the end {slower:.2f} times the beginning",
    )
    axes.fill_between(
        at, middle, [p.predict_p90 for p in points], color=colour, alpha=0.2, lw=0, label="to p90"
    )


def _sensor(points: Sequence[Point], field: str) -> tuple[list[float], list[float]]:
    told = [(p.at_s / 60, getattr(p, field)) for p in points if getattr(p, field) is not None]
    return [at for at, _ in told], [value for _, value in told]
