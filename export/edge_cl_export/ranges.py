"""Ranges of activations: the interval of each tensor that 8 bits are spent on.

Two passes over the calibration pictures, one batch at a time, so memory does not grow with
their number: the first finds minimum and maximum of every tensor, the second counts its
values into `BINS` equal bins between them. Percentiles are read off the counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_cl.arrays import F32, I64, U8
from edge_cl.errors import ExportError

__all__ = ["BINS", "Range", "activation_ranges", "percentile_range"]

BINS = 2048

Range = tuple[float, float]


def activation_ranges(
    model: onnx.ModelProto,
    batches: Callable[[], Iterable[U8]],
    percentile: float | None,
) -> dict[str, Range]:
    """Return the range of each float tensor that a node of `model` computes.

    Parameters
    ----------
    batches : called once a pass; yields (n, h, w, 3) uint8.
    percentile : share of the values inside the range, in percent, split evenly between both
        ends; None: all of them.
    """
    names = _float_tensors(model)
    run = _session(model, names)
    low = np.full(len(names), np.inf)
    high = np.full(len(names), -np.inf)
    for batch in batches():
        for i, values in enumerate(run(batch)):
            low[i] = min(low[i], float(values.min()))
            high[i] = max(high[i], float(values.max()))
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ExportError("an activation is not finite on the calibration pictures")
    if percentile is None:
        return dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True))
    counts = np.zeros((len(names), BINS), dtype=np.int64)
    for batch in batches():
        for i, values in enumerate(run(batch)):
            counts[i] += _histogram(values, low[i], high[i])
    return {
        name: percentile_range(counts[i], float(low[i]), float(high[i]), percentile)
        for i, name in enumerate(names)
    }


def percentile_range(counts: I64, low: float, high: float, percentile: float) -> Range:
    """Return the range that holds `percentile` of the values counted between low and high."""
    tail = (1.0 - percentile / 100.0) / 2.0
    share = np.cumsum(counts) / max(int(counts.sum()), 1)
    edges = np.linspace(low, high, len(counts) + 1)
    first = int(np.searchsorted(share, tail, side="right"))
    last = int(np.searchsorted(share, 1.0 - tail, side="left"))
    return float(edges[min(first, len(counts) - 1)]), float(edges[min(last + 1, len(counts))])


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


def _histogram(values: F32, low: float, high: float) -> NDArray[np.int64]:
    if not high > low:
        return np.bincount([0], weights=[values.size], minlength=BINS).astype(np.int64)
    bins = ((values.ravel() - np.float32(low)) * np.float32(BINS / (high - low))).astype(np.int32)
    return np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)
