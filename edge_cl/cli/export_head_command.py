"""`edge-cl export-head`: what was learned, as a file for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.opening import require_state
from edge_cl.cli.output import json_line, pairs
from edge_cl.cli.progress import shares

EXAMPLES = """
  edge-cl export-head --out head.onnx                    features in, scores out
  edge-cl export-head --out all.onnx --with-encoder      a picture in, scores out
  edge-cl export-head shed-state --out head.tflite --head lda
  edge-cl export-head --out two.onnx --among mug --among cup
"""


def export_head(
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE", show_default=False, help="The file: its name ends in .onnx or .tflite"
        ),
    ],
    state: Annotated[
        Path,
        typer.Argument(
            metavar="[STATE]", envvar="EDGE_CL_STATE", help="Folder that holds what was learned"
        ),
    ] = options.DEFAULT_STATE,
    with_encoder: Annotated[
        bool,
        typer.Option("--with-encoder", help="Put the encoder in front: a picture in, scores out"),
    ] = False,
    head: options.Head = None,
    among: options.Among = None,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Write the taught head as one ONNX or TFLite file, so that it runs anywhere.

    Features, or with --with-encoder a prepared picture, go in; one score for each class comes
    out. The names of the classes, in that order, stand in the file. Its scores are compared with
    those of the learner: where they differ by more than a hundred thousandth of their size,
    nothing is written, exit 3. Only reads the state.
    """
    from edge_cl_export.head import export_head as written

    require_state(state)
    with shares() as progress:
        made = written(
            state,
            out,
            with_encoder=with_encoder,
            head=head,
            among=among or None,
            bundle=bundle,
            require_signature=require_signature,
            progress=progress,
        )
    if as_json:
        from dataclasses import asdict

        json_line({**asdict(made), "path": str(made.path)})
        return
    pairs(
        [
            ("head", f"{made.path} ({made.size_bytes / 1e6:.2f} MB, {made.format})"),
            ("kind", f"{made.head}, map {made.map}"),
            ("input", made.input),
            ("scores of", ", ".join(made.labels)),
            ("compared", f"{made.compared} rows, largest difference {made.difference:.1e}"),
        ]
    )
