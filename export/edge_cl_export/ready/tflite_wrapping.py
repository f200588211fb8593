"""What is put around a TFLite graph: pixels to its input in front, pooling and norm behind.

Works on the objects of `flatbuffer.read_flat`. What the graph no longer needs after a cut, its
weights, operator kinds and the tools' own notes, is left out of the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl_export.graph.preparation import Pool, Preparation
from edge_cl_export.quantise.flatbuffer import constant, kind_of, type_of
from edge_cl_export.ready.entry import Layout
from edge_cl_export.ready.output import embedding_width

__all__ = ["compact", "in_planes", "keep_up_to", "put_behind", "put_in_front"]

INPUT, OUTPUT, SIGNATURE = b"args_0", b"output_0", b"serving_default"  # as converters name them

_PLANES = {  # what computes on (1, h, w, c)
    "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR", "TRANSPOSE_CONV",
}  # fmt: skip
_OPTIONS = {
    "CAST": "CastOptions", "GATHER": "GatherOptions", "L2_NORMALIZATION": "L2NormOptions",
    "MEAN": "ReducerOptions", "MUL": "MulOptions", "REDUCE_MAX": "ReducerOptions",
    "SUB": "SubOptions",
}  # fmt: skip


class _Chain:
    """Operators one behind the other, on the tensor `last`."""

    def __init__(self, model: Any, start: int, prefix: str) -> None:
        self._model, self._graph, self._prefix = model, model.subgraphs[0], prefix
        self.last = start
        self.operators: list[Any] = []

    def put(
        self,
        kind: str,
        shape: Iterable[int],
        values: NDArray[Any] | None = None,
        *,
        into: int | None = None,
        **options: Any,
    ) -> None:
        """Append an operator of `kind`, with `values` as its second input, that gives `shape`.

        Parameters
        ----------
        into : index of the tensor that it gives; None: a new float32 one.
        """
        from ai_edge_litert import schema_py_generated as schema

        label = f"{self._prefix}_{len(self.operators)}_{kind.lower()}"
        inputs = [self.last] if values is None else [self.last, self._store(label, values)]
        if into is None:
            into = len(self._graph.tensors)
            self._graph.tensors.append(_tensor(label, shape, schema.TensorType.FLOAT32))
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(getattr(schema.BuiltinOperator, kind))
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array([into], np.int32)
        if kind in _OPTIONS:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, _OPTIONS[kind])
            operator.builtinOptions = getattr(schema, _OPTIONS[kind] + "T")()
            for name, value in options.items():
                setattr(operator.builtinOptions, name, value)
        self.operators.append(operator)
        self.last = into

    def _store(self, label: str, values: NDArray[Any]) -> int:
        from ai_edge_litert import schema_py_generated as schema

        kinds = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}
        self._model.buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
        tensor = _tensor(f"{label}_value", values.shape, kinds[values.dtype.name])
        tensor.buffer = len(self._model.buffers) - 1
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _code(self, builtin: int) -> int:
        from ai_edge_litert import schema_py_generated as schema

        for i, code in enumerate(self._model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin:
                return i
        code = schema.OperatorCodeT(
            deprecatedBuiltinCode=min(builtin, 127), builtinCode=builtin, version=1
        )
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1


def put_in_front(model: Any, preparation: Preparation, layout: Layout, *, bytes_in: bool) -> None:
    """Make (1, h, w, 3) bytes the input, of the grid that the graph's has where it takes bytes."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    entry = int(graph.inputs[0])
    if layout == "NCHW":
        readers = [op for op in graph.operators if entry in op.inputs.tolist()]
        if len(readers) == 1 and _order(model, readers[0]) == [0, 2, 3, 1]:
            # The graph begins by undoing what would be put in front of it
            entry, layout = int(readers[0].outputs[0]), "NHWC"
            graph.operators = [op for op in graph.operators if op is not readers[0]]
            graph.inputs = np.array([entry], np.int32)
    if bytes_in and layout == "NHWC":
        return
    shape = (1, *preparation.size, 3)
    picture = _tensor("image", shape, schema.TensorType.UINT8)
    if bytes_in:
        picture.type = graph.tensors[entry].type
        picture.quantization = graph.tensors[entry].quantization
    graph.tensors.append(picture)
    chain = _Chain(model, len(graph.tensors) - 1, "prepare")
    graph.inputs = np.array([chain.last], np.int32)
    steps: list[tuple[str, NDArray[Any] | None, dict[str, Any]]] = []
    if not bytes_in:
        mean, gain = np.array(preparation.mean), 1.0 / np.array(preparation.std)
        if np.ptp(mean) == np.ptp(gain) == 0:
            mean, gain = mean[0], gain[0]
        types = {"inDataType": schema.TensorType.UINT8, "outDataType": schema.TensorType.FLOAT32}
        steps += [
            ("CAST", None, types),
            ("SUB", mean.astype(np.float32), {}),
            ("MUL", gain.astype(np.float32), {}),
        ]
    if layout == "NCHW":
        steps.append(("TRANSPOSE", np.array([0, 3, 1, 2], np.int32), {}))
    for i, (kind, values, options) in enumerate(steps):
        into = entry if i == len(steps) - 1 else None
        chain.put(kind, shape, values, into=into, **options)
    graph.operators = [*chain.operators, *graph.operators]


def put_behind(model: Any, pool: Pool, axes: tuple[int, ...], *, l2: bool) -> int:
    """Append pooling over `axes` and norm behind the output; return d.

    What is added is float. A quantised embedding to which nothing is added stays as it is.
    """
    graph = model.subgraphs[0]
    chain = _Chain(model, int(graph.outputs[0]), "embed")
    shape = tuple(int(side) for side in graph.tensors[chain.last].shape)
    d = embedding_width(shape, pool, axes)
    kind = type_of(graph.tensors[chain.last])
    if kind != "FLOAT32" and (axes or l2 or kind == "FLOAT16"):
        chain.put("DEQUANTIZE", shape)
    if axes and pool == "none":
        chain.put("RESHAPE", (1, d), np.array([1, d], np.int32))
    elif axes and pool == "token":
        chain.put("GATHER", (1, d), np.array(0, np.int32), axis=1)
    elif axes:
        chain.put("MEAN" if pool == "mean" else "REDUCE_MAX", (1, d), np.array(axes, np.int32))
    if l2:
        chain.put("L2_NORMALIZATION", (1, d))  # by at least 1e-6, as in embedding.py
    graph.operators = [*graph.operators, *chain.operators]
    graph.outputs = np.array([chain.last], np.int32)
    return d


def keep_up_to(graph: Any, target: int) -> None:
    """Make the tensor `target` the output, and leave out the operators that it does not need."""
    wanted = {target}
    kept = []
    for operator in reversed(graph.operators):
        if wanted.intersection(operator.outputs.tolist()):
            kept.append(operator)
            wanted.update(operator.inputs.tolist())
    graph.operators = kept[::-1]
    graph.outputs = np.array([target], np.int32)


def in_planes(model: Any, index: int, layout: Layout) -> bool:
    """Say whether a feature map is (1, c, h, w).

    By the operator that made it, past transposes; by the input's `layout` where none is found.
    """
    made = {int(o): op for op in model.subgraphs[0].operators for o in op.outputs}
    swapped = False
    while index in made and kind_of(model, made[index]) not in _PLANES:
        operator = made[index]
        swapped ^= _order(model, operator) in ([0, 2, 3, 1], [0, 3, 1, 2])
        index = int(operator.inputs[0])
    return (index not in made and layout == "NCHW") != swapped


def compact(model: Any) -> None:
    """Leave out what no operator uses, and the notes of the tools that made the file."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    used = {int(i) for op in graph.operators for part in _indices(op) for i in part if i >= 0}
    used |= {*graph.inputs.tolist(), *graph.outputs.tolist()}
    place = {old: new for new, old in enumerate(sorted(used))} | {-1: -1}
    for operator in graph.operators:
        for name in ("inputs", "outputs", "intermediates"):
            part = getattr(operator, name)
            if part is not None:
                setattr(operator, name, np.array([place[int(i)] for i in part], np.int32))
        operator.debugMetadataIndex = -1
    graph.inputs = np.array([place[int(i)] for i in graph.inputs], np.int32)
    graph.outputs = np.array([place[int(i)] for i in graph.outputs], np.int32)
    graph.tensors = [graph.tensors[i] for i in sorted(used)]
    codes = sorted({operator.opcodeIndex for operator in graph.operators})
    model.operatorCodes = [model.operatorCodes[i] for i in codes]
    for operator in graph.operators:
        operator.opcodeIndex = codes.index(operator.opcodeIndex)
    buffers = [schema.BufferT()]  # the first is empty, of all that is computed
    stored: dict[int, int] = {}
    notes = [m for m in model.metadata or [] if m.name == b"min_runtime_version"]
    for holder in (*graph.tensors, *notes):
        data = model.buffers[holder.buffer].data
        if data is None or not len(data):
            holder.buffer = 0
            continue
        if holder.buffer not in stored:
            stored[holder.buffer] = len(buffers)
            buffers.append(model.buffers[holder.buffer])
        holder.buffer = stored[holder.buffer]
    model.buffers, model.metadata, model.metadataBuffer = buffers, notes or None, None
    model.description, graph.name, graph.debugMetadataIndex = b"edge-cl", b"main", -1
    signature = schema.SignatureDefT(signatureKey=SIGNATURE, subgraphIndex=0)
    signature.inputs = [schema.TensorMapT(name=INPUT, tensorIndex=int(graph.inputs[0]))]
    signature.outputs = [schema.TensorMapT(name=OUTPUT, tensorIndex=int(graph.outputs[0]))]
    model.signatureDefs = [signature]


def _order(model: Any, operator: Any) -> list[int]:
    """Return the order of axes that a transpose makes, empty for another operator."""
    if kind_of(model, operator) != "TRANSPOSE":
        return []
    order = constant(model, int(operator.inputs[1]))
    return [] if order is None else [int(axis) for axis in order]


def _indices(operator: Any) -> list[Any]:
    parts = (operator.inputs, operator.outputs, operator.intermediates)
    return [part for part in parts if part is not None]


def _tensor(name: str, shape: Iterable[int], kind: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.TensorT(
        shape=np.array(list(shape), np.int32), type=kind, name=name.encode(), buffer=0, hasRank=True
    )
