"""`edge-cl export`, as a function: arguments already parsed, data returned, nothing printed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edge_cl.encoders.onnx_runner import forbid_telemetry
from edge_cl.errors import InputError, MissingExtraError
from edge_cl_export.calibration import demo_pictures, open_pictures
from edge_cl_export.recipe import FORMATS, recipes_for

if TYPE_CHECKING:
    from edge_cl_export.backbones import Backbone
    from edge_cl_export.pipeline import ExportResult, Progress

__all__ = ["export_command"]


def export_command(
    *,
    source: str | None = None,
    model: str | None = None,
    out: Path,
    formats: list[str] | None = None,
    calibration: Path | None = None,
    input_size: tuple[int, int] | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    min_cosine: float = 0.98,
    seed: int = 0,
    progress: Progress | None = None,
) -> ExportResult:
    """Export a backbone into the bundle `out`.

    Parameters
    ----------
    source : name of a backbone with known weights, or None where `model` is given.
    model : "FILE.py:FACTORY", or None where `source` is given.
    formats : some of `recipe.FORMATS`; None: all.
    calibration : a folder, `.zip`, `.npz` or `.npy` of pictures, see `calibration`; None: the
        pictures that ship with edge-cl, for a named backbone.
    input_size : (height, width) in pixels; only with `model`.
    mean, std : a value a channel (RGB) in pixel units (0..255); only with `model`.
    min_cosine : gate: mean cosine to the float features.
    progress : called with what begins and the share done, 0..1.

    Raises
    ------
    InputError : arguments that contradict each other or name nothing.
    MissingExtraError : a package of the `export` extra is missing.
    ExportError, FidelityError, StorageError : see `pipeline.export`.
    """
    forbid_telemetry()
    recipes = recipes_for(list(FORMATS) if formats is None else formats)
    if (source is None) == (model is None):
        raise InputError("expected either the name of a backbone or a model, not both or none")
    if source is not None and (input_size or mean or std):
        raise InputError(f"{source} has its own input size, mean and std")
    if not 0.0 <= min_cosine <= 1.0:
        raise InputError(f"expected a minimum cosine of 0 to 1, got {min_cosine}")
    if out.suffix != ".edgecl" or not out.parent.is_dir():
        raise InputError(f"expected a file NAME.edgecl in an existing folder, got {out}")
    int8 = any(recipe.precision == "int8" for recipe in recipes)
    if model is not None and calibration is None and int8:
        raise InputError(
            "int8 needs pictures to calibrate on",
            hint="give --calibration DIR, or ask for float formats only",
        )
    if find_spec("torch") is None:
        raise MissingExtraError("exporting", "export")
    pictures = demo_pictures() if calibration is None else open_pictures(calibration)
    backbone = _load(source, model, input_size, mean, std)
    typed = ["edge-cl export", backbone.command, *(f"--format {r.format}" for r in recipes)]
    if calibration is not None:
        typed.append(f"--calibration {calibration.name}")
    typed.append(f"--seed {seed}")

    from edge_cl_export.pipeline import export

    return export(
        backbone,
        recipes,
        pictures,
        out,
        min_cosine=min_cosine,
        seed=seed,
        command=" ".join(typed),
        progress=progress,
    )


def _load(
    source: str | None,
    model: str | None,
    size: tuple[int, int] | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
) -> Backbone:
    from edge_cl_export.backbones import load_factory, load_named

    if source is not None:
        return load_named(source)
    return load_factory(model or "", size=size, mean=mean, std=std)
