"""Which operator of a converted file is which layer of the traced graph.

A layer is known by its weights, not by its place: converters keep the order of a chain, but
nobody promises it for branches, and they add and drop operators. Rows of weights (one an
output channel) are compared by direction,

    |a·b| ≥ (1 - ε) ‖a‖ ‖b‖        ε = `TOLERANCE`                                      (1)

since converters move scale factors into the rows. What a converter changed beyond that (the
division by std, moved into the first convolution) is matched by its shape, in order.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import fx

from edge_cl.arrays import F64
from edge_cl.errors import ExportError
from edge_cl_export.graph.second_moments import weighted_layers
from edge_cl_export.quantise.flatbuffer import constant, kind_of, name_of, read_flat
from edge_cl_export.quantise.integer_share import LITERT_WEIGHTED

__all__ = ["in_litert", "in_onnx", "litert_layers", "onnx_layers"]

TOLERANCE = 1e-4


def in_onnx(graph: fx.GraphModule, model: onnx.ModelProto, layers: Iterable[str]) -> frozenset[str]:
    """Return the names of the ONNX nodes that `layers`, names of fx nodes, became.

    Raises
    ------
    ExportError : a layer has no weights, or is not found in `model`.
    """
    return _chosen(onnx_layers(graph, model), layers, "ONNX")


def in_litert(graph: fx.GraphModule, model: bytes, layers: Iterable[str]) -> frozenset[str]:
    """Return the names of the tensors that the operators of `layers` give in a `.tflite`.

    Raises
    ------
    ExportError : a layer has no weights, or is not found in `model`.
    """
    return _chosen(litert_layers(graph, model), layers, "LiteRT")


def onnx_layers(graph: fx.GraphModule, model: onnx.ModelProto) -> dict[str, str]:
    """Return fx node → ONNX node, of each weighted layer that is found, in the graph's order."""
    constants = {t.name: t for t in model.graph.initializer}
    moved = {n.output[0]: n for n in model.graph.node if n.op_type in ("Transpose", "Identity")}
    found = []
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        source, turned = node.input[1], False
        while source in moved:
            turned ^= moved[source].op_type == "Transpose"
            source = moved[source].input[0]
        if source not in constants:
            continue
        weights = numpy_helper.to_array(constants[source])
        if node.op_type != "Conv":
            rows_first = turned ^ any(a.name == "transB" and a.i for a in node.attribute)
            weights = weights if rows_first else np.swapaxes(weights, -1, -2)
        found.append((node.name, _rows(weights)))
    return _matched(graph, found)


def litert_layers(graph: fx.GraphModule, model: bytes) -> dict[str, str]:
    """Return fx node → name of the tensor its operator gives, in the graph's order."""
    flat = read_flat(model)
    tensors = flat.subgraphs[0].tensors
    found = []
    for operator in flat.subgraphs[0].operators:
        kind = kind_of(flat, operator)
        if kind not in LITERT_WEIGHTED:
            continue
        weights = constant(flat, operator.inputs[1])
        if weights is not None:
            if kind == "DEPTHWISE_CONV_2D":
                weights = np.moveaxis(weights, -1, 0)
            rows = weights.reshape(len(weights), -1).astype(np.float64)
            found.append((name_of(tensors[operator.outputs[0]]), rows))
    return _matched(graph, found)


def _chosen(found: dict[str, str], layers: Iterable[str], where: str) -> frozenset[str]:
    missing = [layer for layer in layers if layer not in found]
    if missing:
        raise ExportError(
            f"layer {missing[0]} is not found in the {where} file, so it cannot be kept in float",
            hint="choose among the layers with weights of their own",
        )
    return frozenset(found[layer] for layer in layers)


def _matched(graph: fx.GraphModule, found: list[tuple[str, F64]]) -> dict[str, str]:
    layers = [
        (node.name, _rows(weight.detach().numpy())) for node, weight in weighted_layers(graph)
    ]
    taken: dict[str, str] = {}
    free = dict(found)
    for same in (_same_rows, _same_shape):
        for layer, rows in layers:
            name = next((n for n, other in free.items() if same(rows, other)), None)
            if layer not in taken and name is not None:
                taken[layer] = name
                del free[name]
    return {layer: taken[layer] for layer, _ in layers if layer in taken}


def _rows(weights: NDArray[np.floating]) -> F64:
    """Return weights (out, in, ...) as (out, ... · in), the order of TFLite."""
    last = np.moveaxis(weights, 1, -1).reshape(len(weights), -1)
    return last.astype(np.float64)


def _same_rows(a: F64, b: F64) -> bool:
    if a.shape != b.shape:
        return False
    both = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return bool((np.abs((a * b).sum(axis=1)) >= (1 - TOLERANCE) * both).all())  # (1)


def _same_shape(a: F64, b: F64) -> bool:
    return a.shape == b.shape
