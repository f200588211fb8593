"""`edge-cl bench`: how long a picture takes on this machine, stage by stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.opening import bundle_at
from edge_cl.cli.output import json_line, line, note
from edge_cl.cli.progress import shares

if TYPE_CHECKING:
    from edge_cl.bench import BenchReport, EncoderBench

EXAMPLES = """
  edge-cl bench
  edge-cl bench --bundle all.edgecl --threads 2 --json > bench.json
"""

_COLUMNS = ("median", "p90", "p99", "max")


def bench(
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    head: Annotated[
        str, typer.Option(metavar="NAME", help="ridge, lda, ncm or ncm-euclidean")
    ] = "ridge",
    feature_map: Annotated[
        str,
        typer.Option("--map", metavar="NAME", help="identity, l2, power[:BETA] or random-relu[:M]"),
    ] = "identity",
    classes: Annotated[int, typer.Option(min=2, help="Classes the head knows")] = 100,
    repetitions: Annotated[int, typer.Option(min=20, help="Pictures timed an encoder")] = 200,
    threads: Annotated[int, typer.Option(min=1, help="Of the encoder")] = 1,
    runtime: options.Runtime = None,
    precision: options.Precision = None,
    as_json: options.Json = False,
) -> None:
    """Time a picture on this machine, stage by stage.

    Every encoder of the bundle that can run here is timed. Pictures of 640 x 480 come one
    after the other. A prediction and a lesson are timed in turn, so their ratio holds even
    where the machine's speed drifts.
    """
    from dataclasses import asdict

    from edge_cl.assets import shipped_bundle
    from edge_cl.bench import bench as measure

    opened = bundle_at(bundle or shipped_bundle(), require_signature)
    with shares() as progress:
        report = measure(
            opened,
            head=head,
            feature_map=feature_map,
            classes=classes,
            repetitions=repetitions,
            threads=threads,
            runtime=runtime,
            precision=precision,
            progress=progress,
        )
    if as_json:
        json_line(asdict(report))
    else:
        _print(report, Path(bundle).name if bundle else "the encoder that ships with edge-cl")


def _print(report: BenchReport, name: str) -> None:
    machine = report.machine
    line(f"bundle: {report.bundle} ({name})")
    line(f"machine: {machine.board or machine.cpu}, {machine.cores} cores, {machine.architecture}")
    for encoder in report.encoders:
        line("")
        _print_encoder(encoder)
    line("")
    line(f"peak memory: {report.peak_memory_mb:.0f} MB")
    for encoder_name, why in report.skipped.items():
        note(f"left out: {encoder_name}: {why}")


def _print_encoder(e: EncoderBench) -> None:
    line(f"{e.runtime} {e.precision}, threads: {e.threads}; {e.head}, d: {e.d}, classes: {e.k}")
    line(f"{'ms':<24}" + "".join(f"{column:>10}" for column in _COLUMNS))
    rows = {
        "prepare": e.stages["prepare"],
        "encode": e.stages["encode"],
        "decide": e.stages["decide"],
        "learn": e.stages["learn"],
        "a prediction, in all": e.predict,
        "a lesson, in all": e.lesson,
    }
    for name, p in rows.items():
        line(f"{name:<24}" + "".join(f"{getattr(p, column):>10.3f}" for column in _COLUMNS))
    line(f"a lesson takes {e.lesson_over_predict:.2f} times a prediction")
    line(f"opening {e.load_ms:.0f} ms, first prediction {e.first_ms:.0f} ms")
