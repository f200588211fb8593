"""Where along the network the error arises: each stage of a deployed file against the float one.

A stage is what a weighted layer (convolution or matrix product) gives, behind its activation
where the two are one; of many layers, at most `MOST` are looked at, the first and the last among
them. Deployed and float values of one tensor are compared by cosine and SNR (`stage_error`).
Behind the layers come the embedding, and the embedding on the grid of the heads, with
q = rint(y / scale), |q| <= 2047: what a head learns from.

Quantisers keep the names of tensors, so the stages of two files are matched by name; a layer
whose tensor the deployed file has not got (fused away, or renamed) is left out. Integer tensors
are read as integers and scaled here, so that a runtime fuses its operators as it does on a device.
The float file must be of the same graph: where channels were equalised, of the equalised one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_cl.arrays import U8
from edge_cl.encoders.onnx_runner import forbid_telemetry
from edge_cl.errors import MissingExtraError
from edge_cl_export.proof.stage_error import (
    MOST,
    OUTPUT,
    Layer,
    Stage,
    Values,
    compared,
    in_both,
    real,
)
from edge_cl_export.quantise.integer_share import LITERT_WEIGHTED, ONNX_WEIGHTED
from edge_cl_export.quiet import quiet

__all__ = ["MOST", "Stage", "litert_stages", "onnx_stages"]

_ONNX_FUSED = {"Add", "Clip", "HardSwish", "LeakyRelu", "Relu"}  # behind a layer, and one with it
_LITERT_PRODUCTS = LITERT_WEIGHTED | {"BATCH_MATMUL"}  # MatMul, in ONNX, is of both kinds


def onnx_stages(
    reference: onnx.ModelProto, deployed: onnx.ModelProto, pictures: U8, scale: float
) -> tuple[Stage, ...]:
    """Return the stages of an ONNX file, of any precision, from the first layer to the grid.

    Parameters
    ----------
    reference : the float model.
    pictures : (n, h, w, 3), some.
    scale : grid step of the bundle.

    Raises
    ------
    MissingExtraError : ONNX Runtime is not installed.
    """
    scaled = _scaled(deployed)
    made = {name for node in deployed.graph.node for name in node.output}
    layers = _onnx_layers(reference.graph)
    pairs = in_both(layers, made)
    wanted = [name for _, name in pairs]
    floats = _onnx_values(reference, {name: (name, None) for name in wanted}, pictures)
    others = _onnx_values(
        deployed, {name: scaled.get(name, (name, None)) for name in wanted}, pictures
    )
    return compared(pairs, floats, others, scale)


def litert_stages(
    reference: bytes, deployed: bytes, pictures: U8, scale: float
) -> tuple[Stage, ...]:
    """Return the stages of a LiteRT file. See `onnx_stages`.

    Both files run on LiteRT's built-in kernels: tensors inside a delegate cannot be read.

    Raises
    ------
    MissingExtraError : LiteRT is not installed.
    """
    a, b = _interpreter(reference), _interpreter(deployed)
    layers = _litert_layers(a)
    here, there = _litert_tensors(a), _litert_tensors(b)
    pairs = in_both(layers, set(there))
    return compared(
        pairs,
        _litert_values(a, {name: here[name] for _, name in pairs}, pictures),
        _litert_values(b, {name: there[name] for _, name in pairs}, pictures),
        scale,
    )


def _onnx_layers(graph: onnx.GraphProto) -> list[Layer]:
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {n.output[0] for n in graph.node if n.op_type == "Constant"}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    layers: list[Layer] = []
    for node in graph.node:
        if node.op_type not in ONNX_WEIGHTED:
            continue
        tensors = [node.output[0]]
        while len(next_ones := users.get(tensors[-1], [])) == 1:
            behind = next_ones[0]
            computed = [name for name in behind.input if name and name not in constants]
            if behind.op_type not in _ONNX_FUSED or len(computed) != 1:
                break
            tensors.append(behind.output[0])
        layers.append(Layer(len(layers) + 1, node.op_type, tuple(tensors)))
    return layers


def _scaled(model: onnx.ModelProto) -> dict[str, tuple[str, tuple[float, int] | None]]:
    """Return, of each tensor that is quantised, the integer one, its scale and zero point."""
    constants = {t.name: t for t in model.graph.initializer}
    found: dict[str, tuple[str, tuple[float, int] | None]] = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and set(node.input[1:]) <= constants.keys():
            scale = onnx.numpy_helper.to_array(constants[node.input[1]])
            zero = onnx.numpy_helper.to_array(constants[node.input[2]]) if node.input[2:] else 0
            if scale.size == 1:
                found[node.input[0]] = (node.output[0], (float(scale), int(zero)))
    return found


def _onnx_values(
    model: onnx.ModelProto,
    wanted: Mapping[str, tuple[str, tuple[float, int] | None]],
    pictures: U8,
) -> Iterator[Values]:
    """Yield the values by name, picture by picture, of a model with its insides laid open."""
    forbid_telemetry()
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingExtraError("looking into an ONNX file", "export") from error
    open_model = onnx.ModelProto()
    open_model.CopyFrom(model)
    output = model.graph.output[0].name
    inside = sorted({name for name, _ in wanted.values()} - {output})
    open_model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inside)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        open_model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output, *inside]
    for i in range(len(pictures)):
        feed = {session.get_inputs()[0].name: pictures[i : i + 1]}
        got = dict(zip(names, session.run(names, feed), strict=True))
        values = {name: real(got[tensor], step) for name, (tensor, step) in wanted.items()}
        yield {**values, OUTPUT: got[output]}


def _interpreter(model: bytes) -> Any:
    try:
        with quiet():
            from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise MissingExtraError("looking into a LiteRT file", "export") from error
    interpreter = Interpreter(
        model_content=model,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    return interpreter


def _litert_tensors(interpreter: Any) -> dict[str, dict[str, Any]]:
    """Return details of the tensors by name; of those that share one name, none."""
    found: dict[str, dict[str, Any]] = {}
    twice: set[str] = set()
    for tensor in interpreter.get_tensor_details():
        if tensor["name"] in found:
            twice.add(tensor["name"])
        found[tensor["name"]] = tensor
    return {name: tensor for name, tensor in found.items() if name not in twice}


def _litert_layers(interpreter: Any) -> list[Layer]:
    names = {t["index"]: t["name"] for t in interpreter.get_tensor_details()}
    layers: list[Layer] = []
    for op in interpreter._get_ops_details():
        if op["op_name"] in _LITERT_PRODUCTS:
            output = names[int(op["outputs"][0])]
            layers.append(Layer(len(layers) + 1, op["op_name"], (output,)))
    return layers


def _litert_values(
    interpreter: Any, wanted: Mapping[str, dict[str, Any]], pictures: U8
) -> Iterator[Values]:
    entry = interpreter.get_input_details()[0]
    output = interpreter.get_output_details()[0]
    for i in range(len(pictures)):
        interpreter.set_tensor(entry["index"], _fed(pictures[i : i + 1], entry))
        interpreter.invoke()
        values = {name: _litert_real(interpreter, tensor) for name, tensor in wanted.items()}
        yield {**values, OUTPUT: _litert_real(interpreter, output)}


def _fed(picture: U8, entry: Mapping[str, Any]) -> NDArray[Any]:
    """Return a picture as the input wants it; a pixel p is the p-th step of an int8 input."""
    if entry["dtype"] == np.int8:
        return (picture ^ 0x80).view(np.int8)
    return picture.astype(entry["dtype"])


def _litert_real(interpreter: Any, tensor: Mapping[str, Any]) -> NDArray[Any]:
    values: NDArray[Any] = interpreter.get_tensor(tensor["index"])
    scale, zero = tensor["quantization"]
    return real(values, (scale, zero) if scale else None)
