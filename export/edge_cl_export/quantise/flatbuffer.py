"""A `.tflite` file as objects: read, looked at, changed, written as one plain FlatBuffer.

Buffers that a tool has put behind the FlatBuffer are brought back into it: the runtime takes
files that hold everything in themselves (see `edge_cl.tflite_file`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl.errors import ExportError, MissingExtraError

__all__ = [
    "add_constant",
    "code_of",
    "constant",
    "insert_scaling",
    "kind_of",
    "name_of",
    "read_flat",
    "set_input",
    "type_of",
    "write_flat",
]

_NUMPY = {"FLOAT32": "<f4", "FLOAT16": "<f2", "INT8": "i1", "UINT8": "u1", "INT32": "<i4"}


def read_flat(blob: bytes) -> Any:
    """Return the `ModelT` of a `.tflite` file with one graph, all buffers in place.

    Raises
    ------
    ExportError : no TFLite file, or one with several graphs.
    """
    schema = _schema()
    if blob[4:8] != b"TFL3":
        raise ExportError("expected a TFLite file")
    model = schema.ModelT.InitFromPackedBuf(blob, 0)
    if len(model.subgraphs) != 1:
        raise ExportError(f"expected a TFLite file with one graph, got {len(model.subgraphs)}")
    for buffer in model.buffers:
        if buffer.offset > 1:
            behind = blob[buffer.offset : buffer.offset + buffer.size]
            buffer.data = np.frombuffer(behind, np.uint8)
        buffer.offset = buffer.size = 0
    return model


def write_flat(model: Any) -> bytes:
    """Return the bytes of a `ModelT`."""
    from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray

    return bytes(convert_object_to_bytearray(model))


def code_of(model: Any, operator: Any) -> Any:
    """Return the `OperatorCodeT` of an operator: its kind and its version."""
    return model.operatorCodes[operator.opcodeIndex]


def kind_of(model: Any, operator: Any) -> str:
    """Return the name of an operator's kind, as "CONV_2D"."""
    code = code_of(model, operator)
    return _names("BuiltinOperator")[max(code.builtinCode, code.deprecatedBuiltinCode)]


def type_of(tensor: Any) -> str:
    """Return the name of a tensor's type, as "INT8"."""
    return _names("TensorType")[tensor.type]


def name_of(tensor: Any) -> str:
    """Return a tensor's name."""
    name: str = tensor.name.decode() if isinstance(tensor.name, bytes) else tensor.name
    return name


def constant(model: Any, index: int) -> NDArray[Any] | None:
    """Return the values of a constant tensor, or None where it is computed or left out."""
    if index < 0:
        return None
    tensor = model.subgraphs[0].tensors[index]
    data = model.buffers[tensor.buffer].data
    if data is None or not len(data) or type_of(tensor) not in _NUMPY:
        return None
    shape = () if tensor.shape is None else tuple(tensor.shape)
    values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), _NUMPY[type_of(tensor)])
    return values.reshape(shape)


def add_constant(model: Any, name: str, values: NDArray[np.float32]) -> int:
    """Add a constant float32 tensor, and return its place in the graph."""
    schema = _schema()
    data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
    model.buffers.append(schema.BufferT(data=data))
    tensor = schema.TensorT(
        shape=np.array(values.shape, np.int32),
        type=schema.TensorType.FLOAT32,
        buffer=len(model.buffers) - 1,
        name=name,
        hasRank=True,
    )
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def insert_scaling(model: Any, x: int, weights: int, bias: int, y: int) -> None:
    """Begin the graph with y = weights · x + bias, a depthwise convolution of one pixel."""
    schema = _schema()
    number = schema.BuiltinOperator.DEPTHWISE_CONV_2D
    code = schema.OperatorCodeT(deprecatedBuiltinCode=number, version=1, builtinCode=number)
    model.operatorCodes.append(code)
    operator = schema.OperatorT(
        opcodeIndex=len(model.operatorCodes) - 1,
        inputs=np.array([x, weights, bias], np.int32),
        outputs=np.array([y], np.int32),
        builtinOptionsType=schema.BuiltinOptions.DepthwiseConv2DOptions,
        builtinOptions=schema.DepthwiseConv2DOptionsT(
            padding=schema.Padding.VALID,
            strideW=1,
            strideH=1,
            depthMultiplier=1,
            dilationWFactor=1,
            dilationHFactor=1,
        ),
    )
    model.subgraphs[0].operators.insert(0, operator)


def set_input(model: Any, index: int) -> None:
    """Make a tensor the one input of the graph and of its signatures."""
    graph = model.subgraphs[0]
    graph.inputs = np.array([index], np.int32)
    for signature in model.signatureDefs or []:
        for entry in signature.inputs:
            entry.tensorIndex = index


def _names(enum: str) -> dict[int, str]:
    return {v: k for k, v in vars(getattr(_schema(), enum)).items() if isinstance(v, int)}


def _schema() -> Any:
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise MissingExtraError("LiteRT export", "export") from error
    return schema_py_generated
