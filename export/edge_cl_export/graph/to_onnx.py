"""A traced graph as one ONNX file in memory: no external data, no traces of this machine."""

from __future__ import annotations

import onnx
import torch
from torch import fx
from torch.export import Dim

from edge_cl.errors import ExportError, MissingExtraError
from edge_cl_export.first_line import first_line
from edge_cl_export.graph.trace import Traced
from edge_cl_export.quiet import quiet

__all__ = ["INPUT", "OPSET", "OUTPUT", "to_onnx"]

INPUT, OUTPUT = "image", "embedding"
OPSET = 18
IR_VERSION = 8  # what opset 18 came with: ONNX Runtime 1.14 and later


def to_onnx(graph: fx.GraphModule, traced: Traced) -> onnx.ModelProto:
    """Return `graph`, which has the signature of `traced`, as a checked ONNX model.

    Raises
    ------
    ExportError : an operator has no ONNX form.
    """
    shapes = ({0: Dim("n", min=1, max=4096)},) if traced.any_batch else None
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(
                graph, (traced.example,), dynamic_shapes=shapes, strict=False
            )
            made = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                verbose=False,
            )
        if made is None:
            raise ExportError("torch.onnx.export returned nothing")
        model: onnx.ModelProto = made.model_proto
    except ImportError as error:
        raise MissingExtraError("ONNX export", "export") from error
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"ONNX export failed: {first_line(error)}") from error
    _strip(model)
    model.ir_version = min(model.ir_version, IR_VERSION)
    onnx.checker.check_model(model)
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Drop stack traces, paths and other notes: they differ between machines, and weigh."""
    batch = "n"
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del holder.metadata_props[:]
        holder.doc_string = ""
    del graph.value_info[:]
    model.producer_version = ""
    for value in (*graph.input, *graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if first.dim_param:
            first.dim_param = batch
    model.CopyFrom(onnx.shape_inference.infer_shapes(model))
