"""One picture of the demonstration: accuracy over classes seen, and where the time goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_cl.picture_file import require_plot, save_picture

if TYPE_CHECKING:
    from edge_cl.demo.report import DemoReport

_COLOURS = {"ridge": "#1b6ca8", "lda": "#2a9d5c", "ncm": "#e08e1b"}
_NAMES = {"ridge": "ridge", "lda": "LDA", "ncm": "nearest mean"}
_STAGES = {
    "prepare": ("prepare", "#b8c4ce"),
    "encode": ("encode", "#7d93a6"),
    "map": ("map", "#f2c57c"),
    "predict": ("predict", "#e08e1b"),
    "learn": ("learn", "#1b6ca8"),
}


def draw_demo(report: DemoReport, path: Path) -> None:
    """Write the picture of `report` to `path` (.png, .svg or .pdf).

    Raises
    ------
    MissingExtraError : matplotlib is not installed.
    StorageError : the disk refused.
    """
    require_plot()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.2), layout="constrained")
    grid = figure.add_gridspec(2, len(report.streams), height_ratios=(3, 1))
    for column, stream in enumerate(report.streams):
        axes = figure.add_subplot(grid[0, column])
        for head, accuracy in stream.accuracy.items():
            joint = stream.joint_accuracy[head]
            axes.plot(stream.classes_seen, accuracy, "o-", color=_COLOURS[head], label=_NAMES[head])
            axes.plot(stream.classes_seen[-1], joint, "o", ms=13, mfc="none", color=_COLOURS[head])
        axes.plot(
            stream.classes_seen, stream.sgd_accuracy, "x--", color="#b23a48", label="softmax by SGD"
        )
        axes.set(
            title=f"{stream.name}: {stream.train} pictures in one pass, {stream.test} to test",
            xlabel="classes seen",
            ylabel="accuracy on all classes seen" if column == 0 else "",
            ylim=(0, 1.03),
            xticks=stream.classes_seen,
        )
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower left")
    _draw_stages(figure.add_subplot(grid[1, :]), report)
    figure.suptitle(
        "Learned group by group, no picture stored, nothing forgotten (ring: fitted to all at once)"
    )
    save_picture(figure, path, dpi=110)


def _draw_stages(axes: Any, report: DemoReport) -> None:
    stages = report.streams[0].stages
    left = 0.0
    for field, (name, colour) in _STAGES.items():
        width = getattr(stages, field)
        axes.barh(0, width, left=left, color=colour, label=f"{name} {width:.2f} ms", height=0.5)
        left += width
    axes.set(yticks=[], xlim=(0, left), ylim=(-0.4, 0.4), xlabel="milliseconds a picture (median)")
    axes.set_title(f"where the time goes: {report.machine.cpu}", fontsize=10)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(frameon=False, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.45))
