"""`edge-cl add-encoder`: a bundle with one encoder more, for an NPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.opening import bundle_at
from edge_cl.cli.output import json_line, note, pairs

EXAMPLES = """
  edge-cl add-encoder lite0.edgecl lite0-rk3588.rknn --out lite0-npu.edgecl
  edge-cl add-encoder lite0.edgecl lite0.hef --out lite0-npu.edgecl
  edge-cl add-encoder lite0.edgecl lite0_edgetpu.tflite --out lite0-npu.edgecl
"""


def add_encoder(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", show_default=False, help="An .edgecl file")
    ],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            help="The same network, compiled by the vendor's tools: .rknn, .hef, or .tflite for "
            "the Edge TPU",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The bundle to write")],
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="What FILE computes in: int8, fp16 or fp32")
    ] = "int8",
    input_name: Annotated[
        str, typer.Option("--input", metavar="NAME", help="Of a .hef with several inputs")
    ] = "",
    output_name: Annotated[
        str, typer.Option("--output", metavar="NAME", help="Of a .hef with several outputs")
    ] = "",
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Put a network for an NPU into a bundle, beside those that are in it.

    FILE is not tried here: on the board, edge-cl verify NEW.edgecl compares its features with
    those of the bundle. What edge-cl asks of NPUs was not run on hardware when it was tested.
    """
    from edge_cl.added_encoder import with_encoder
    from edge_cl.bounded_read import read_bounded
    from edge_cl.bundle import open_bundle, write_bundle
    from edge_cl.errors import InputError
    from edge_cl.manifest import MAX_BUNDLE_BYTES

    opened = bundle_at(bundle, require_signature)
    blob = read_bounded(file, MAX_BUNDLE_BYTES, error=InputError)
    manifest, members = with_encoder(
        opened,
        blob,
        str(file),
        precision=precision,
        input_name=input_name,
        output_name=output_name,
    )
    write_bundle(out, manifest, members)
    made, spec = open_bundle(out), manifest.encoders[-1]
    fields = {
        "bundle": str(out),
        "sha256": made.sha256,
        "member": spec.member,
        "accelerator": spec.accelerator or spec.runtime,
    }
    if as_json:
        json_line(fields)
        return
    pairs(fields.items())
    note(f"next, on the board: edge-cl verify {out} --accelerator {fields['accelerator']}")
