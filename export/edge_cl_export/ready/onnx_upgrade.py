"""An ONNX model in the form that the exporter's own have: no functions, opset, names of nodes.

An older operator set is brought to the exporter's by onnx's converter, and what comes out is
compared with what came in. A newer one stays: what its operators do cannot always be said in
older ones, and whether a device's runtime has them is another question.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edge_cl.errors import EdgeCLError, ExportError, MissingExtraError
from edge_cl_export.first_line import first_line
from edge_cl_export.graph.to_onnx import IR_VERSION, OPSET
from edge_cl_export.quiet import quiet

__all__ = ["run_onnx", "upgraded"]

TOLERANCE = 1e-4  # relative to the largest value; converters reorder sums


def upgraded(model: onnx.ModelProto, shape: tuple[int, ...], where: str) -> onnx.ModelProto:
    """Return `model`, which has one output, upgraded.

    Parameters
    ----------
    shape : of its input, for one picture.

    Raises
    ------
    ExportError : it does not run, it cannot be converted, or gives something else afterwards.
    """
    if model.functions:  # quantisers do not look into them
        model = onnx.inliner.inline_local_functions(model)
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), OPSET)
    if version < OPSET:
        model = _converted(model, version, shape, where)
    constants = {tensor.name for tensor in model.graph.initializer}
    entries = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(entries)
    model.ir_version = max(IR_VERSION, helper.find_min_ir_version_for(model.opset_import))
    _store_constants(model.graph)
    names = {node.name for node in model.graph.node}
    if len(names) != len(model.graph.node) or "" in names:  # quantisers tell nodes by name
        for i, node in enumerate(model.graph.node):
            node.name = f"{node.op_type.lower()}_{i}"
    return model


def _store_constants(graph: onnx.GraphProto) -> None:
    """Make constants initialisers: a quantiser takes a node without inputs for one in front."""
    computed = []
    for node in graph.node:
        if node.op_type != "Constant" or node.attribute[0].name.startswith("sparse"):
            computed.append(node)
            continue
        value = helper.get_attribute_value(node.attribute[0])
        if not isinstance(value, onnx.TensorProto):
            kinds = {"value_float": np.float32, "value_floats": np.float32}
            kind = kinds.get(node.attribute[0].name, np.int64)
            value = numpy_helper.from_array(np.array(value, kind))
        stored = graph.initializer.add()
        stored.CopyFrom(value)
        stored.name = node.output[0]
    if len(computed) < len(graph.node):
        del graph.node[:]
        graph.node.extend(computed)


def run_onnx(model: onnx.ModelProto, picture: NDArray[Any]) -> NDArray[Any]:
    """Return the first output of `model` for its one input."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingExtraError("a ready .onnx file", "export") from error
    options = ort.SessionOptions()
    options.log_severity_level = 4
    with quiet():
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        made: NDArray[Any] = session.run(None, {session.get_inputs()[0].name: picture})[0]
    return made


def _converted(
    model: onnx.ModelProto, version: int, shape: tuple[int, ...], where: str
) -> onnx.ModelProto:
    hint = f"export it again with opset {OPSET}"
    rng = np.random.default_rng(0)
    constants = {tensor.name for tensor in model.graph.initializer}
    entry = next(value for value in model.graph.input if value.name not in constants)
    kind = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
    picture = (
        rng.integers(0, 256, shape).astype(kind)
        if kind == np.uint8
        else rng.normal(size=shape).astype(kind)
    )
    try:
        before = run_onnx(model, picture)
    except EdgeCLError:
        raise
    except Exception as error:
        raise ExportError(
            f"{where} does not run for an input of {shape}: {first_line(error)}",
            hint="check --input-size and --layout",
        ) from error
    try:
        made: onnx.ModelProto = onnx.version_converter.convert_version(model, OPSET)
        after = run_onnx(made, picture)
    except Exception as error:
        raise ExportError(
            f"{where} is of opset {version} and cannot be brought to {OPSET}: {first_line(error)}",
            hint=hint,
        ) from error
    largest = float(np.abs(before.astype(np.float64)).max(initial=0.0))
    if before.shape != after.shape or not np.allclose(
        before, after, rtol=0.0, atol=TOLERANCE * largest
    ):
        raise ExportError(
            f"{where} is of opset {version} and gives something else in opset {OPSET}", hint=hint
        )
    return made
