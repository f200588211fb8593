"""What is put around an ONNX graph: pixels to its input in front, pooling and norm behind.

The names of what is added begin with `prepare_` and `embed_`; a graph that has such names, or
those of the exporter's input and output, gets all of its own prefixed first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.compose
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_cl.errors import ExportError
from edge_cl_export.graph.embedding import EPS
from edge_cl_export.graph.preparation import Pool, Preparation
from edge_cl_export.graph.to_onnx import INPUT, OUTPUT
from edge_cl_export.ready.entry import Layout
from edge_cl_export.ready.output import embedding_width, pooled_axes

__all__ = ["free_names", "in_planes", "put_behind", "put_in_front", "typed"]

_PLANES = {
    "AveragePool", "BatchNormalization", "Conv", "ConvInteger", "ConvTranspose",
    "GlobalAveragePool", "GlobalMaxPool", "InstanceNormalization", "MaxPool", "QLinearConv",
}  # fmt: skip  # what computes on (n, c, h, w)


def free_names(model: onnx.ModelProto) -> str:
    """Make room for the names that the wrapping uses; return what was put before the file's."""
    names = {name for node in model.graph.node for name in (node.name, *node.output)}
    names |= {value.name for value in (*model.graph.input, *model.graph.initializer)}
    if not any(n in (INPUT, OUTPUT) or n.startswith(("prepare_", "embed_")) for n in names):
        return ""
    onnx.compose.add_prefix(model, "net.", inplace=True)
    return "net."


def put_in_front(
    graph: onnx.GraphProto, entry: str, preparation: Preparation, layout: Layout, bytes_in: bool
) -> None:
    """Make `INPUT`, uint8 (n, h, w, 3), the input, and `entry` what is computed from it."""
    front = _Chain(INPUT, "prepare")
    if not bytes_in:
        front.put("Cast", to=TensorProto.FLOAT)
        shared = len(set(preparation.mean)) == len(set(preparation.std)) == 1
        mean, std = np.array(preparation.mean), np.array(preparation.std)
        if shared:
            mean, std = mean[0], std[0]
        front.put("Sub", mean.astype(np.float32))
        front.put("Mul", (1.0 / std).astype(np.float32))
    if layout == "NCHW":
        front.put("Transpose", perm=[0, 3, 1, 2])
    front.put("Identity", name=entry)
    nodes = [*front.nodes, *graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    graph.initializer.extend(front.constants)
    graph.input.append(typed(INPUT, TensorProto.UINT8, [None, *preparation.size, 3]))


def put_behind(
    graph: onnx.GraphProto,
    target: str,
    features: NDArray[Any],
    pool: Pool,
    planes: bool,
    l2: bool,
    where: str,
) -> int:
    """Append pooling and norm behind `target`, which gave `features`; return d."""
    back = _Chain(target, "embed")
    if features.dtype == np.float16:
        back.put("Cast", to=TensorProto.FLOAT)
    elif features.dtype != np.float32:
        raise ExportError(
            f"{where} gives {features.dtype}, expected float32",
            hint="take a float tensor before it by --layer NAME",
        )
    axes = pooled_axes(features.shape, pool, planes, where)
    if pool == "none":
        back.put("Flatten", axis=1)
    elif pool == "token":
        back.put("Gather", np.int64(0), axis=1)
    elif axes:
        kind = "ReduceMean" if pool == "mean" else "ReduceMax"
        back.put(kind, np.array(axes, np.int64), keepdims=0)
    if l2:
        y = back.last
        back.put("ReduceL2", np.array([1], np.int64), keepdims=1)
        back.put("Max", np.float32(EPS))
        back.put("Div", first=y)  # (1)
    back.put("Identity", name=OUTPUT)
    graph.node.extend(back.nodes)
    graph.initializer.extend(back.constants)
    return embedding_width(features.shape, pool, axes)


def in_planes(graph: onnx.GraphProto, tensor: str, layout: Layout) -> bool:
    """Say whether a feature map is (n, c, h, w).

    By the operator that made it, past transposes; by the input's `layout` where none is found.
    """
    made = {name: node for node in graph.node for name in node.output}
    swapped = False
    while tensor in made and made[tensor].op_type not in _PLANES:
        node = made[tensor]
        if node.op_type == "Transpose":
            swapped ^= _permutation(node) in ([0, 2, 3, 1], [0, 3, 1, 2])
        tensor = node.input[0] if node.input else ""
    return (tensor in made or layout == "NCHW") != swapped


def typed(name: str, kind: int, shape: list[int | str | None]) -> onnx.ValueInfoProto:
    """Return the declaration of a tensor; a name in `shape` is a free side."""
    return helper.make_tensor_value_info(name, kind, shape)


class _Chain:
    """Nodes one behind the other; constants become initialisers."""

    def __init__(self, start: str, prefix: str) -> None:
        self.last, self._prefix = start, prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def put(
        self,
        kind: str,
        constant: Any = None,
        *,
        first: str = "",
        name: str = "",
        **attributes: Any,
    ) -> None:
        """Append an operator of `kind` on the last tensor, behind `first` or before `constant`."""
        label = f"{self._prefix}_{len(self.nodes)}_{kind.lower()}"
        inputs = [first, self.last] if first else [self.last]
        if constant is not None:
            tensor = numpy_helper.from_array(np.asarray(constant), f"{label}_value")
            self.constants.append(tensor)
            inputs.append(tensor.name)
        self.last = name or label
        self.nodes.append(helper.make_node(kind, inputs, [self.last], name=label, **attributes))


def _permutation(node: onnx.NodeProto) -> list[int]:
    found: list[int] = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
    return found
