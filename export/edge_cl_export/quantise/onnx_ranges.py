"""Ranges of activations of an ONNX model: the interval of each tensor that 8 bits are spent on.

One pass over the calibration pictures, a batch at a time, counts the values of every tensor
(`histogram`); every way to choose a range (`clipping`) reads these counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx

from edge_cl.arrays import F32, U8
from edge_cl_export.quantise.histogram import Histogram

__all__ = ["watch_activations"]


def watch_activations(
    model: onnx.ModelProto,
    batches: Iterable[U8],
    *,
    progress: Callable[[str, float], None] | None = None,
    pictures: int = 0,
) -> dict[str, Histogram]:
    """Return the counts of each float tensor that a node of `model` computes.

    Parameters
    ----------
    batches : yields (n, h, w, 3) uint8.
    progress : called with what is done and the share of it; needs `pictures`, how many come.

    Raises
    ------
    ExportError : an activation is not finite.
    """
    names = _float_tensors(model)
    run = _session(model, names)
    histograms = {name: Histogram() for name in names}
    done = 0
    for batch in batches:
        for name, values in zip(names, run(batch), strict=True):
            histograms[name].add(values, f"tensor {name}")
        done += len(batch)
        if progress is not None and pictures:
            progress("measuring activations", min(done / pictures, 1.0))
    return histograms


def _float_tensors(model: onnx.ModelProto) -> list[str]:
    """Return the names of the float32 tensors that nodes compute, in order."""
    graph = model.graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    made = [name for node in graph.node for name in node.output]
    return [name for name in made if kinds.get(name) == onnx.TensorProto.FLOAT]


def _session(model: onnx.ModelProto, names: list[str]) -> Callable[[U8], list[F32]]:
    import onnxruntime as ort

    open_model = onnx.ModelProto()
    open_model.CopyFrom(model)
    known = {o.name for o in open_model.graph.output}
    open_model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in names
        if name not in known
    )
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        open_model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = session.get_inputs()[0].name

    def run(batch: U8) -> list[F32]:
        outputs: list[F32] = session.run(names, {feed: batch})
        return outputs

    return run
