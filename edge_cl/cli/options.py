"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STATE = Path("edge-cl-state")

State = Annotated[
    Path,
    typer.Option(
        "--state", metavar="DIR", envvar="EDGE_CL_STATE", help="Folder that holds what was learned"
    ),
]
BundleFile = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        metavar="FILE",
        help="Encoder to use  [default: the state's own, else the one that ships with edge-cl]",
    ),
]
Shipped = Annotated[
    Path | None,
    typer.Argument(
        metavar="[BUNDLE]",
        show_default=False,
        help="An .edgecl file  [default: the one that ships with edge-cl]",
    ),
]
RequireSignature = Annotated[
    Path | None,
    typer.Option(
        "--require-signature",
        metavar="KEY",
        envvar="EDGE_CL_REQUIRE_SIGNATURE",
        help="Public key (PEM): take only a bundle that its owner signed",
    ),
]
Head = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="ridge, lda, ncm ... (edge-cl heads lists them), or auto: the best of three, as "
        "found while learning  [default: the state's own, else ridge]",
    ),
]
Compare = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Another head to compare: edge-cl status shows how each would have answered; repeat "
        "for more  [default: those of the state]",
    ),
]
Among = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LABEL", help="Only this class can be meant; repeat for more  [default: all]"
    ),
]
Smooth = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=0.99,
        metavar="DECAY",
        help="Average answers over time: 0.8 is about the last five samples",
    ),
]
FeatureMapName = Annotated[
    str | None,
    typer.Option(
        "--map",
        metavar="NAME",
        help="identity, l2, power ... (edge-cl heads lists them), between encoder and head; "
        "fixed once learned",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A published method, for a head and a map: acil, ranpac ... (edge-cl heads lists "
        "them)",
    ),
]
Forgetting = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        help="everything stays; halve:N, old samples weigh half after each N; window:N, the newest "
        "N count; fixed once learned  [default: everything]",
    ),
]
Runtime = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="onnx, litert, rknn or hailo  [default: what runs here]"),
]
Precision = Annotated[
    str | None, typer.Option(metavar="NAME", help="int8, fp16 or fp32  [default: the fastest]")
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Of the encoder  [default: as edge-cl tune chose, else all cores, at most 4]",
    ),
]
Accelerator = Annotated[
    str | None,
    typer.Option(
        "--accelerator",
        metavar="NAME",
        help="What the encoder runs on: cpu, xnnpack, qnn, tensorrt, edgetpu ... or delegate:PATH; "
        "edge-cl status shows which part of it does  [default: cpu]",
    ),
]
Cores = Annotated[
    str | None,
    typer.Option(
        "--cores",
        metavar="CORES",
        help="That the encoder's threads are kept on: big, all, or numbers as in 0,2-3  "
        "[default: wherever the system puts them]",
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="An error where any part of the encoder does not run on --accelerator"
    ),
]
Durability = Annotated[
    str,
    typer.Option(
        metavar="WHEN",
        help="When a lesson is on disk: lesson, before it is shown; group:N, with each N-th; save, "
        "with --autosave and at the end",
    ),
]
Archive = Annotated[
    bool,
    typer.Option(
        "--archive",
        help="Keep the features of every sample from now on, so that any lesson or class can be "
        "forgotten; the state grows with each",
    ),
]
Thumbnails = Annotated[
    bool,
    typer.Option(
        "--thumbnails", help="Keep a small picture of each of the newest lessons, to look through"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Report what cannot be used, and go on without it")
]
Every = Annotated[int, typer.Option(min=1, metavar="N", help="Of a video, take each N-th frame")]
