"""How much of an encoder file really is integer: counted in the file, layer by layer.

A quantiser that cannot handle an operator leaves it in float and says nothing. Here a weighted
layer (a convolution or a matrix product with constant weights) counts as integer if both what
it reads and its weights are 8-bit: in ONNX, if both come out of a `DequantizeLinear`, which
the runtime fuses with it; in TFLite, if both tensors are 8-bit themselves.

What the file says is one thing, what a runtime makes of it on one machine another: see
`operators_run` of `edge_cl.encoders.onnx_runner`.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import onnx

from edge_cl.errors import ExportError
from edge_cl_export.quantise.flatbuffer import constant, kind_of, name_of, read_flat, type_of

__all__ = ["LITERT_WEIGHTED", "ONNX_WEIGHTED", "IntegerShare", "integer_share", "require_integer"]

ONNX_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
LITERT_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})
_MOVES = frozenset({"Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerShare:
    """Weighted layers of a file by name, in its order.

    Names are those of ONNX nodes, or of the tensors that TFLite operators give.
    """

    integer: tuple[str, ...]
    floating: tuple[str, ...]

    @property
    def share(self) -> float:
        """Integer layers among all, 0..1; 0 where there are no layers."""
        return len(self.integer) / max(len(self.integer) + len(self.floating), 1)


def integer_share(model: bytes) -> IntegerShare:
    """Count the integer layers of an `.onnx` or `.tflite` file."""
    found = _of_litert(model) if model[4:8] == b"TFL3" else _of_onnx(onnx.load_from_string(model))
    return IntegerShare(
        integer=tuple(name for name, integer in found if integer),
        floating=tuple(name for name, integer in found if not integer),
    )


def require_integer(model: bytes, float_layers: Container[str], where: str) -> None:
    """Do nothing if exactly `float_layers`, by their names in the file, are in float.

    Raises
    ------
    ExportError : another layer was left in float, or one of them was not.
    """
    share = integer_share(model)
    left = [name for name in share.floating if name not in float_layers]
    if left:
        raise ExportError(
            f"{where}: {len(left)} of {len(share.floating) + len(share.integer)} layers were left "
            f"in float, the first is {_short(left[0])}",
            hint="keep such layers in float by name, or export this format as fp16 or fp32",
        )
    taken = [name for name in share.integer if name in float_layers]
    if taken:
        raise ExportError(f"{where}: layer {_short(taken[0])} should be in float, and is not")


def _of_onnx(model: onnx.ModelProto) -> list[tuple[str, bool]]:
    maker = {name: node for node in model.graph.node for name in node.output}
    constants = {tensor.name for tensor in model.graph.initializer}

    def source(name: str) -> tuple[str, bool]:
        """Return where a value comes from, and whether it was dequantised on the way."""
        while name in maker:
            node = maker[name]
            if node.op_type == "DequantizeLinear":
                return source(node.input[0])[0], True
            if node.op_type not in _MOVES:
                break
            name = node.input[0]
        return name, False

    found = []
    for node in model.graph.node:
        if node.op_type in ONNX_WEIGHTED:
            weights, integer = source(node.input[1])
            if weights in constants:
                found.append((node.name, integer and source(node.input[0])[1]))
    return found


def _of_litert(blob: bytes) -> list[tuple[str, bool]]:
    model = read_flat(blob)
    graph = model.subgraphs[0]
    maker = {i: operator for operator in graph.operators for i in operator.outputs}
    found = []
    for operator in graph.operators:
        kind = kind_of(model, operator)
        if kind not in LITERT_WEIGHTED:
            continue
        weights = operator.inputs[1]
        by = maker.get(weights)  # half precision, and integer weights of float layers
        stored = by.inputs[0] if by is not None and kind_of(model, by) == "DEQUANTIZE" else weights
        if constant(model, stored) is None:
            continue
        reads = operator.inputs[2 if kind == "TRANSPOSE_CONV" else 0]
        integer = all(type_of(graph.tensors[i]) in ("INT8", "UINT8") for i in (reads, weights))
        found.append((name_of(graph.tensors[operator.outputs[0]]), integer))
    return found


def _short(name: str) -> str:
    """Return the end of a name that a converter may have made a hundred characters long."""
    return name if len(name) <= 60 else f"...{name[-57:]}"
