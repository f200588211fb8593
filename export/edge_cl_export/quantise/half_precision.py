"""Half precision: weights of 16 bits, half the size, next to no loss.

ONNX: the network between normalisation and pooling computes in float16; a runtime without
float16 arithmetic converts each weight and computes in float32, no faster than fp32 and no
slower. Normalisation, pooling and L2 norm stay in float32: mean and std lose nothing, the sums of
the pooling keep their precision, and squares do not overflow: a norm of 256 already has one
that float16 cannot hold. Raw uint8 pixels in and float32 features out, as ever.

LiteRT: weights are stored as float16 and unpacked when the file is loaded; what is computed
in is the delegate's choice (XNNPACK: float32, or float16 where the CPU has it and it is asked).

The largest float16 is `LARGEST`. A weight beyond it is an error here; an activation beyond it
shows where the file is judged.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from edge_cl.errors import ExportError, MissingExtraError
from edge_cl_export.first_line import first_line
from edge_cl_export.quantise.flatbuffer import constant, kind_of, name_of, read_flat, write_flat
from edge_cl_export.quantise.integer_share import LITERT_WEIGHTED
from edge_cl_export.quantise.onnx_int8 import outside
from edge_cl_export.quiet import quiet

__all__ = ["LARGEST", "half_litert", "half_onnx"]

LARGEST = 65504.0

_SUMS = ("GlobalAveragePool", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare")


def half_onnx(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model`, a float one, with float16 weights and arithmetic.

    Raises
    ------
    MissingExtraError : onnxruntime is not installed.
    ExportError : a weight is too large for float16, or the converter refuses the model.
    """
    try:
        from onnxruntime.transformers.float16 import (
            DEFAULT_OP_BLOCK_LIST,
            convert_float_to_float16,
        )
    except ImportError as error:
        raise MissingExtraError("ONNX half precision", "export") from error
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            _refuse_large(numpy_helper.to_array(tensor), tensor.name)
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    head, tail = outside(whole.graph)
    middle = _between(whole, head, tail)
    try:
        with quiet():
            made = convert_float_to_float16(
                middle, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_SUMS]
            )
    except Exception as error:
        raise ExportError(f"ONNX half precision: {first_line(error)}") from error
    return _joined(whole, head, made, tail)


def half_litert(model: bytes) -> bytes:
    """Return a float `.tflite` file with its weights stored as float16.

    Raises
    ------
    MissingExtraError : ai-edge-quantizer is not installed.
    ExportError : a weight is too large for float16, or the converter refuses the model.
    """
    try:
        with quiet():
            from ai_edge_quantizer import qtyping, quantizer
            from ai_edge_quantizer.algorithm_manager import AlgorithmName
    except ImportError as error:
        raise MissingExtraError("LiteRT half precision", "export") from error
    flat = read_flat(model)
    for operator in flat.subgraphs[0].operators:
        if kind_of(flat, operator) in LITERT_WEIGHTED:
            weights = constant(flat, operator.inputs[1])
            if weights is not None:  # nothing else becomes float16, as the -inf around a pooling
                _refuse_large(weights, name_of(flat.subgraphs[0].tensors[operator.inputs[1]]))
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=16, dtype=qtyping.TensorDataType.FLOAT
        ),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    try:
        with quiet():
            worker = quantizer.Quantizer(bytearray(model))
            worker.update_quantization_recipe(
                ".*",
                qtyping.TFLOperationName.ALL_SUPPORTED,
                op_config=config,
                algorithm_key=AlgorithmName.FLOAT_CASTING,
            )
            made = worker.quantize(enable_progress_report=False).quantized_model
    except Exception as error:
        raise ExportError(f"LiteRT half precision: {first_line(error)}") from error
    return write_flat(read_flat(bytes(made)))


def _between(
    model: onnx.ModelProto, head: list[onnx.NodeProto], tail: list[onnx.NodeProto]
) -> onnx.ModelProto:
    """Return what is neither in `head` nor in `tail` as a model of its own, float at its ends."""
    outer = {node.name for node in (*head, *tail)}
    kept = [node for node in model.graph.node if node.name not in outer]
    made = {name for node in kept for name in node.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    leaving = {name for node in tail for name in node.input} | {o.name for o in model.graph.output}
    entering = {name for node in kept for name in node.input if name} - made - constants
    known = {v.name: v for v in (*model.graph.value_info, *model.graph.output, *model.graph.input)}

    def values(names: set[str]) -> list[onnx.ValueInfoProto]:
        return [known[name] for name in sorted(names)]

    used = {name for node in kept for name in node.input}
    graph = onnx.helper.make_graph(
        kept,
        model.graph.name,
        values(entering),
        values(made & leaving),
        initializer=[tensor for tensor in model.graph.initializer if tensor.name in used],
        value_info=[v for v in model.graph.value_info if v.name in made],
    )
    return onnx.helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version
    )


def _joined(
    model: onnx.ModelProto,
    head: list[onnx.NodeProto],
    middle: onnx.ModelProto,
    tail: list[onnx.NodeProto],
) -> onnx.ModelProto:
    """Return `model` with `middle` for what was between `head` and `tail`."""
    outer = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (*head, *tail)]
    used = {name for node in outer for name in node.input}
    constants = [t for t in model.graph.initializer if t.name in used]
    inside = {t.name for t in middle.graph.initializer}
    for tensor in constants:  # a constant of both keeps a float32 twin of another name
        if tensor.name in inside:
            twin = f"{tensor.name}_float32"
            for node in outer:
                node.input[:] = [twin if name == tensor.name else name for name in node.input]
            tensor.name = twin
    graph = onnx.helper.make_graph(
        [*outer[: len(head)], *_sorted(middle.graph), *reversed(outer[len(head) :])],
        model.graph.name,
        model.graph.input,
        model.graph.output,
        initializer=[*constants, *middle.graph.initializer],
    )
    joined = onnx.helper.make_model(
        graph,
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
        producer_name="edge-cl",
    )
    onnx.checker.check_model(joined, full_check=True)
    return joined


def _sorted(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return nodes so that each comes after what it reads: the converter appends its casts."""
    ready = {t.name for t in graph.initializer} | {i.name for i in graph.input} | {""}
    waiting, done = list(graph.node), []
    while waiting:
        now = [n for n in waiting if ready.issuperset(n.input)]
        if not now:
            raise ExportError("ONNX half precision: the converter gave a graph with a loop")
        done += now
        ready.update(name for node in now for name in node.output)
        waiting = [n for n in waiting if not ready.issuperset(n.output)]
    return done


def _refuse_large(values: np.ndarray[tuple[int, ...], np.dtype[np.floating]], name: str) -> None:
    largest = float(np.abs(values).max(initial=0.0))
    if largest > LARGEST:
        raise ExportError(
            f"the constant {name[-60:]} reaches {largest:.3g}, float16 ends at {LARGEST:g}",
            hint="export this network as fp32 or int8",
        )
