"""`edge-cl export`: from a backbone, or from features, to a bundle."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_cl.cli import options
from edge_cl.cli.output import json_line, line, note, pairs
from edge_cl.cli.usage import UsageError

EXAMPLES = """
  edge-cl export efficientnet-lite0                      all usual files, one bundle
  edge-cl export efficientnet-lite0 --target raspberry-pi-5
  edge-cl export timm/mobilenetv3_small_100 --calibration photos/ --out mobile.edgecl
  edge-cl export my_net.py:make_model --layers           what --layer can name
  edge-cl export my_net.py:make_model --data-free --project 256 --out my_net.edgecl
  edge-cl export detector.onnx --layer /neck/out --input-size 320x320 --calibration photos/ \\
      --out neck.edgecl
  edge-cl export --features sensor.npz --out sensor.edgecl     no network, no torch
"""


def export(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[NETWORK]",
            show_default=False,
            help="efficientnet-lite0, -lite1, -lite2, squeezenet, timm/NAME, torchvision/NAME, "
            "hf/ORG/NAME, FILE.py:FACTORY, FILE.onnx or FILE.tflite",
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="No network: vectors like the rows of x"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The bundle  [default: NETWORK.edgecl, here]"),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="RUNTIME-PRECISION: onnx or litert, fp32, fp16 or int8; onnx-int8-s8s8, "
            "litert-int8-full; again for more  [default: the usual six]",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="BOARD", help="Choose the formats for it, and check its oldest runtime"
        ),
    ] = None,
    input_size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="In pixels: 224x224"),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(metavar="R,G,B", help="In pixel units, 0..255"),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(metavar="R,G,B", help="In pixel units, 0..255"),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="NCHW|NHWC", help="Of FILE.onnx or FILE.tflite, where it is not to be seen"
        ),
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option(
            "--random-weights",
            help="Of a library's network: to try a graph without loading weights",
        ),
    ] = False,
    adapt: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Fine-tune the network once on these labelled pictures, then freeze it",
        ),
    ] = None,
    adapt_mode: Annotated[
        str,
        typer.Option(
            metavar="film|body",
            help="Of --adapt: a scale and a shift for each channel, or every weight",
        ),
    ] = "film",
    layer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Take this one's output"),
    ] = None,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers",
            help="List the layers with their shapes, and write nothing",
        ),
    ] = False,
    pool: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="mean or max over positions, token: the first, none",
        ),
    ] = "mean",
    l2: Annotated[
        bool,
        typer.Option("--l2", help="Give every embedding length one"),
    ] = False,
    project: Annotated[
        int | None,
        typer.Option(
            metavar="D",
            help="Keep D principal axes of the embedding: state and time grow with D squared",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Pictures to quantise by and to judge on, not the same ones: folder, .zip, .npz, "
            ".npy  [default, for efficientnet and squeezenet: those that ship]",
        ),
    ] = None,
    data_free: Annotated[
        bool,
        typer.Option(
            "--data-free",
            help="Distil pictures from the network's batch norms instead",
        ),
    ] = False,
    augment: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=16,
            help="Calibrate on N changed copies of each picture too",
        ),
    ] = 0,
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Where int8 begins and is improved from: tuned or plain; or one recipe, as the "
            "manifest spells it, made as it is",
        ),
    ] = "tuned",
    frontier: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Draw size against sensitivity of the layers",
        ),
    ] = None,
    min_cosine: Annotated[
        float, typer.Option(min=0, max=1, help="To the float model, mean")
    ] = 0.99,
    min_worst: Annotated[float, typer.Option(min=0, max=1, help="The worst picture's")] = 0.97,
    max_loss: Annotated[
        float,
        typer.Option(min=0, max=1, help="Of a head's accuracy: .005 is half a point"),
    ] = 0.005,
    accept: Annotated[
        str,
        typer.Option(
            metavar="REASON",
            help="Write the bundle even so; the reason stands in its manifest",
        ),
    ] = "",
    parity: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=64,
            help="Pictures in the bundle, for edge-cl verify",
        ),
    ] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn at random")] = 0,
    as_json: options.Json = False,
) -> None:
    """Make a bundle of a network: a small, fast, proven encoder.

    Devices need the bundle, and no PyTorch. None is needed to begin with: an int8
    EfficientNet-Lite0 ships with edge-cl. Exporting needs pip install 'edge-cl[export]', on a
    workstation. Every file is compared with the float model through the runtime that a device
    runs; where one is too far off, remedies are tried, and when none is left nothing is
    written, exit 3.
    """
    if (source is None) == (features is None):
        raise UsageError("expected either NETWORK or --features")
    if features is not None:
        _export_features(features, out or _default_out(None), as_json)
        return
    exporter = _exporter()
    asked = exporter.Asked(
        source=source,
        weights=not random_weights,
        size=_size(input_size),
        mean=_triple("--mean", mean),
        std=_triple("--std", std),
        layout=_layout(layout),
        calibration=calibration,
        data_free=data_free,
        adapt=adapt,
        adapt_mode=adapt_mode,
    )
    if layers:
        _print_layers(exporter.layers_command(asked), as_json)
        return
    with _reported() as progress:
        result = exporter.export_command(
            asked,
            out or _default_out(source),
            formats=formats,
            target=target,
            layer=layer,
            pool=pool,
            l2=l2,
            project=project,
            recipe=recipe,
            gate=exporter.Gate(cosine_mean=min_cosine, cosine_worst=min_worst, head_loss=max_loss),
            accepted=accept,
            augmented=augment,
            parity=parity,
            frontier=frontier,
            seed=seed,
            progress=progress,
        )
    _print(result, as_json)


def _default_out(source: str | None) -> Path:
    if source is None or any(c in source for c in "/:."):
        raise UsageError("Missing option '--out'")
    return Path(f"{source}.edgecl")


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


def _exporter() -> Any:
    from edge_cl.errors import MissingExtraError

    try:
        return importlib.import_module("edge_cl_export.command")
    except ModuleNotFoundError as error:
        raise MissingExtraError("exporting", "export") from error


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


def _layout(text: str | None) -> str | None:
    if text not in (None, "NCHW", "NHWC"):
        raise UsageError(f"expected --layout as NCHW or NHWC, got {text!r}")
    return text


def _triple(option: str, text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        r, g, b = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"expected {option} as three numbers R,G,B, got {text!r}") from None
    return r, g, b


def _print_layers(layers: Any, as_json: bool) -> None:
    if as_json:
        json_line([asdict(layer) for layer in layers])
        return
    for layer in layers:
        shape = " x ".join(map(str, layer.shape)) if layer.shape is not None else "-"
        line(f"{layer.name}  {layer.type}  {shape}  {layer.parameters}")


def _print(result: Any, as_json: bool) -> None:
    import msgspec

    if as_json:
        json_line(msgspec.to_builtins(result, enc_hook=str))
        return
    pairs([("bundle", f"{result.path} ({result.size_bytes / 1e6:.1f} MB, {result.seconds:.0f} s)")])
    for spec in result.encoders:
        found, timed = result.fidelity[spec.member], result.latency[spec.member]
        size = result.encoder_bytes[spec.member] / 1e6
        said = (
            f"mean cosine {found.cosine_mean:.4f}, worst {found.cosine_worst:.4f}, "
            f"{timed.median_ms:.1f} ms on one thread (p99 {timed.p99_ms:.1f}), {size:.1f} MB"
        )
        pairs([(spec.member, said), (f"{spec.member}, recipe", spec.recipe)])
        _print_heads(spec.member, found)
        _print_rungs(spec.member, result.rungs[spec.member])
        pairs((f"{spec.member}, accepted", line) for line in result.misses.get(spec.member, ()))
    pairs(("note", said) for said in result.notes)
    pairs(("skipped", said) for said in result.skipped)


def _print_heads(member: str, found: Any) -> None:
    heads = (("nearest mean", found.nearest_mean), ("LDA", found.lda), ("ridge", found.ridge))
    said = [
        f"{name} {head.deployed:.3f} (float {head.float_features:.3f})"
        for name, head in heads
        if head is not None
    ]
    if said:
        by = f", {found.held_out}s held out" if found.held_out else ""
        pairs([(f"{member}, heads", "; ".join(said) + by)])


def _print_rungs(member: str, rungs: Any) -> None:
    for rung in rungs if len(rungs) > 1 else ():
        taken = "" if rung.taken else ", left out"
        said = f"mean cosine {rung.cosine_mean:.4f}, worst {rung.cosine_worst:.4f}"
        pairs([(f"{member}, {rung.remedy}", f"{said}, {rung.gained:+.4f}{taken}")])
