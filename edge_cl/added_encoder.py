"""A bundle with one encoder more: a file that an NPU vendor's compiler made of the same network.

Such a file cannot be made here, nor tried where it is added: the vendor's tools run on a
workstation, and the file runs on the board. What is checked is its kind. Whether it gives the
features of the bundle is found on the board, by the bundle's own inputs: when it is first loaded
(`edge_cl.encoders.canary`), and by `edge-cl verify`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

import msgspec

from edge_cl.bundle import Bundle
from edge_cl.errors import InputError
from edge_cl.manifest import EncoderSpec, Manifest
from edge_cl.npu_file import check_npu_file
from edge_cl.tflite_file import check_tflite

__all__ = ["with_encoder"]

_KINDS = {".rknn": "rknn", ".hef": "hailo", ".tflite": "litert"}
_EDGETPU = "edgetpu"


def with_encoder(
    bundle: Bundle,
    blob: bytes,
    name: str,
    *,
    precision: str = "int8",
    input_name: str = "",
    output_name: str = "",
) -> tuple[Manifest, Mapping[str, bytes]]:
    """Return manifest and members of `bundle` with the encoder `blob` besides.

    Parameters
    ----------
    name : of the file: `.rknn`, `.hef`, or a `.tflite` compiled for the Edge TPU.
    precision : what it computes in: "int8", "fp16" or "fp32".
    input_name, output_name : of a `.hef` with several; empty: it has one of each.

    Raises
    ------
    InputError : a file or a precision of another kind, a bundle that does not take pictures, or
        one that has such an encoder.
    BundleError : the file is not what its name says.
    """
    suffix = PurePath(name).suffix
    if suffix not in _KINDS:
        raise InputError(
            f"expected a file .rknn, .hef, or .tflite for the Edge TPU, got {name}",
            hint="networks for CPUs come from edge-cl export, which proves them",
        )
    if precision not in ("int8", "fp16", "fp32"):
        raise InputError(f"expected a precision of int8, fp16 or fp32, got {precision!r}")
    if bundle.manifest.input.kind != "image":
        raise InputError(f"{bundle.name} takes vectors: expected a bundle that takes pictures")
    runtime, only_on = _KINDS[suffix], ""
    if runtime == "litert":
        check_tflite(blob, name, custom=_EDGETPU)
        only_on = _EDGETPU
    else:
        check_npu_file(blob, suffix, name)
    made_for = only_on or runtime
    if any((e.accelerator or e.runtime) == made_for for e in bundle.manifest.encoders):
        raise InputError(f"{bundle.name} has an encoder for {made_for} already")
    spec = msgspec.convert(
        {
            "member": f"encoder-{made_for}-{precision}{suffix}",
            "runtime": runtime,
            "precision": precision,
            "recipe": f"added: {PurePath(name).name}",
            "input_name": input_name,
            "output_name": output_name,
            **({"only_on": only_on} if only_on else {}),
        },
        EncoderSpec,
    )
    encoders = (*bundle.manifest.encoders, spec)
    manifest = msgspec.structs.replace(bundle.manifest, encoders=encoders, members={})
    return manifest, {**bundle.files, spec.member: blob}
