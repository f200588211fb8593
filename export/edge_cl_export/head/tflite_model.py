"""TFLite models through the schema's object form: appended to, and packed again.

Tensors, buffers and operators are appended to the lists of a model, and their index is their
name. The same lists give the same bytes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import ArrayLike

__all__ = ["Operators", "empty_model", "named", "packed", "with_labels"]

_OP = schema.BuiltinOperator
_TYPE = schema.TensorType
_IDENTIFIER = b"TFL3"
_ALIGNED = 16  # bytes, of every buffer: what the schema asks for
_VERSIONS = {_OP.DEQUANTIZE: 2}  # that takes int8; of the others the first will do
_NEW_FIELD = 127  # in the old field of an operator code: see the new one
_TYPES = {"float32": _TYPE.FLOAT32, "int32": _TYPE.INT32, "int8": _TYPE.INT8}


class Operators:
    """Operators, tensors and buffers that are appended to the first subgraph of a model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.graph = model.subgraphs[0]

    def put(
        self,
        kind: int,
        inputs: Sequence[int],
        shape: Sequence[int],
        options: tuple[int, Any] | None = None,
    ) -> int:
        """Append an operator with one float32 output of `shape`; return the output's index."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(kind)
        operator.inputs = list(inputs)
        if options is not None:
            operator.builtinOptionsType, operator.builtinOptions = options
        out = self.tensor(shape, _TYPE.FLOAT32, 0)
        operator.outputs = [out]
        self.graph.operators.append(operator)
        return out

    def constant(self, value: ArrayLike, dtype: str = "float32") -> int:
        """Append a constant; return its index."""
        array = np.ascontiguousarray(np.asarray(value, dtype))
        return self.tensor(array.shape, _TYPES[dtype], self._buffer(array.tobytes()))

    def tensor(self, shape: Sequence[int], kind: int, buffer: int) -> int:
        """Append a tensor; return its index."""
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = list(shape), kind, buffer
        tensor.name = f"head/{len(self.graph.tensors)}"
        tensor.hasRank = True
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def metadata(self, name: str, text: str) -> None:
        """Append an entry of the model's metadata."""
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, self._buffer(text.encode())
        self._model.metadata = [*(self._model.metadata or []), entry]

    def _buffer(self, data: bytes) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        self._model.buffers.append(buffer)
        return len(self._model.buffers) - 1

    def _code(self, kind: int) -> int:
        codes, version = self._model.operatorCodes, _VERSIONS.get(kind, 1)
        for i, code in enumerate(codes):
            if (code.builtinCode, code.version) == (kind, version) and not code.customCode:
                return i
        code = schema.OperatorCodeT()
        code.version = version
        code.builtinCode = kind
        code.deprecatedBuiltinCode = min(kind, _NEW_FIELD)
        codes.append(code)
        return len(codes) - 1


def empty_model(d: int) -> Any:
    """Return a model whose output is its input, `features` (1, d) float32."""
    model = schema.ModelT()
    model.version = 3
    model.description = "edge-cl"
    model.operatorCodes, model.metadata = [], []
    model.buffers = [schema.BufferT()]  # the first one is empty, by convention
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.operators = "main", [], []
    model.subgraphs = [graph]
    features = Operators(model).tensor([1, d], _TYPE.FLOAT32, 0)
    graph.tensors[features].name = "features"
    graph.inputs, graph.outputs = [features], [features]
    signature = schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    signature.inputs = [named("features", features)]
    model.signatureDefs = [signature]
    return model


def named(name: str, tensor: int) -> Any:
    """Return the entry of a signature that names a tensor."""
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, tensor
    return entry


def packed(model: Any) -> bytes:
    """Return the FlatBuffer of a model."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    for buffer in model.buffers:
        buffer.Pack = partial(_aligned, buffer)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _aligned(buffer: Any, builder: Any) -> int:
    """Pack a buffer so that its bytes begin where 16 divides their place, as the schema says."""
    data = None
    if buffer.data is not None and len(buffer.data):
        stored = np.asarray(buffer.data, np.uint8).tobytes()
        builder.StartVector(1, len(stored), _ALIGNED)
        builder.head -= len(stored)
        builder.Bytes[builder.head : builder.head + len(stored)] = stored
        builder.vectorNumElems = len(stored)
        data = builder.EndVector()
    schema.BufferStart(builder)
    if data is not None:
        schema.BufferAddData(builder, data)
    return int(schema.BufferEnd(builder))


def with_labels(model: bytes, labels: Sequence[str]) -> bytes:
    """Return a file that is a model and, read from its end, a ZIP archive with `labels.txt`."""
    stream = io.BytesIO(model)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        entry = zipfile.ZipInfo("labels.txt")  # of a fixed date
        archive.writestr(entry, "".join(f"{label}\n" for label in labels))
    return stream.getvalue()
