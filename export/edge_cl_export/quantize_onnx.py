"""ONNX int8: QuantizeLinear/DequantizeLinear pairs around every operator with an integer form.

ONNX Runtime fuses a pair, a convolution and a pair into one integer convolution while it
loads. What is *not* quantised decides the speed and the quality as much as what is:

- the normalisation in front: where (x - mean) / std is one step a pixel, the raw pixel
  already *is* the quantised input, with scale 1/std and zero point mean. The float chain and
  the quantiser behind it are then replaced by one transpose of bytes: exact, and free;
- the pooling at the end stays in float, so the embedding keeps more than 8 bits.

Types: U8S8 is what fuses on x86 (S8S8 leaves float convolutions there); on ARM both fuse. On
x86 without VNNI, ONNX Runtime's U8S8 kernels can saturate sums of two products: such a machine
wants 7-bit weights, which cost too much accuracy here to be default. S8S8 is symmetric, zero
point 0, as GPUs and NPUs want it: after a ReLU half of its steps are never used, so it keeps one
bit less of an activation than U8S8.

Chosen layers can stay in float. What then is neither in float nor integer by the file itself
is an error: a quantiser that skips an operator says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

import numpy as np
import onnx

from edge_cl.errors import ExportError, MissingExtraError
from edge_cl_export.clipping import Range
from edge_cl_export.integer_share import ONNX_WEIGHTED, require_integer
from edge_cl_export.quiet import quiet
from edge_cl_export.recipe import Recipe

__all__ = ["outside", "quantize_onnx"]

_ACTIVATIONS = {"Clip", "LeakyRelu", "Relu"}
_OTHERS = {
    "Add", "AveragePool", "Concat", "GlobalAveragePool", "MaxPool", "Mul", "Sigmoid",
}  # fmt: skip


def quantize_onnx(
    model: onnx.ModelProto,
    ranges: Mapping[str, Range],
    recipe: Recipe,
    uint8_step: tuple[float, int] | None,
    *,
    float_layers: Set[str] = frozenset(),
) -> onnx.ModelProto:
    """Return an int8 version of `model`.

    Parameters
    ----------
    ranges : of every float tensor that `model` computes, see `ranges.watch_activations`.
    uint8_step : scale and zero point of the raw pixels, see `Preparation.uint8_step`.
    float_layers : names of weighted nodes that stay in float, see `graph_order.in_onnx`.

    Raises
    ------
    ExportError : the quantiser refuses the model, there is nothing to quantise, or a layer was
        left in float that should not be.
    """
    if not any(node.op_type in ONNX_WEIGHTED for node in model.graph.node):
        raise ExportError("the network has no convolution and no matrix product to quantise")
    head, tail = outside(model.graph)
    excluded = [n.name for n in head]
    excluded += [n.name for n in tail if n.op_type not in _ACTIVATIONS]
    excluded += _in_float(model.graph, float_layers)
    normal = _border(model.graph, head)
    if uint8_step is None or recipe.types != "u8s8" or normal is None:
        quantized = _quantize(model, ranges, recipe, excluded)
    else:
        scale, zero = uint8_step
        pixels = {normal: (-scale * zero, scale * (255 - zero))}
        quantized = _quantize(model, {**ranges, **pixels}, recipe, excluded)
        _feed_pixels(quantized, head, normal)
    quantized.producer_name, quantized.producer_version = "edge-cl", ""
    onnx.checker.check_model(quantized)
    require_integer(quantized.SerializeToString(), float_layers, f"ONNX {recipe.types}")
    return quantized


def _quantize(
    model: onnx.ModelProto, ranges: Mapping[str, Range], recipe: Recipe, excluded: list[str]
) -> onnx.ModelProto:
    try:
        from onnxruntime.quantization import CalibrationMethod, QuantType
        from onnxruntime.quantization.calibrate import TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    except ImportError as error:
        raise MissingExtraError("ONNX quantisation", "export") from error
    activations = QuantType.QUInt8 if recipe.types == "u8s8" else QuantType.QInt8
    bounds = {name: (np.float32(lo), np.float32(hi)) for name, (lo, hi) in ranges.items()}
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    try:
        with quiet():
            quantizer = QDQQuantizer(
                twin,
                per_channel=True,
                reduce_range=False,
                weight_qType=QuantType.QInt8,
                activation_qType=activations,
                tensors_range=TensorsData(CalibrationMethod.MinMax, bounds),
                nodes_to_quantize=[],
                nodes_to_exclude=excluded,
                op_types_to_quantize=sorted(ONNX_WEIGHTED | _ACTIVATIONS | _OTHERS),
                extra_options={"ActivationSymmetric": recipe.types == "s8s8"},
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
            made: onnx.ModelProto = quantizer.model.model
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise ExportError(
            f"ONNX quantisation failed: {type(error).__name__}: {first}",
            hint="export onnx-fp16 for this network, or int8 of the other runtime",
        ) from error
    return made


def outside(graph: onnx.GraphProto) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """Return the nodes before the first and after the last weighted operator of each path."""
    below: set[str] = set()  # tensors that depend on a weighted operator
    head = []
    for node in graph.node:
        if node.op_type in ONNX_WEIGHTED or below.intersection(node.input):
            below.update(node.output)
        else:
            head.append(node)
    above: set[str] = set()  # tensors that a weighted operator depends on
    tail = []
    for node in reversed(graph.node):
        if node.op_type in ONNX_WEIGHTED or above.intersection(node.output):
            above.update(node.input)
        elif below.intersection(node.output):
            tail.append(node)
    return head, tail


def _in_float(graph: onnx.GraphProto, layers: Set[str]) -> list[str]:
    """Return the names of `layers` and of the activations that they alone feed.

    Between a layer in float and its activation there is nothing to quantise: the range before
    a clip is wider than the one behind it.
    """
    made = {name for node in graph.node if node.name in layers for name in node.output}
    return [
        node.name
        for node in graph.node
        if node.name in layers or (node.op_type in _ACTIVATIONS and node.input[0] in made)
    ]


def _border(graph: onnx.GraphProto, head: list[onnx.NodeProto]) -> str | None:
    """Return the one tensor that leaves `head`, the normalised picture; None if there are more."""
    names = {node.name for node in head}
    made = {name for node in head for name in node.output}
    used = {name for node in graph.node if node.name not in names for name in node.input}
    leaving = made & used
    return leaving.pop() if len(leaving) == 1 else None


def _feed_pixels(model: onnx.ModelProto, head: list[onnx.NodeProto], normal: str) -> None:
    """Replace the float normalisation and its quantiser by a transpose of the raw bytes."""
    graph = model.graph
    quantizers = [n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == normal]
    if len(quantizers) != 1:
        return
    pixels = quantizers[0].output[0]
    gone = {node.name for node in (*head, quantizers[0])}
    kept = [node for node in graph.node if node.name not in gone]
    transpose = onnx.helper.make_node(
        "Transpose", [graph.input[0].name], [pixels], name="pixels_to_planes", perm=[0, 3, 1, 2]
    )
    del graph.node[:]
    graph.node.extend([transpose, *kept])
    del graph.value_info[:]
    used = {name for node in graph.node for name in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constants)
