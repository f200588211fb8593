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
Head = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="ridge, lda, ncm or ncm-euclidean  [default: the state's own, else ridge]",
    ),
]
FeatureMapName = Annotated[
    str | None,
    typer.Option(
        "--map",
        metavar="NAME",
        help="identity, l2, power[:BETA] or random-relu[:M], between encoder and head; "
        "fixed once learned",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A published method, for a head and a map: acil, g-acil, ranpac, nmc-janson, fsa "
        "or simplecil",
    ),
]
Runtime = Annotated[
    str | None, typer.Option(metavar="NAME", help="onnx or litert  [default: what runs here]")
]
Precision = Annotated[
    str | None, typer.Option(metavar="NAME", help="int8, fp16 or fp32  [default: the fastest]")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Of the encoder  [default: all cores, at most 4]")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Report what cannot be used, and go on without it")
]
Every = Annotated[int, typer.Option(min=1, metavar="N", help="Of a video, take each N-th frame")]
