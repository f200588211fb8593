"""A traced graph as a float LiteRT (TFLite) flatbuffer, for one picture at a time.

The converter pads a picture before a max pooling with -inf, for which there is no int8. Behind
a ReLU no value is below 0, so padding with 0 gives the same maxima, and has an int8.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import fx

from edge_cl.errors import EdgeCLError, ExportError, MissingExtraError
from edge_cl_export.first_line import first_line
from edge_cl_export.quiet import quiet

__all__ = ["to_litert"]

_ATEN = torch.ops.aten
_POOL = _ATEN.max_pool2d.default
_NOT_NEGATIVE = {_ATEN.relu.default, _ATEN.relu_.default, _ATEN.relu6.default}
_CLIPPED = {_ATEN.hardtanh.default, _ATEN.hardtanh_.default}


def to_litert(graph: fx.GraphModule, size: tuple[int, int]) -> bytes:
    """Return `graph` as a flatbuffer: uint8 (1, height, width, 3) in, float32 (1, d) out.

    Raises
    ------
    MissingExtraError : litert-torch is not installed.
    ExportError : an operator has no LiteRT form.
    """
    try:
        with quiet():
            import litert_torch
    except ImportError as error:
        raise MissingExtraError("LiteRT export", "export") from error
    example = torch.zeros((1, *size, 3), dtype=torch.uint8)
    try:
        with quiet(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "encoder.tflite"
            litert_torch.convert(_padded_with_zeros(graph), (example,)).export(str(path))
            return path.read_bytes()
    except EdgeCLError:
        raise
    except Exception as error:
        raise ExportError(f"LiteRT export failed: {first_line(error)}") from error


def _padded_with_zeros(graph: fx.GraphModule) -> fx.GraphModule:
    """Return a copy in which max pooling behind a ReLU is padded by an operator of its own."""
    with quiet():
        changed = copy.deepcopy(graph)
    for node in list(changed.graph.nodes):
        if node.target is not _POOL or not _is_not_negative(node.args[0]):
            continue
        x, kernel, stride, padding, dilation, ceil = _pooling(*node.args)
        down, across = padding[0], padding[-1]
        if ceil or not (down or across):  # ceil_mode drops windows that begin in the padding
            continue
        with changed.graph.inserting_before(node):
            around = [across, across, down, down]
            pad = changed.graph.call_function(_ATEN.constant_pad_nd.default, (x, around, 0.0))
        node.args = (pad, kernel, stride, [0, 0], dilation, False)
    changed.recompile()
    return changed


def _pooling(
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    ceil: Any = 0,
) -> tuple[Any, ...]:
    """Return the arguments of an aten.max_pool2d with those that it leaves out."""
    return x, kernel, stride, padding, dilation, ceil


def _is_not_negative(node: object) -> bool:
    if not isinstance(node, fx.Node):
        return False
    if node.target in _CLIPPED:
        low = node.args[1] if len(node.args) > 1 else -1.0
        return isinstance(low, int | float) and low >= 0
    return node.target in _NOT_NEGATIVE
