"""`edge-cl export`: from a PyTorch backbone, or from features, to a bundle."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_cl.cli import options
from edge_cl.cli.output import json_line, note, pairs
from edge_cl.cli.usage import UsageError

EXAMPLES = """
  edge-cl export efficientnet-lite0 --out lite0.edgecl
  edge-cl export --model my_net.py:make_model --calibration photos/ --input-size 224x224 \\
      --mean 123.7,116.3,103.5 --std 58.4,57.1,57.4 --out my_net.edgecl
  edge-cl export --features sensor.npz --out sensor.edgecl     no network, no torch
"""


def export(
    backbone: Annotated[
        str | None,
        typer.Argument(
            metavar="[BACKBONE]", show_default=False, help="Name of a known one: efficientnet-lite0"
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="FILE.py:NAME", help="A function that returns your torch.nn.Module"),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="No network: vectors like the rows of x"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The bundle  [default: BACKBONE.edgecl, here]"),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="onnx-fp32, onnx-int8, litert-fp32 or litert-int8; again for more  [default: all]",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Pictures to quantise by; needed with --model, else those that ship",
        ),
    ] = None,
    input_size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Of --model, in pixels: 224x224")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Of --model, in pixel units 0..255")
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Of --model, in pixel units 0..255")
    ] = None,
    min_cosine: Annotated[
        float,
        typer.Option(min=0, max=1, help="Write nothing, exit 3, below this mean cosine"),
    ] = 0.98,
    seed: Annotated[int, typer.Option(help="Of what is drawn at random")] = 0,
    as_json: options.Json = False,
) -> None:
    """Make a bundle of a PyTorch backbone.

    Devices need the bundle, and no PyTorch. None is needed to begin with: an int8
    EfficientNet-Lite0 ships with edge-cl. Exporting needs pip install 'edge-cl[export]', on a
    workstation. The exported encoder is compared with the float model; one that is too far off
    is not written.
    """
    given = [what for what in (backbone, model, features) if what is not None]
    if len(given) != 1:
        raise UsageError("expected one of BACKBONE, --model and --features")
    out = out or _default_out(backbone)
    if features is not None:
        _export_features(features, out, as_json)
        return
    with _reported() as progress:
        result = _exporter()(
            source=backbone,
            model=model,
            out=out,
            formats=formats,
            calibration=calibration,
            input_size=_size(input_size),
            mean=_triple("--mean", mean),
            std=_triple("--std", std),
            min_cosine=min_cosine,
            seed=seed,
            progress=progress,
        )
    _print(result, as_json)


def _default_out(backbone: str | None) -> Path:
    if backbone is None:
        raise UsageError("Missing option '--out'")
    return Path(f"{backbone}.edgecl")


def _export_features(path: Path, out: Path, as_json: bool) -> None:
    from edge_cl import files
    from edge_cl.sensor import features_bundle
    from edge_cl.sources import FeatureRows

    bundle = features_bundle(FeatureRows(path).x, name=out.stem)
    files.write_atomically(out, bundle.archive())
    d, scale = bundle.manifest.embedding.d, bundle.manifest.embedding.scale
    if as_json:
        json_line({"bundle": str(out), "sha256": bundle.sha256, "d": d, "scale": scale})
    else:
        pairs([("bundle", out), ("features", f"{d} (grid step {scale:g})")])


def _exporter() -> Callable[..., Any]:
    from edge_cl.errors import MissingExtraError

    try:
        module = importlib.import_module("edge_cl_export.command")
    except ModuleNotFoundError as error:
        raise MissingExtraError("exporting", "export") from error
    exporter: Callable[..., Any] = module.export_command
    return exporter


@contextmanager
def _reported() -> Iterator[Callable[[str, float], None]]:
    """Show how far an export is: a bar on a terminal, else a line for each step."""
    if not sys.stderr.isatty():
        yield lambda text, share: note(f"{share:4.0%} {text}")
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("exporting", total=1.0)
        yield lambda text, share: bar.update(task, description=text, completed=share)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.partition("x")
    if not (height.isascii() and height.isdigit() and (width or height).isdigit()):
        raise UsageError(f"expected --input-size as HEIGHTxWIDTH, got {text!r}")
    return int(height), int(width or height)


def _triple(option: str, text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        r, g, b = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"expected {option} as three numbers R,G,B, got {text!r}") from None
    return r, g, b


def _print(result: Any, as_json: bool) -> None:
    import msgspec

    if as_json:
        json_line(msgspec.to_builtins(result, enc_hook=str))
        return
    pairs([("bundle", f"{result.path} ({result.size_bytes / 1e6:.1f} MB)")])
    for spec in result.encoders:
        found = result.fidelity[spec.member]
        size = result.encoder_bytes[spec.member] / 1e6
        pairs(
            [
                (
                    f"{spec.runtime} {spec.precision}",
                    f"mean cosine {found.cosine_mean:.4f}, worst {found.cosine_worst:.4f}, "
                    f"{result.latency_ms[spec.member]:.1f} ms on one thread, {size:.1f} MB",
                )
            ]
        )
