"""The oldest runtime that can load an encoder file, read off the file.

ONNX Runtime of one release knows opsets and IR versions up to a newest one: table (1), from
its documentation, reference/compatibility.md. Later releases know at least as much.

A `.tflite` file names the version of each kind of operator, and LiteRT's sources say with which
release of TensorFlow Lite each came (tflite/converter/tools/versioning/runtime_version.cc):
table (2), for what came after `FLOOR`. The quantiser raises no version, so what an operator got
with its 8-bit form is looked at as well: table (3).
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from edge_cl_export.quantise.flatbuffer import code_of, kind_of, read_flat, type_of

__all__ = ["Requirement", "oldest_onnxruntime", "oldest_tflite", "parts"]

# ONNX Runtime → newest opset, newest IR version
_ONNXRUNTIME = {  # (1)
    "1.10": (15, 8),
    "1.11": (16, 8),
    "1.12": (17, 8),
    "1.14": (18, 8),
    "1.15": (19, 8),
    "1.16": (19, 9),
    "1.17": (20, 9),
    "1.18": (21, 10),
}
FLOOR = "2.6"  # everything that is in no table below

# kind → the first version of it that came after FLOOR, and with what; ascending
_TFLITE: dict[str, tuple[tuple[int, str], ...]] = {  # (2)
    "ABS": ((5, "2.12"),),
    "ADD": ((5, "2.13"), (6, "2.23")),
    "ARG_MAX": ((3, "2.9"),),
    "ARG_MIN": ((3, "2.9"),),
    "ATAN2": ((1, "2.10"),),
    "BATCH_TO_SPACE_ND": ((4, "2.12"),),
    "BITCAST": ((1, "2.13"),),
    "BITWISE_XOR": ((1, "2.13"),),
    "BUCKETIZE": ((1, "2.8"),),
    "CAST": ((2, "2.7"), (3, "2.8"), (4, "2.9"), (5, "2.12"), (6, "2.15"), (7, "2.17"),
             (8, "2.21")),
    "CONCATENATION": ((4, "2.14"), (5, "2.21"), (6, "2.23")),
    "CONV_2D": ((6, "2.9"), (7, "2.11"), (8, "2.15")),
    "COS": ((2, "2.23"),),
    "DEPTHWISE_CONV_2D": ((7, "2.11"),),
    "DEQUANTIZE": ((5, "2.7"), (6, "2.18"), (7, "2.21"), (8, "2.22")),
    "DILATE": ((1, "2.15"),),
    "DYNAMIC_UPDATE_SLICE": ((1, "2.9"), (2, "2.17"), (3, "2.19"), (4, "2.20"), (5, "2.21"),
                             (6, "2.22")),
    "EMBEDDING_LOOKUP": ((4, "2.18"), (5, "2.21")),
    "EQUAL": ((4, "2.13"), (5, "2.21")),
    "EXP": ((2, "2.12"),),
    "FILL": ((4, "2.12"),),
    "FLOOR_DIV": ((3, "2.13"),),
    "FLOOR_MOD": ((2, "2.13"),),
    "FULLY_CONNECTED": ((10, "2.11"), (11, "2.15"), (12, "2.17"), (13, "2.18"), (14, "2.21")),
    "GATHER": ((6, "2.13"), (7, "2.15")),
    "GATHER_ND": ((4, "2.13"), (5, "2.16")),
    "GELU": ((1, "2.9"),),
    "GREATER_EQUAL": ((3, "2.13"),),
    "LESS": ((3, "2.13"),),
    "LOG": ((2, "2.15"),),
    "MIRROR_PAD": ((3, "2.12"),),
    "MUL": ((6, "2.11"), (7, "2.13"), (8, "2.23")),
    "NOT_EQUAL": ((4, "2.21"),),
    "PACK": ((4, "2.13"),),
    "PAD": ((5, "2.20"),),
    "PADV2": ((5, "2.20"),),
    "QUANTIZE": ((3, "2.7"), (4, "2.21")),
    "RANGE": ((2, "2.14"),),
    "REDUCE_WINDOW": ((1, "2.15"),),
    "RELU_0_TO_1": ((1, "2.10"),),
    "RIGHT_SHIFT": ((1, "2.13"),),
    "RSQRT": ((3, "2.15"),),
    "SELECT": ((3, "2.12"),),
    "SELECT_V2": ((2, "2.12"),),
    "SIGN": ((1, "2.11"), (2, "2.12")),
    "SIN": ((2, "2.23"),),
    "SLICE": ((6, "2.14"), (7, "2.21"), (8, "2.23")),
    "SOFTMAX": ((4, "2.23"),),
    "SPACE_TO_BATCH_ND": ((4, "2.12"),),
    "SQRT": ((2, "2.21"),),
    "STABLEHLO_COMPOSITE": ((1, "2.17"),),
    "STRIDED_SLICE": ((7, "2.14"),),
    "TILE": ((3, "2.8"),),
    "TOPK_V2": ((3, "2.13"),),
    "TRANSPOSE": ((6, "2.12"), (7, "2.14.4"), (8, "2.22"), (9, "2.23")),
    "TRANSPOSE_CONV": ((4, "2.13"), (5, "2.15")),
    "UNPACK": ((5, "2.22"),),
}  # fmt: skip
_INT8 = {"EXP": "2.12", "LOG": "2.15", "SQRT": "2.21"}  # (3)
_CHANNELS = "2.17"  # a matrix product whose 8-bit weights have a scale a channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """The oldest release that will do, and what asks for it.

    release : as "1.18"; None: nothing is known to do.
    """

    release: str | None
    because: str


def oldest_onnxruntime(model: onnx.ModelProto) -> Requirement:
    """Return the oldest ONNX Runtime that loads `model`."""
    foreign = next((n for n in model.graph.node if n.domain not in ("", "ai.onnx")), None)
    if foreign is not None:
        return Requirement(
            release=None, because=f"the operator {foreign.domain}::{foreign.op_type}"
        )
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    for release, (newest_opset, newest_ir) in _ONNXRUNTIME.items():
        if opset <= newest_opset and model.ir_version <= newest_ir:
            return Requirement(release=release, because=f"opset {opset}, IR {model.ir_version}")
    return Requirement(release=None, because=f"opset {opset}, IR {model.ir_version}")


def oldest_tflite(blob: bytes) -> Requirement:
    """Return the oldest TensorFlow Lite, by TensorFlow's count, that runs a `.tflite` file."""
    model = read_flat(blob)
    tensors = model.subgraphs[0].tensors
    needed = Requirement(release=FLOOR, because="its operators")
    for operator in model.subgraphs[0].operators:
        kind, version = kind_of(model, operator), code_of(model, operator).version
        reads = [tensors[i] for i in operator.inputs if i >= 0]
        integer = bool(reads) and type_of(reads[0]) in ("INT8", "UINT8")
        found = [(FLOOR, "")]
        if kind == "CUSTOM" or (kind.startswith("STABLEHLO_") and kind not in _TFLITE):
            return Requirement(release=None, because=f"the operator {kind}")
        found += [
            (came, f"{kind} of version {version}")
            for first, came in _TFLITE.get(kind, ())
            if version >= first
        ]
        if integer and kind in _INT8:
            found.append((_INT8[kind], f"{kind} on 8 bits"))
        if integer and kind == "FULLY_CONNECTED" and len(reads) > 1:
            scales = reads[1].quantization.scale if reads[1].quantization else None
            if scales is not None and len(scales) > 1:
                found.append((_CHANNELS, f"{kind} with a scale a channel"))
        release, because = max(found, key=lambda entry: parts(entry[0]))
        if parts(release) > parts(needed.release or FLOOR):
            needed = Requirement(release=release, because=because)
    return needed


def parts(release: str) -> tuple[int, ...]:
    """Return "1.18.1" as (1, 18, 1), to compare; a zero at the end says nothing."""
    numbers = [int(part) for part in release.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
