"""A head as TFLite: a file of its own, or further operators behind an encoder.

Only float32 operators that every TFLite runtime has are used. ROUND rounds half to even, as the
grid does. One row at a time, as the encoders.

What the scores mean stands in the file twice: as metadata named `edge-cl` (JSON), and as
`labels.txt` in a ZIP archive behind the model, where tools for TFLite look for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edge_cl.arrays import F32
from edge_cl.errors import ExportError
from edge_cl_export.head.rule import Rule
from edge_cl_export.head.steps import GRID, Grid, Signs, Sphere, Step, map_name
from edge_cl_export.head.tflite_model import (
    Operators,
    empty_model,
    named,
    packed,
    with_labels,
)
from edge_cl_export.head.tflite_sphere import sphere
from edge_cl_export.quantise.flatbuffer import read_flat

__all__ = ["head_tflite", "takes_int8"]

_OP = schema.BuiltinOperator
_TYPE = schema.TensorType
_TINY = 1e-20  # a norm that divides nothing but zero
_BLOCK, _SMALLEST_BLOCK = 64, 8  # features that are summed one after the other


def head_tflite(
    steps: Sequence[Step],
    rule: Rule,
    d: int,
    facts: Mapping[str, str],
    labels: Sequence[str],
    encoder: bytes | None = None,
) -> bytes:
    """Return a TFLite file: features (1, d) float32 in, or what the encoder takes; scores out.

    Parameters
    ----------
    facts : what stands in the file's metadata.
    labels : the class of each score, for `labels.txt`.
    encoder : a TFLite file with one input and one output, float32 or integers with a scale.

    Raises
    ------
    ExportError : a map that TFLite cannot compute exactly, or an encoder of another kind.
    """
    model = empty_model(d) if encoder is None else _opened(encoder)
    part = Operators(model)
    x = int(part.graph.outputs[0])
    if part.graph.tensors[x].type != _TYPE.FLOAT32:
        x = _dequantised(part, x, [1, d])
    for step in steps:
        x = _mapped(part, x, step)
    x = _scores(part, x, rule)
    part.graph.tensors[x].name = "scores"
    part.graph.outputs = [x]
    for signature in model.signatureDefs or []:
        signature.outputs = [named("scores", x)]
    part.metadata("edge-cl", json.dumps(dict(sorted(facts.items())), ensure_ascii=False))
    return with_labels(packed(model), labels)


def takes_int8(encoder: bytes) -> bool:
    """Say whether a TFLite encoder takes a pixel p as the signed byte p - 128."""
    graph = read_flat(encoder).subgraphs[0]
    return bool(graph.tensors[graph.inputs[0]].type == _TYPE.INT8)


def _opened(blob: bytes) -> Any:
    model = read_flat(blob)
    outputs = model.subgraphs[0].outputs
    if len(outputs) != 1:
        raise ExportError(f"expected an encoder with one output, got {len(outputs)}")
    return model


def _mapped(part: Operators, x: int, step: Step) -> int:
    if isinstance(step, Grid):
        return _grid(part, x, step)
    if isinstance(step, Signs):
        return _signs(part, x, step)
    if isinstance(step, Sphere):
        return sphere(part, x, int(part.graph.tensors[x].shape[-1]), step.unit)
    raise ExportError(
        f"the map {map_name(step)} rounds in float64, which TFLite has no operators for: "
        "in float32 some features would be a grid step away",
        hint="export it as ONNX: --out head.onnx",
    )


def _grid(part: Operators, x: int, step: Grid) -> int:
    shape = part.graph.tensors[x].shape
    x = part.put(_OP.MUL, [x, part.constant([1.0 / step.scale])], shape, _mul())
    x = part.put(_OP.MAXIMUM, [x, part.constant([-GRID])], shape, _most())
    x = part.put(_OP.MINIMUM, [x, part.constant([GRID])], shape, _most())
    return part.put(_OP.ROUND, [x], shape)  # (1) of steps: half to even


def _signs(part: Operators, q: int, step: Signs) -> int:
    m = step.signs.shape[1]
    stored = part.constant(step.signs.T, "int8")
    unit = schema.QuantizationParametersT()
    unit.scale, unit.zeroPoint = [1.0], [0]
    part.graph.tensors[stored].quantization = unit
    B = _dequantised(part, stored, [m, len(step.signs)])
    h = part.put(_OP.RELU, [_product(part, q, B, m)], [1, m])
    if step.shift:
        h = part.put(_OP.MUL, [h, part.constant([2.0**-step.shift])], [1, m], _mul())
        h = part.put(_OP.ADD, [h, part.constant([0.5])], [1, m], _add())
        h = part.put(_OP.FLOOR, [h], [1, m])
    return part.put(_OP.MINIMUM, [h, part.constant([GRID])], [1, m], _most())  # (2) of steps


def _dequantised(part: Operators, x: int, shape: list[int]) -> int:
    options = (schema.BuiltinOptions.DequantizeOptions, schema.DequantizeOptionsT())
    return part.put(_OP.DEQUANTIZE, [x], shape, options)


def _product(part: Operators, x: int, weights: int, k: int) -> int:
    """Return x (1, d) times the transposed `weights` (k, d)."""
    options = (schema.BuiltinOptions.FullyConnectedOptions, schema.FullyConnectedOptionsT())
    return part.put(_OP.FULLY_CONNECTED, [x, weights, -1], [1, k], options)


def _weighed(part: Operators, x: int, W: F32) -> int:
    """Return x (1, d) times W (d, k), summed block by block.

    Some runtimes add up a row from its first product to its last: sums of sums lose less.
    """
    d, k = W.shape
    block = max(b for b in range(1, _BLOCK + 1) if d % b == 0)
    if d <= _BLOCK or block < _SMALLEST_BLOCK:
        return _product(part, x, part.constant(W.T), k)
    E = d // block
    options = (schema.BuiltinOptions.BatchMatMulOptions, schema.BatchMatMulOptionsT())
    x = _reshaped(part, x, [E, 1, block])
    x = part.put(_OP.BATCH_MATMUL, [x, part.constant(W.reshape(E, block, k))], [E, 1, k], options)
    return _reshaped(part, _reduced(part, _OP.SUM, x, 0, [1, 1, k]), [1, k])


def _scores(part: Operators, x: int, rule: Rule) -> int:
    d, k = rule.weights.shape
    if rule.centre.any():
        x = part.put(_OP.SUB, [x, part.constant(rule.centre[None])], [1, d], _sub())
    if len(rule.offset) > 1:
        return _mean_belief(part, x, rule)
    scores = _weighed(part, x, rule.weights)
    if not rule.unit:
        return part.put(_OP.ADD, [scores, part.constant(rule.offset)], [1, k], _add())  # (1)
    square = part.put(_OP.MUL, [x, x], [1, d], _mul())
    norm = part.put(_OP.SQRT, [_reduced(part, _OP.SUM, square, 1, [1, 1])], [1, 1])
    norm = part.put(_OP.MAXIMUM, [norm, part.constant([_TINY])], [1, 1], _most())
    options = (schema.BuiltinOptions.DivOptions, schema.DivOptionsT())
    return part.put(_OP.DIV, [scores, norm], [1, k], options)  # (2) of rule


def _mean_belief(part: Operators, x: int, rule: Rule) -> int:
    """Return (3) of rule, members along the first axis."""
    (E, k), d = rule.offset.shape, len(rule.weights)
    s = [E, 1, k]
    x = _reshaped(part, x, [E, 1, d // E])
    W = part.constant(rule.weights.reshape(E, d // E, k))
    options = (schema.BuiltinOptions.BatchMatMulOptions, schema.BatchMatMulOptionsT())
    x = part.put(_OP.BATCH_MATMUL, [x, W], s, options)
    x = part.put(_OP.ADD, [x, part.constant(rule.offset[:, None])], s, _add())
    options = (schema.BuiltinOptions.LogSoftmaxOptions, schema.LogSoftmaxOptionsT())
    x = part.put(_OP.LOG_SOFTMAX, [x], s, options)
    top = _reduced(part, _OP.REDUCE_MAX, x, 0, [1, 1, k])
    options = (schema.BuiltinOptions.ExpOptions, schema.ExpOptionsT())
    p = part.put(_OP.EXP, [part.put(_OP.SUB, [x, top], s, _sub())], s, options)
    mean = _reduced(part, _OP.MEAN, p, 0, [1, 1, k])
    x = part.put(_OP.ADD, [part.put(_OP.LOG, [mean], [1, 1, k]), top], [1, 1, k], _add())  # (3)
    x = _reshaped(part, x, [1, k])
    options = (schema.BuiltinOptions.GatherOptions, schema.GatherOptionsT(axis=1))
    kept = part.constant(rule.kept, "int32")
    return part.put(_OP.GATHER, [x, kept], [1, len(rule.kept)], options)


def _reshaped(part: Operators, x: int, shape: list[int]) -> int:
    options = (schema.BuiltinOptions.ReshapeOptions, schema.ReshapeOptionsT(newShape=shape))
    return part.put(_OP.RESHAPE, [x, part.constant(shape, "int32")], shape, options)


def _reduced(part: Operators, kind: int, x: int, axis: int, shape: list[int]) -> int:
    options = (schema.BuiltinOptions.ReducerOptions, schema.ReducerOptionsT(keepDims=True))
    return part.put(kind, [x, part.constant([axis], "int32")], shape, options)


def _add() -> tuple[int, Any]:
    return schema.BuiltinOptions.AddOptions, schema.AddOptionsT()


def _sub() -> tuple[int, Any]:
    return schema.BuiltinOptions.SubOptions, schema.SubOptionsT()


def _mul() -> tuple[int, Any]:
    return schema.BuiltinOptions.MulOptions, schema.MulOptionsT()


def _most() -> tuple[int, Any]:
    return schema.BuiltinOptions.MaximumMinimumOptions, schema.MaximumMinimumOptionsT()
