"""The Pareto frontier as a picture: size against sensitivity, and which layers matter."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edge_cl.errors import InputError, MissingExtraError, StorageError
from edge_cl_export.remedy.frontier import Choice
from edge_cl_export.remedy.sensitivity import Sensitivity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_frontier"]

BLUE, ORANGE = "#1b6ca8", "#e08e1b"
MOST = 16  # layers with a bar of their own
NAMED = 4  # layers named above the chosen point


def draw_frontier(
    layers: Sequence[Sensitivity],
    choices: Sequence[Choice],
    chosen: Choice,
    path: Path,
    *,
    tried: Sequence[Choice] = (),
) -> None:
    """Write the picture of `choices` to `path` (.png, .svg or .pdf), `chosen` marked.

    Parameters
    ----------
    layers : what `choices` were made from.
    tried : choices that were made into a file and judged.

    Raises
    ------
    InputError : no choice, or a suffix that no picture has.
    MissingExtraError : matplotlib is not installed.
    StorageError : the disk refused.
    """
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"expected a file .png, .svg or .pdf, got {path.name}")
    if not choices or not layers:
        raise InputError("expected at least one choice and one layer to draw")
    if find_spec("matplotlib") is None:
        raise MissingExtraError("drawing a picture", "plot")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_choices(left, layers, choices, chosen, tried)
    _draw_layers(right, layers, chosen)
    metadata = {"Software": None} if path.suffix == ".png" else {"Date": None}
    if path.suffix == ".pdf":
        metadata = {"CreationDate": None}
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with rc_context({"svg.hashsalt": "frontier"}):  # else its ids are drawn by chance
            figure.savefig(unfinished, dpi=150, format=path.suffix[1:], metadata=metadata)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error}") from error


def _draw_choices(
    axes: Axes,
    layers: Sequence[Sensitivity],
    choices: Sequence[Choice],
    chosen: Choice,
    tried: Sequence[Choice],
) -> None:
    """Both axes are logarithmic: a few small layers hold most of the sensitivity."""
    least = choices[0].bytes
    floor = min((c.omega for c in choices if c.omega > 0), default=1.0)

    def points(which: Sequence[Choice]) -> tuple[list[float], list[float]]:
        return [(c.bytes - least) / 1e3 for c in which], [max(c.omega, floor) for c in which]

    axes.plot(*points(choices), color=BLUE, lw=1.5, drawstyle="steps-post", label="frontier")
    if tried:
        axes.plot(*points(tried), "o", color=BLUE, ms=6, mfc="white", label="judged")
    axes.plot(*points([chosen]), "o", color=ORANGE, ms=9, label="chosen", zorder=3)
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_yscale("log")
    axes.set(
        xlim=(-0.2, None),
        xlabel=f"kB more than all layers in int8 ({least / 1e6:.2f} MB)",
        ylabel="Σ Ω of the layers in int8",
        title=_in_words(layers, chosen),
    )
    axes.title.set_fontsize(10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left")


def _in_words(layers: Sequence[Sensitivity], chosen: Choice) -> str:
    kept = [layer.layer for layer in layers if layer.layer in chosen.float_layers]
    if not kept:
        return "chosen: all layers in int8"
    more = f" and {len(kept) - NAMED} more" if len(kept) > NAMED else ""
    return f"in float: {', '.join(kept[:NAMED])}{more}"


def _draw_layers(axes: Axes, layers: Sequence[Sensitivity], chosen: Choice) -> None:
    worst = sorted(layers, key=lambda layer: -layer.omega)[:MOST][::-1]
    colours = [ORANGE if layer.layer in chosen.float_layers else BLUE for layer in worst]
    axes.barh(range(len(worst)), [layer.omega for layer in worst], color=colours, height=0.7)
    axes.set(
        yticks=range(len(worst)),
        xlabel="Ω",
        title=f"the {len(worst)} most sensitive of {len(layers)} layers (weights)",
    )
    axes.title.set_fontsize(10)
    axes.set_yticklabels([f"{w.layer} ({w.weights:,})" for w in worst], fontsize=8)
    axes.ticklabel_format(axis="x", scilimits=(0, 0))
    axes.grid(alpha=0.25, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
