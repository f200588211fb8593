"""Ranges of activations of a LiteRT model, measured and chosen as those of an ONNX model are.

The float model runs with every tensor kept; one pass counts the values of each (`histogram`),
and `quantizer_ranges` puts what was chosen (`clipping`) into the form that ai-edge-quantizer
takes in place of what its own calibrator would have measured: minimum and maximum.

Before a max pooling the converter may pad with -inf. That is no value of the network, and is not
counted: as an integer it becomes the lowest of the range, below which nothing is. An activation
that is not finite is refused all the same, in the tensor that is padded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from edge_cl.arrays import F32, U8
from edge_cl.errors import MissingExtraError
from edge_cl_export.quantise.clipping import Range
from edge_cl_export.quantise.flatbuffer import constant, kind_of, name_of, read_flat
from edge_cl_export.quantise.histogram import Histogram
from edge_cl_export.quiet import quiet

__all__ = ["quantizer_ranges", "watch_litert"]

_ENDLESS = 3e38  # the lowest float32 stands for -inf as well


def watch_litert(
    model: bytes,
    batches: Iterable[U8],
    *,
    progress: Callable[[str, float], None] | None = None,
    pictures: int = 0,
) -> dict[str, Histogram]:
    """Return the counts of each float tensor of `model` that an operator computes.

    Parameters
    ----------
    batches : yields (n, h, w, 3) uint8.
    progress : called with what is done and the share of it; needs `pictures`, how many come.

    Raises
    ------
    MissingExtraError : LiteRT is not installed.
    ExportError : an activation is not finite.
    """
    interpreter = _interpreter(model)
    computed, padded = _computed(model)
    # Tensors without a value, such as those of a subgraph, have no float content to count.
    watched = [
        (detail["name"], detail["index"])
        for detail in interpreter.get_tensor_details()
        if detail["name"] in computed and detail["dtype"] == np.float32
    ]
    histograms = {name: Histogram() for name, _ in watched}
    feed = interpreter.get_input_details()[0]["index"]
    done = 0
    for batch in batches:
        for picture in batch:
            interpreter.set_tensor(feed, picture[None])
            interpreter.invoke()
            for name, index in watched:
                values: F32 = interpreter.get_tensor(index)
                if name in padded:
                    values = values[np.abs(values) < _ENDLESS]
                histograms[name].add(values, f"tensor {name}")
        done += len(batch)
        if progress is not None and pictures:
            progress("measuring activations", min(done / pictures, 1.0))
    return histograms


def quantizer_ranges(ranges: Mapping[str, Range]) -> dict[str, dict[str, F32]]:
    """Return `ranges` as what ai-edge-quantizer calls quantisation statistics (QSVs)."""
    return {
        name: {"min": np.array([low], np.float32), "max": np.array([high], np.float32)}
        for name, (low, high) in ranges.items()
    }


def _interpreter(model: bytes) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingExtraError("LiteRT quantisation", "export") from error
    with quiet():
        interpreter = Interpreter(
            model_content=model, experimental_preserve_all_tensors=True, num_threads=2
        )
        interpreter.allocate_tensors()
    return interpreter


def _computed(model: bytes) -> tuple[set[str], set[str]]:
    """Return the names of the tensors that operators give, and of those padded with infinity."""
    flat = read_flat(model)
    graph = flat.subgraphs[0]
    computed, padded = set(), set()
    for operator in graph.operators:
        names = {name_of(graph.tensors[index]) for index in operator.outputs}
        computed |= names
        if kind_of(flat, operator) == "PADV2":
            padding = constant(flat, operator.inputs[2])
            if padding is not None and np.abs(padding).max() > _ENDLESS:
                padded |= names
    return computed, padded
