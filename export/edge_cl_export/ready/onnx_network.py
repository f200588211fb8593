"""A ready `.onnx` file as an encoder: raw pixels in, one embedding a picture out.

    uint8 (n, h, w, 3) → float → (x - mean) / std → the file's layout → the file, or its part
    up to one tensor → pooling → y / max(‖y‖, ε), if asked → float32 (n, d)               (1)

A file says little about what it expects. What was taken for granted stands in `assumed`, to be
shown. A file with an older operator set is brought to the exporter's, and gives what it gave
before; a newer one stays, since what new operators do cannot always be said in old ones. A
quantised file is shipped as it is, and only wrapped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edge_cl.errors import BundleError, EdgeCLError, ExportError, InputError
from edge_cl.onnx_file import check_onnx
from edge_cl_export.first_line import first_line
from edge_cl_export.graph.preparation import Pool, Preparation, check_pool
from edge_cl_export.graph.to_onnx import INPUT, OUTPUT
from edge_cl_export.quiet import quiet
from edge_cl_export.ready.entry import (
    Layout,
    nearest,
    read_ready,
    ready_layout,
    ready_preparation,
    ready_size,
)
from edge_cl_export.ready.onnx_upgrade import run_onnx, upgraded
from edge_cl_export.ready.onnx_wrapping import (
    free_names,
    in_planes,
    put_behind,
    put_in_front,
    typed,
)

__all__ = ["ReadyOnnx", "open_onnx"]

_QUANTISED = ("QLinear", "QuantizeLinear", "DequantizeLinear", "Integer", "DynamicQuantize")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyOnnx:
    """A wrapped file.

    Attributes
    ----------
    name : of the file, without its suffix.
    model : uint8 (n, h, w, 3) `image` in, float32 (n, d) `embedding` out; one file.
    precision : of what was in the file.
    any_batch : whether n is free; else it is 1.
    sha256 : of the file that was read.
    assumed : what the file does not say, a line each.
    """

    name: str
    preparation: Preparation
    model: onnx.ModelProto
    precision: Literal["fp32", "fp16", "int8"]
    any_batch: bool
    d: int
    sha256: str
    assumed: tuple[str, ...]


def open_onnx(
    path: Path,
    *,
    layer: str | None = None,
    size: tuple[int, int] | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    pool: Pool = "mean",
    l2: bool = False,
    layout: Layout | None = None,
) -> ReadyOnnx:
    """Return the network in the file at `path`, wrapped.

    Parameters
    ----------
    layer : name of a tensor that is taken as the output; what comes after it is left out.
    size : (height, width); needed where the file leaves it open.
    mean, std : a value a channel in pixel units; None: ImageNet's. Not for uint8 inputs.
    pool, l2 : see `embedding.Embedding`.
    layout : of the file's input; None: by the place of its 3 channels.

    Raises
    ------
    InputError : no ONNX file, no such tensor, or options that contradict the file.
    ExportError : several inputs, several outputs, another type, or the file does not run.
    BundleError : operators that not every ONNX Runtime has.
    """
    check_pool(pool)
    blob = read_ready(path, ".onnx")
    where = path.name
    model = _load(path, blob)
    entry = _entry(model.graph, where)
    _keep_up_to(model.graph, _target(model.graph, layer, where))
    placed, assumed = ready_layout(entry.dims, layout, where)
    bytes_in = entry.kind == TensorProto.UINT8
    sides = ready_size(entry.dims, placed, size, where)
    pixels = (0.0, 1.0) if bytes_in else None
    preparation, more = ready_preparation(sides, mean, std, pixels, where)
    model = upgraded(model, (1, 3, *sides) if placed == "NCHW" else (1, *sides, 3), where)
    prefix = free_names(model)
    graph = model.graph
    target = graph.output[0].name
    put_in_front(graph, prefix + entry.name, preparation, placed, bytes_in)
    features, any_batch = _try(model, preparation.size, entry.dims, where)
    planes = in_planes(graph, target, placed)
    if features.ndim == 4 and pool in ("mean", "max"):
        more.append(f"the feature map is {'NCHW' if planes else 'NHWC'}")
    d = put_behind(graph, target, features, pool, planes, l2, where)
    batch = "n" if any_batch else 1
    del graph.input[:], graph.output[:]
    graph.input.append(typed(INPUT, TensorProto.UINT8, [batch, *preparation.size, 3]))
    graph.output.append(typed(OUTPUT, TensorProto.FLOAT, [batch, d]))
    return ReadyOnnx(
        name=path.stem.replace("_", "-").lower(),
        preparation=preparation,
        model=_finished(model, where),
        precision=_precision(graph),
        any_batch=any_batch,
        d=d,
        sha256=hashlib.sha256(blob).hexdigest(),
        assumed=(*assumed, *more),
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """The one input: its name, its type, and its shape with None where it is open."""

    name: str
    kind: int
    dims: list[int | None]


def _load(path: Path, blob: bytes) -> onnx.ModelProto:
    """Return the model with its weights inside, wherever in its folder they lay."""
    try:
        model = onnx.load_from_string(blob)
        onnx.load_external_data_for_model(model, str(path.parent))
        check_onnx(model.SerializeToString(), path.name)
    except BundleError:
        raise
    except Exception as error:
        raise InputError(f"{path.name} is not an ONNX file: {first_line(error)}") from error
    if not model.graph.node:
        raise InputError(f"{path.name} is not an ONNX file, or has no operator")
    return model


def _entry(graph: onnx.GraphProto, where: str) -> _Entry:
    constants = {tensor.name for tensor in graph.initializer}
    entries = [value for value in graph.input if value.name not in constants]
    if len(entries) != 1:
        names = ", ".join(value.name for value in entries) or "none"
        raise ExportError(
            f"{where} has {len(entries)} inputs ({names}), expected one picture",
            hint="export it again with the picture as its only input",
        )
    kind = entries[0].type.tensor_type.elem_type
    dims = [d.dim_value or None for d in entries[0].type.tensor_type.shape.dim]
    if kind not in (TensorProto.FLOAT, TensorProto.UINT8):
        raise ExportError(
            f"{where} takes {TensorProto.DataType.Name(kind).lower()}, expected float or uint8",
            hint="export it again with a float32 input",
        )
    if dims and dims[0] not in (None, 1):
        raise ExportError(
            f"{where} takes {dims[0]} pictures at a time, expected one or any number",
            hint="export it again for one picture",
        )
    return _Entry(entries[0].name, kind, dims)


def _target(graph: onnx.GraphProto, layer: str | None, where: str) -> str:
    """Return the name of the tensor that is the output."""
    if layer is None:
        outputs = [value.name for value in graph.output]
        if len(outputs) != 1:
            raise ExportError(
                f"{where} has {len(outputs)} outputs ({', '.join(outputs)}), expected one",
                hint="name one, or any tensor, by --layer NAME",
            )
        return str(outputs[0])
    names = [name for node in graph.node for name in node.output if name]
    if layer not in names:
        raise InputError(f"{where} has no tensor {layer!r}", hint=nearest(layer, names))
    return layer


def _keep_up_to(graph: onnx.GraphProto, target: str) -> None:
    """Leave out every node, weight and output that `target` does not depend on."""
    wanted = {target}
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(_read_by(node))
    weights = [t for t in graph.initializer if t.name in wanted]
    kept.reverse()
    del graph.node[:], graph.initializer[:], graph.output[:], graph.value_info[:]
    del graph.quantization_annotation[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)
    graph.output.append(helper.make_empty_tensor_value_info(target))


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors that a node reads, those of the graphs inside it included."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            for part in inner.node:
                yield from _read_by(part)
            yield from (value.name for value in inner.output)


def _try(
    model: onnx.ModelProto, size: tuple[int, int], dims: list[int | None], where: str
) -> tuple[NDArray[Any], bool]:
    """Run what is wrapped so far; return features of one picture, and whether two go in too."""
    picture = np.zeros((2, *size, 3), np.uint8)
    try:
        alone = run_onnx(model, picture[:1])
    except EdgeCLError:
        raise
    except Exception as error:
        raise ExportError(
            f"{where} does not run for pictures of {size[0]}x{size[1]}: {first_line(error)}",
            hint="check --input-size and --layout",
        ) from error
    if dims and dims[0] == 1:
        return alone, False
    try:
        both = run_onnx(model, picture)
    except Exception:  # noqa: BLE001  a shape inside is fixed: then it is for one picture
        return alone, False
    return alone, both.shape == (2, *alone.shape[1:])


def _precision(graph: onnx.GraphProto) -> Literal["fp32", "fp16", "int8"]:
    if any(kind in node.op_type for node in graph.node for kind in _QUANTISED):
        return "int8"
    half = any(tensor.data_type == TensorProto.FLOAT16 for tensor in graph.initializer)
    return "fp16" if half else "fp32"


def _finished(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Return the model checked, with shapes, and without notes of who made it and where."""
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del holder.metadata_props[:]
        holder.doc_string = ""
    del model.training_info[:], graph.value_info[:]
    graph.name, model.domain, model.model_version = "main_graph", "", 0
    model.producer_name, model.producer_version = "edge-cl", ""
    try:
        with quiet():
            made = onnx.shape_inference.infer_shapes(model)
            onnx.checker.check_model(made)
    except Exception as error:
        raise ExportError(f"{where} is not a valid network: {first_line(error)}") from error
    check_onnx(made.SerializeToString(), where)
    return made
