"""ONNX int8: QuantizeLinear/DequantizeLinear pairs around every operator with an integer form.

ONNX Runtime fuses a pair, a convolution and a pair into one integer convolution while it
loads. What is *not* quantised decides the speed and the quality as much as what is:

- the normalisation in front: where (x - mean) / std is one step a pixel, the raw pixel
  already *is* the quantised input, with scale 1/std and zero point mean. The float chain and
  the quantiser behind it are then replaced by one transpose of bytes: exact, and free;
- the pooling at the end stays in float, so the embedding keeps more than 8 bits;
- what mixes activations in a transformer stays in float, see `integer_stretches`. (Between two
  8-bit products of activations, ONNX Runtime also computes the softmax in 8 bits: a ViT's
  cosine falls from .99 to .45, and the file itself does not say so);
- what a matrix product gives is not quantised by itself: its bias is added first.

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
from onnx.reference import ReferenceEvaluator

from edge_cl.errors import ExportError, MissingExtraError
from edge_cl_export.first_line import first_line
from edge_cl_export.quantise.clipping import Range
from edge_cl_export.quantise.integer_share import ONNX_WEIGHTED, require_integer
from edge_cl_export.quantise.integer_stretches import Operator, Role, left_in_float
from edge_cl_export.quiet import quiet
from edge_cl_export.recipe import Recipe

__all__ = ["outside", "quantize_onnx"]

_ACTIVATIONS = {"Clip", "LeakyRelu", "Relu"}
_OTHERS = {
    "Add", "AveragePool", "Concat", "GlobalAveragePool", "MaxPool", "Mul", "Sigmoid",
}  # fmt: skip
_MOVES = {
    "DepthToSpace", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "SpaceToDepth",
    "Split", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip  # what passes integers on
_WHOLE = 0.01  # of a pixel step


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
    ranges : of every float tensor that `model` computes, see `onnx_ranges.watch_activations`.
    uint8_step : scale and zero point of the raw pixels, see `Preparation.uint8_step`.
    float_layers : names of weighted nodes that stay in float, see `graph_order.in_onnx`.

    Raises
    ------
    ExportError : the quantiser refuses the model, there is nothing to quantise, or a layer was
        left in float that should not be.
    """
    if not any(node.op_type in ONNX_WEIGHTED for node in model.graph.node):
        raise ExportError("the network has no convolution and no matrix product to quantise")
    head, _ = outside(model.graph)
    excluded = left_in_float(_operators(model.graph, float_layers))
    normal = _border(model.graph, head) if recipe.types == "u8s8" and uint8_step else None
    if uint8_step is None or normal is None or not _is_normal(model, head, normal, *uint8_step):
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
                extra_options={
                    "ActivationSymmetric": recipe.types == "s8s8",
                    "OpTypesToExcludeOutputQuantization": ["MatMul"],
                },
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
            made: onnx.ModelProto = quantizer.model.model
    except Exception as error:
        raise ExportError(
            f"ONNX quantisation failed: {first_line(error)}",
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


def _operators(graph: onnx.GraphProto, float_layers: Set[str]) -> list[Operator]:
    """Return the nodes of `graph` as `left_in_float` takes them."""
    constants = {tensor.name for tensor in graph.initializer}

    def role(node: onnx.NodeProto) -> Role:
        if node.op_type in ONNX_WEIGHTED and node.input[1] in constants:
            return "float layer" if node.name in float_layers else "layer"
        if node.op_type in _ACTIVATIONS:
            return "activation"
        return "between" if node.op_type in _OTHERS | _MOVES else "float"

    found = []
    for node in graph.node:
        reads = tuple(name for name in node.input if name and name not in constants)
        if not reads and node.op_type in {"Constant", *_MOVES}:
            constants.update(node.output)
        found.append(Operator(node.name, role(node), reads, tuple(node.output)))
    return found


def _border(graph: onnx.GraphProto, head: list[onnx.NodeProto]) -> str | None:
    """Return the one tensor that leaves `head`, the normalised picture; None if there are more."""
    names = {node.name for node in head}
    made = {name for node in head for name in node.output}
    used = {name for node in graph.node if node.name not in names for name in node.input}
    leaving = made & used
    return leaving.pop() if len(leaving) == 1 else None


def _is_normal(
    model: onnx.ModelProto, head: list[onnx.NodeProto], normal: str, scale: float, zero: int
) -> bool:
    """Say whether `normal` is scale · (pixel - zero) in planes: a network may do more of its own.

    Found out on a picture of noise.
    """
    graph = model.graph
    used = {name for node in head for name in node.input}
    output = onnx.helper.make_tensor_value_info(normal, onnx.TensorProto.FLOAT, None)
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    part = onnx.helper.make_graph(head, "head", graph.input, [output], initializer=constants)
    front = onnx.helper.make_model(
        part, opset_imports=model.opset_import, ir_version=model.ir_version
    )
    sides = [side.dim_value or 1 for side in graph.input[0].type.tensor_type.shape.dim]
    picture = np.random.default_rng(0).integers(0, 256, sides, dtype=np.uint8)
    feed = {graph.input[0].name: picture}
    (found,) = map(np.asarray, ReferenceEvaluator(front).run([normal], feed))
    expected = scale * (picture.astype(np.float32) - zero).transpose(0, 3, 1, 2)
    return found.shape == expected.shape and bool(
        np.allclose(found, expected, rtol=0, atol=_WHOLE * scale)
    )


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
