"""Raw pixels as the quantised input of a `.tflite` network: no float operator in front.

In front of the first layer stands  x_c = g_c p + o_c  for the pixel p of channel c: a cast, a
subtraction, a product. It goes away, in one of two ways:

where all channels share g and o, and m = -o/g is a whole number of pixel steps, p itself is the
quantised x, exactly and for nothing:

    x = g (p - m)           scale g, zero point m of a byte, m - 128 of an int8              (1)

where they do not, a depthwise convolution of single pixels computes x from p, its input of
scale 1. It rounds once, to the grid of x: as good as computing x in float and quantising it.
(Putting g and o into the first convolution would be free, but wrong at the edge: padding is
0 in x, and one zero point cannot be each channel's mean. With ImageNet's means it took a
MobileNetV2 of random weights at 224 pixels from a cosine of .999 to .989.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_cl.arrays import F64
from edge_cl.errors import ExportError
from edge_cl_export.quantise.clipping import Range
from edge_cl_export.quantise.flatbuffer import (
    add_constant,
    constant,
    insert_scaling,
    kind_of,
    name_of,
    read_flat,
    set_input,
    type_of,
    write_flat,
)

__all__ = ["PixelInput", "pixel_input", "require_all_integer", "require_pixel_steps"]

_WHOLE = 1e-3  # of a pixel step
_HINT = "export litert-int8, whose normalisation and features are float"


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelInput:
    """A float network whose input is what a pixel stands for.

    model : its `.tflite` bytes; float32 (1, h, w, 3) in.
    name : of the input tensor.
    range : of its values, from the pixel 0 to the pixel 255.
    zero : the pixel that stands for 0.
    """

    model: bytes
    name: str
    range: Range
    zero: int


def pixel_input(blob: bytes) -> PixelInput:
    """Return the network behind its normalisation.

    Raises
    ------
    ExportError : the normalisation cannot be taken away.
    """
    model = read_flat(blob)
    graph = model.subgraphs[0]
    found = _normalisation(model)
    if found is None:
        raise ExportError(
            "full-integer LiteRT: the network does not begin with a normalisation of uint8 pixels",
            hint=_HINT,
        )
    chain, x, gain, offset = found
    graph.operators = [op for op in graph.operators if all(op is not gone for gone in chain)]
    zeros = -offset / gain
    if np.ptp(gain) == 0 and np.ptp(zeros) == 0 and _is_byte(zeros[0]):
        zero, scale, entry = round(float(zeros[0])), float(gain[0]), x  # (1)
    else:
        zero, scale, entry = 0, 1.0, int(chain[0].outputs[0])
        if entry == x:
            raise ExportError("full-integer LiteRT: the pixels are not normalised", hint=_HINT)
        weights = add_constant(model, "pixel_gain", gain.astype(np.float32).reshape(1, 1, 1, 3))
        bias = add_constant(model, "pixel_offset", offset.astype(np.float32))
        insert_scaling(model, entry, weights, bias, x)
    set_input(model, entry)
    return PixelInput(
        model=write_flat(model),
        name=name_of(graph.tensors[entry]),
        range=(-zero * scale, (255 - zero) * scale),
        zero=zero,
    )


def require_pixel_steps(blob: bytes, zero: int) -> None:
    """Do nothing if the input of a quantised network is int8, p - 128 for the pixel p.

    Raises
    ------
    ExportError : the quantiser chose another grid.
    """
    graph = read_flat(blob).subgraphs[0]
    tensor = graph.tensors[graph.inputs[0]]
    found = None if type_of(tensor) != "INT8" else int(tensor.quantization.zeroPoint[0])
    if found != zero - 128:  # (1)
        raise ExportError(
            f"the quantiser made the input {type_of(tensor)} with zero point {found}, "
            f"expected INT8 with {zero - 128}"
        )


def require_all_integer(blob: bytes) -> None:
    """Do nothing if no operator of a network reads or gives a float tensor.

    Raises
    ------
    ExportError : it names the first that does.
    """
    model = read_flat(blob)
    tensors = model.subgraphs[0].tensors
    for operator in model.subgraphs[0].operators:
        for index in (*operator.inputs, *operator.outputs):
            if index >= 0 and type_of(tensors[index]).startswith("FLOAT"):
                raise ExportError(
                    f"full-integer LiteRT: the operator {kind_of(model, operator)} has no "
                    "integer form here",
                    hint=_HINT,
                )


def _normalisation(model: Any) -> tuple[list[Any], int, F64, F64] | None:
    """Return the operators between pixels and x, the tensor x, and g and o of each channel."""
    graph = model.subgraphs[0]
    x = int(graph.inputs[0])
    chain: list[Any] = []
    gain, offset = np.ones(3), np.zeros(3)
    while len(readers := [op for op in graph.operators if x in list(op.inputs)]) == 1:
        kind = kind_of(model, readers[0])
        if not chain and kind == "CAST":
            chain.append(readers[0])
        elif chain and kind in ("ADD", "MUL", "SUB") and readers[0].inputs[0] == x:
            value = constant(model, int(readers[0].inputs[1]))
            options = readers[0].builtinOptions
            if value is None or value.size not in (1, 3) or options.fusedActivationFunction:
                break
            value = value.astype(np.float64).ravel()
            if kind == "MUL":
                gain, offset = gain * value, offset * value
            else:
                offset = offset + (value if kind == "ADD" else -value)
            chain.append(readers[0])
        else:
            break
        x = int(readers[0].outputs[0])
    whole = type_of(graph.tensors[graph.inputs[0]]) == "UINT8" and bool((gain > 0).all())
    return (chain, x, gain, offset) if chain and whole else None


def _is_byte(zero: float) -> bool:
    return abs(zero - round(zero)) < _WHOLE and 0 <= round(zero) <= 255
