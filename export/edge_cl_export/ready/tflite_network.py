"""A ready `.tflite` file as an encoder: raw pixels in, one embedding a picture out.

    uint8 (1, h, w, 3) → float → (x - mean) / std → the file's layout → the file, or its part
    up to one tensor → pooling → y / max(‖y‖, ε), if asked → (1, d)

The counterpart of `ready_onnx`. A file whose input is quantised takes pixels as they are: the
p-th step of scale s and zero point z stands for s (p - z), which is a mean of z and a std of
1/s. Such a file is shipped as it is; pooling that is added to it is done in float, and an
embedding that comes out quantised is scaled by the runtime.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge_cl.errors import ExportError, InputError, MissingExtraError
from edge_cl.tflite_file import check_tflite
from edge_cl_export.first_line import first_line
from edge_cl_export.graph.preparation import Pool, Preparation, check_pool
from edge_cl_export.quantise.flatbuffer import constant, name_of, read_flat, type_of, write_flat
from edge_cl_export.quiet import quiet
from edge_cl_export.ready.entry import (
    Layout,
    nearest,
    read_ready,
    ready_layout,
    ready_preparation,
    ready_size,
)
from edge_cl_export.ready.output import pooled_axes
from edge_cl_export.ready.tflite_wrapping import (
    compact,
    in_planes,
    keep_up_to,
    put_behind,
    put_in_front,
)

__all__ = ["ReadyTflite", "open_tflite"]

_BYTES = ("UINT8", "INT8")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyTflite:
    """A wrapped file; see `onnx_network.ReadyOnnx`.

    model : bytes (1, h, w, 3) in; (1, d) float32 out, or quantised where the file's own was.
    """

    name: str
    preparation: Preparation
    model: bytes
    precision: Literal["fp32", "fp16", "int8"]
    d: int
    sha256: str
    assumed: tuple[str, ...]


def open_tflite(
    path: Path,
    *,
    layer: str | None = None,
    size: tuple[int, int] | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    pool: Pool = "mean",
    l2: bool = False,
    layout: Layout | None = None,
) -> ReadyTflite:
    """Return the network in the file at `path`, wrapped.

    The parameters are those of `onnx_network.open_onnx`; mean and std are not for quantised inputs.

    Raises
    ------
    InputError : no TFLite file, no such tensor, or options that contradict the file.
    ExportError : several inputs, several outputs, another type, or the file does not run.
    BundleError : custom operators, or data in other files.
    """
    check_pool(pool)
    blob = read_ready(path, ".tflite")
    where = path.name
    if blob[4:8] != b"TFL3":
        raise InputError(f"{where} is not a TFLite file")
    check_tflite(blob, where)
    model = _read(blob, where)
    graph = model.subgraphs[0]
    entry = _entry(graph, where)
    dims = _open_sides(graph, entry, where)
    target = _target(graph, layer, where)
    keep_up_to(graph, target)
    placed, assumed = ready_layout(dims, layout, where)
    bytes_in = type_of(entry) in _BYTES
    sides = ready_size(dims, placed, size, where)
    pixels = _pixels(entry) if bytes_in else None
    preparation, more = ready_preparation(sides, mean, std, pixels, where)
    shape = tuple(int(side) for side in graph.tensors[target].shape)
    planes = in_planes(model, target, placed)
    axes = pooled_axes(shape, pool, planes, where)
    if len(shape) == 4 and pool in ("mean", "max"):
        more.append(f"the feature map is {'NCHW' if planes else 'NHWC'}")
    put_in_front(model, preparation, placed, bytes_in=bytes_in)
    d = put_behind(model, pool, axes, l2=l2)
    precision = _precision(model)
    compact(model)
    made = write_flat(model)
    check_tflite(made, where)
    _try(made, d, where)
    return ReadyTflite(
        name=path.stem.replace("_", "-").lower(),
        preparation=preparation,
        model=made,
        precision=precision,
        d=d,
        sha256=hashlib.sha256(blob).hexdigest(),
        assumed=(*assumed, *more),
    )


def _read(blob: bytes, where: str) -> Any:
    try:
        return read_flat(blob)
    except ExportError as error:
        raise ExportError(f"{where}: {error}") from error
    except MissingExtraError:
        raise
    except Exception as error:  # a damaged file leads the reader anywhere
        raise InputError(f"{where} is a damaged TFLite file: {first_line(error)}") from error


def _entry(graph: Any, where: str) -> Any:
    inputs = [graph.tensors[i] for i in graph.inputs]
    if len(inputs) != 1:
        names = ", ".join(name_of(tensor) for tensor in inputs) or "none"
        raise ExportError(
            f"{where} has {len(inputs)} inputs ({names}), expected one picture",
            hint="convert it again with the picture as its only input",
        )
    if type_of(inputs[0]) not in ("FLOAT32", *_BYTES):
        raise ExportError(
            f"{where} takes {type_of(inputs[0]).lower()}, expected float32, uint8 or int8",
            hint="convert it again with a float32 input",
        )
    return inputs[0]


def _open_sides(graph: Any, entry: Any, where: str) -> list[int | None]:
    """Return the shape of the input, and fix the number of pictures to one where it is open."""
    shape = [] if entry.shape is None else [int(side) for side in entry.shape]
    signature = shape if entry.shapeSignature is None else entry.shapeSignature.tolist()
    if -1 in signature[1:]:
        raise ExportError(
            f"{where} takes pictures of any size", hint="convert it again for pictures of one size"
        )
    if shape and shape[0] != 1:
        raise ExportError(
            f"{where} takes {shape[0]} pictures at a time, expected one",
            hint="convert it again for one picture",
        )
    for tensor in graph.tensors:
        tensor.shapeSignature = None
    return list(shape)


def _target(graph: Any, layer: str | None, where: str) -> int:
    """Return the index of the tensor that is the output."""
    outputs = [int(i) for i in graph.outputs]
    if layer is None:
        if len(outputs) != 1:
            shown = ", ".join(name_of(graph.tensors[i]) for i in outputs)
            raise ExportError(
                f"{where} has {len(outputs)} outputs ({shown}), expected one",
                hint="name one, or any tensor, by --layer NAME",
            )
        return outputs[0]
    made = [int(i) for op in graph.operators for i in op.outputs]
    names = {name_of(graph.tensors[i]): i for i in made}
    if layer not in names:
        raise InputError(f"{where} has no tensor {layer!r}", hint=nearest(layer, list(names)))
    return names[layer]


def _pixels(entry: Any) -> tuple[float, float]:
    """Return mean and std of the pixels that a quantised input stands for."""
    grid = entry.quantization
    if grid is None or grid.scale is None or not len(grid.scale):
        return 0.0, 1.0
    lowest = 128 if type_of(entry) == "INT8" else 0
    return float(grid.zeroPoint[0]) + lowest, 1.0 / float(grid.scale[0])


def _precision(model: Any) -> Literal["fp32", "fp16", "int8"]:
    graph = model.subgraphs[0]
    read = {int(i) for op in graph.operators for i in op.inputs if i >= 0}
    kinds = {type_of(graph.tensors[i]) for i in read if constant(model, i) is not None}
    if kinds & {"INT8", "UINT8"}:
        return "int8"
    return "fp16" if "FLOAT16" in kinds else "fp32"


def _try(made: bytes, d: int, where: str) -> None:
    """Run the network once on a black picture."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingExtraError("a ready .tflite file", "export") from error
    try:
        with quiet():
            interpreter = Interpreter(model_content=made, num_threads=1)
            interpreter.allocate_tensors()
            entry = interpreter.get_input_details()[0]
            interpreter.set_tensor(entry["index"], np.zeros(entry["shape"], entry["dtype"]))
            interpreter.invoke()
            output = interpreter.get_output_details()[0]
            shape = tuple(interpreter.get_tensor(output["index"]).shape)
    except Exception as error:
        raise ExportError(f"{where} does not run: {first_line(error)}") from error
    if shape != (1, d):
        raise ExportError(f"{where} gives features of shape {shape}, expected (1, {d})")
