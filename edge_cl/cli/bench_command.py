"""`edge-cl bench`: how long a picture takes on this machine, stage by stage."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.bench_lines import print_comparison, print_report
from edge_cl.cli.opening import bundle_at
from edge_cl.cli.output import json_line, line, note
from edge_cl.cli.progress import shares
from edge_cl.cli.usage import UsageError

if TYPE_CHECKING:
    from edge_cl.bench import Comparison

EXAMPLES = """
  edge-cl bench
  edge-cl bench --bundle all.edgecl --threads 2 --out pi5.json
  edge-cl bench --mlperf                              ten minutes an encoder, as MLPerf asks for
  edge-cl bench --sustained 30m --plot heat.png       does the board keep its pace?
  edge-cl bench --check pi5.json --tolerance encode=5%     exit code 3 where it has become worse
"""
REPORT_EXAMPLES = """
  edge-cl bench report pi4.json pi5.json > boards.md
  edge-cl bench report *.json --plot boards.png
"""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}

Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Draw it (.png, .svg, .pdf); needs edge-cl[plot]"),
]


def bench(
    context: typer.Context,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    head: Annotated[
        str, typer.Option(metavar="NAME", help="ridge, lda, ncm ... (edge-cl heads lists them)")
    ] = "ridge",
    feature_map: Annotated[
        str, typer.Option("--map", metavar="NAME", help="identity, l2, power, random-relu ...")
    ] = "identity",
    classes: Annotated[int, typer.Option(min=2, help="Classes the head knows")] = 100,
    seconds: Annotated[
        float,
        typer.Option(
            min=0, max=86400, help="An encoder's predictions and lessons go on for as long"
        ),
    ] = 10.0,
    repetitions: Annotated[
        int, typer.Option(min=20, help="And for as many of both; 64 give a bound of the p90")
    ] = 64,
    mlperf: Annotated[
        bool, typer.Option("--mlperf", help="MLPerf's full duration: 600 s and 1024 predictions")
    ] = False,
    sustained: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="For so long (90s, 30m, 2h), with latency and sensors over time"
        ),
    ] = None,
    plot: Plot = None,
    check: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Compare with an earlier result of --out"),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIGURE=SIZE",
            help="How much worse a figure may be: encode=5%, rss=10MB; repeat for more",
        ),
    ] = None,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Without --check: exit with 0 though the run is not valid"),
    ] = False,
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="Of the encoder")] = 1,
    runtime: options.Runtime = None,
    precision: options.Precision = None,
    accelerator: options.Accelerator = None,
    cores: options.Cores = None,
    strict: options.Strict = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the result there, as JSON")
    ] = None,
    as_json: options.Json = False,
) -> int:
    """Time a picture on this machine, stage by stage.

    Every encoder of the bundle that can run here is timed. Pictures of 640 x 480 come one
    after the other. A lesson and a prediction are timed in turn, so their ratio holds even
    where the machine's speed drifts. Lessons go to a state below the current folder, which is
    removed afterwards.

    A run during which the board was throttled, short of voltage or on a powersave governor is
    not valid: it says so, and exits with 3.
    """
    if context.invoked_subcommand is not None:
        return 0
    if plot is not None and sustained is None:
        raise UsageError("--plot draws a run over time: give --sustained TIME too")
    if sustained is not None and mlperf:
        raise UsageError("--mlperf and --sustained each say how long: give one of them")
    if tolerance and check is None:
        raise UsageError("--tolerance is for --check FILE")

    import msgspec

    from edge_cl.assets import shipped_bundle
    from edge_cl.bench import (
        MLPERF,
        compare,
        read_report,
        refuse_other,
        tolerance_named,
        write_report,
    )
    from edge_cl.bench import bench as measure
    from edge_cl.bench.pictures import draw_sustained
    from edge_cl.device import describe_machine
    from edge_cl.errors import StorageError
    from edge_cl.picture_file import require_plot

    if mlperf:
        seconds, repetitions = MLPERF
    elif sustained is not None:
        seconds = _seconds(sustained)
    if plot is not None:
        require_plot(plot)
    if out is not None and out.is_dir():
        raise StorageError(f"cannot write {out}: it is a folder")
    if out is not None and not out.parent.is_dir():  # before anything is measured
        raise StorageError(f"cannot write {out}: there is no folder {out.parent}")
    before = read_report(check) if check is not None else None
    tolerances = dict(tolerance_named(text) for text in tolerance or ())
    opened = bundle_at(bundle or shipped_bundle(), require_signature)
    if before is not None:  # before anything is measured
        refuse_other(before, describe_machine(), opened)
    with shares() as progress:
        report = measure(
            opened,
            head=head,
            feature_map=feature_map,
            classes=classes,
            seconds=seconds,
            repetitions=repetitions,
            sustained=sustained is not None,
            threads=threads,
            runtime=runtime,
            precision=precision,
            accelerator=accelerator,
            cores=cores,
            strict=strict,
            progress=progress,
        )
    if out is not None:
        write_report(report, out)
    if plot is not None:
        draw_sustained(report, plot)
    if not as_json:
        print_report(report, Path(bundle).name if bundle else "the encoder that ships with edge-cl")
    for text in report.notes:
        note(f"note: {text}")
    for reason in report.invalid_because:
        note(f"NOT VALID: {reason}")
    rows: tuple[Comparison, ...] = ()
    told = msgspec.to_builtins(report)
    try:
        if before is not None and report.valid:
            rows = compare(report, before, tolerances)
            told["check"] = msgspec.to_builtins(rows)
    finally:  # what was measured is told, whether or not it can be compared
        if as_json:
            json_line(told)
    if rows and not as_json:
        print_comparison(rows)
    failed = not report.valid and (before is not None or not anyway)
    return 3 if failed or any(row.worse for row in rows) else 0


def report(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", show_default=False, help="Results of --out"),
    ],
    plot: Plot = None,
    as_json: options.Json = False,
) -> None:
    """Show several results as one table, in markdown."""
    from edge_cl.bench import markdown_table, read_report
    from edge_cl.bench.figures import FIGURES
    from edge_cl.bench.pictures import draw_report
    from edge_cl.picture_file import require_plot

    if plot is not None:
        require_plot(plot)
    reports = {str(path): read_report(path) for path in files}
    if plot is not None:
        draw_report(reports, plot)
    if not as_json:
        for text in markdown_table(reports).splitlines():
            line(text)
        return
    for name, found in reports.items():
        for encoder in found.encoders:
            figures = {key: figure.value(encoder) for key, figure in FIGURES.items()}
            json_line(
                {"file": name, "encoder": encoder.name, "valid": found.valid, "figures": figures}
            )


def _seconds(text: str) -> float:
    """Parse a time as people write it: 90s, 30m, 2h."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh])", text)
    if not found:
        raise UsageError(f"expected a time like 90s, 30m or 2h, got {text!r}")
    return float(found[1]) * _UNITS[found[2]]
