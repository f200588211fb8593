"""A head as ONNX: a file of its own, or further nodes behind an encoder.

Operators as of opset 13, which every version from there on has, so that a head can stand
behind an encoder of another opset: only where an operator's axes moved from an attribute to
an input, the opset decides. Where a map must round as the runtime does, it is in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import TensorProto, helper, numpy_helper

import edge_cl
from edge_cl.errors import ExportError
from edge_cl_export.head.rule import Rule
from edge_cl_export.head.steps import GRID, Grid, Powers, Signs, Sphere, Step, Waves

__all__ = ["FEATURES", "SCORES", "head_onnx"]

FEATURES, SCORES = "features", "scores"
OPSET = 18
IR_VERSION = 8  # of that opset: ONNX Runtime 1.14 and later
_OLDEST = 13
_AXES_ARE_INPUTS = 18  # of ReduceMax
_TINY = 1e-20  # a norm that divides nothing but zero


def head_onnx(
    steps: Sequence[Step],
    rule: Rule,
    d: int,
    facts: Mapping[str, str],
    encoder: tuple[bytes, str] | None = None,
) -> bytes:
    """Return an ONNX file: features (n, d) float32 in, or what the encoder takes; scores out.

    Parameters
    ----------
    facts : what stands in the file's `metadata_props`.
    encoder : an ONNX file with one input, and the name of the output that has the features.

    Raises
    ------
    ExportError : the encoder's operators are too old to put a head behind it.
    """
    model, source, batch = _empty(d) if encoder is None else _opened(*encoder)
    nodes = _Nodes(model)
    if encoder is not None:
        source = nodes.cast(source, TensorProto.FLOAT)
    for step in steps:
        source = _mapped(nodes, source, step)
    nodes.put("Identity", _scores(nodes, source, rule), name=SCORES)
    out = helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, [batch, len(rule.kept)])
    del model.graph.output[:]
    model.graph.output.append(out)
    helper.set_model_props(model, dict(sorted(facts.items())))
    model.producer_name, model.producer_version = "edge-cl", edge_cl.__version__
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        first = str(error).strip().splitlines()[0]
        raise ExportError(f"the head does not fit behind this encoder: {first}") from error
    return bytes(model.SerializeToString(deterministic=True))


class _Nodes:
    """Nodes and constants that are appended to a graph, each under a name of its own."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._count = 0
        self.opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))

    def put(self, kind: str, *inputs: str, name: str = "", **attributes: int | list[int]) -> str:
        """Append a node with one output; return the output's name."""
        name = name or self._name(kind)
        node = helper.make_node(kind, inputs, [name], name=name)
        node.attribute.extend(helper.make_attribute(a, v) for a, v in sorted(attributes.items()))
        self._graph.node.append(node)
        return name

    def constant(self, value: ArrayLike, dtype: DTypeLike) -> str:
        """Append a constant; return its name."""
        name = self._name("constant")
        array = np.ascontiguousarray(np.asarray(value, dtype))
        self._graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def cast(self, x: str, to: int) -> str:
        """Return `x` as another type."""
        return self.put("Cast", x, to=to)

    def maximum(self, x: str, axis: int) -> str:
        """Return the maximum over an axis, which stays, with length 1."""
        if self.opset < _AXES_ARE_INPUTS:
            return self.put("ReduceMax", x, axes=[axis])
        return self.put("ReduceMax", x, self.constant([axis], np.int64))

    def total(self, x: str, axis: int) -> str:
        """Return the sum over an axis, which stays, with length 1."""
        return self.put("ReduceSum", x, self.constant([axis], np.int64))

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"head/{self._count}-{kind.lower()}"


def _empty(d: int) -> tuple[onnx.ModelProto, str, str | int]:
    features = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["n", d])
    graph = helper.make_graph([], "head", [features], [])
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), FEATURES, "n"


def _opened(blob: bytes, output: str) -> tuple[onnx.ModelProto, str, str | int]:
    model = onnx.load_from_string(blob)
    opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < _OLDEST:
        raise ExportError(
            f"expected an encoder of ONNX opset {_OLDEST} or later, got {opset}",
            hint="export the head alone, without --with-encoder",
        )
    features = next(o for o in model.graph.output if o.name == output)
    first = features.type.tensor_type.shape.dim[0]
    return model, output, first.dim_param or first.dim_value


def _mapped(nodes: _Nodes, x: str, step: Step) -> str:
    """Append one step of the map; what comes out is float32."""
    if isinstance(step, Grid):
        return _on_grid(nodes, x, step.scale, np.float32)
    if isinstance(step, Signs):
        return _signs(nodes, x, step)
    x = nodes.cast(x, TensorProto.DOUBLE)
    if isinstance(step, Sphere):
        x = _sphere(nodes, x)
    elif isinstance(step, Powers):
        size = nodes.put("Pow", nodes.put("Abs", x), nodes.constant(step.beta, np.float64))
        x = nodes.put("Mul", nodes.put("Sign", x), size)  # (4) of steps
    else:
        x = _waves(nodes, x, step)
    return nodes.cast(_on_grid(nodes, x, step.scale, np.float64), TensorProto.FLOAT)


def _on_grid(nodes: _Nodes, x: str, scale: float, dtype: DTypeLike) -> str:
    inverse = nodes.constant(1.0 / scale, dtype)
    least, most = nodes.constant(-GRID, dtype), nodes.constant(GRID, dtype)
    steps = nodes.put("Mul", x, inverse)
    return nodes.put("Round", nodes.put("Clip", steps, least, most))  # (1) of steps: half to even


def _signs(nodes: _Nodes, q: str, step: Signs) -> str:
    B = nodes.cast(nodes.constant(step.signs, np.int8), TensorProto.FLOAT)
    h = nodes.put("Relu", nodes.put("MatMul", q, B))
    if step.shift:
        h = nodes.put("Mul", h, nodes.constant(2.0**-step.shift, np.float32))
        h = nodes.put("Floor", nodes.put("Add", h, nodes.constant(0.5, np.float32)))
    return nodes.put("Min", h, nodes.constant(GRID, np.float32))  # (2) of steps


def _sphere(nodes: _Nodes, x: str) -> str:
    norm = nodes.put("Sqrt", nodes.total(nodes.put("Mul", x, x), 1))
    smallest = nodes.constant(np.finfo(np.float64).tiny, np.float64)
    return nodes.put("Div", x, nodes.put("Max", norm, smallest))  # (3) of steps


def _waves(nodes: _Nodes, q: str, step: Waves) -> str:
    Z = nodes.cast(nodes.constant(step.frequencies.T, np.int16), TensorProto.DOUBLE)
    angle = nodes.put("MatMul", q, Z)  # a sum of integers: exact
    angle = nodes.put("Mul", angle, nodes.constant(step.per_step, np.float64))
    wave = nodes.put("Cos", nodes.put("Add", angle, nodes.constant(step.phases, np.float64)))
    return nodes.put("Mul", wave, nodes.constant(step.amplitude, np.float64))  # (5) of steps


def _scores(nodes: _Nodes, q: str, rule: Rule) -> str:
    x = nodes.put("Sub", q, nodes.constant(rule.centre, np.float32)) if rule.centre.any() else q
    if len(rule.offset) > 1:
        return _mean_belief(nodes, x, rule)
    scores = nodes.put("MatMul", x, nodes.constant(rule.weights, np.float32))
    if not rule.unit:
        return nodes.put("Add", scores, nodes.constant(rule.offset[0], np.float32))  # (1) of rule
    norm = nodes.put("Sqrt", nodes.total(nodes.put("Mul", x, x), 1))
    return nodes.put(
        "Div", scores, nodes.put("Max", norm, nodes.constant(_TINY, np.float32))
    )  # (2)


def _mean_belief(nodes: _Nodes, x: str, rule: Rule) -> str:
    """Return (3) of rule, members along the first axis."""
    E, d = len(rule.offset), len(rule.weights)
    blocks = nodes.put("Reshape", x, nodes.constant([0, E, d // E], np.int64))
    W = nodes.constant(rule.weights.reshape(E, d // E, -1), np.float32)
    s = nodes.put("MatMul", nodes.put("Transpose", blocks, perm=[1, 0, 2]), W)
    s = nodes.put("Add", s, nodes.constant(rule.offset[:, None], np.float32))
    s = nodes.put("LogSoftmax", s, axis=2)
    top = nodes.maximum(s, 0)
    mean = nodes.put(
        "Mul",
        nodes.total(nodes.put("Exp", nodes.put("Sub", s, top)), 0),
        nodes.constant(1.0 / E, np.float32),
    )
    s = nodes.put("Add", nodes.put("Log", mean), top)  # (3), the largest taken out
    s = nodes.put("Squeeze", s, nodes.constant([0], np.int64))
    return nodes.put("Gather", s, nodes.constant(rule.kept, np.int64), axis=1)
