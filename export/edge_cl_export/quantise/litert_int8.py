"""LiteRT int8: static ranges, 8-bit weights a channel, 8-bit activations.

The picture enters as uint8 and is normalised in float; the pooling and what follows it stay
in float too, so the embedding keeps more than 8 bits. So does what mixes activations in a
transformer, see `integer_stretches`.

With `integer_io` nothing is float, for accelerators that take no float operator (Edge TPU, most
NPU delegates): the raw pixels are the int8 input (see that module), and the features come out
as int8. They then have 255 steps; the runner scales them back.

Chosen layers can stay in float. One that was not chosen and is float all the same is an error:
the quantiser skips what it does not know, and says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

from edge_cl.arrays import U8
from edge_cl.errors import EdgeCLError, ExportError, MissingExtraError
from edge_cl_export.first_line import first_line
from edge_cl_export.quantise.clipping import Range, chosen_ranges
from edge_cl_export.quantise.flatbuffer import constant, kind_of, name_of, read_flat, write_flat
from edge_cl_export.quantise.integer_io import pixel_input, require_all_integer, require_pixel_steps
from edge_cl_export.quantise.integer_share import LITERT_WEIGHTED, require_integer
from edge_cl_export.quantise.integer_stretches import Operator, Role, left_in_float
from edge_cl_export.quantise.litert_ranges import quantizer_ranges, watch_litert
from edge_cl_export.quiet import quiet

__all__ = ["quantize_litert"]

_ACTIVATIONS = {"LEAKY_RELU", "RELU", "RELU6", "RELU_N1_TO_1"}
# Attention, softmax, parts of a layer norm: no good integer form. And what XNNPACK computes in
# float only: with integer hard swishes a MobileNetV3 takes 2.7 times as long.
_FLOAT = {"BATCH_MATMUL", "GELU", "HARD_SWISH", "RSQRT", "SOFTMAX", "SQUARED_DIFFERENCE"}


def quantize_litert(
    model: bytes,
    ranges: Mapping[str, Range] | Callable[[], Iterable[U8]],
    *,
    integer_io: bool = False,
    float_layers: Set[str] = frozenset(),
) -> bytes:
    """Return an int8 version of a float flatbuffer that takes uint8 (1, h, w, 3).

    Parameters
    ----------
    ranges : of the float tensors that `model` computes, see `litert_ranges`; or what gives
        (n, h, w, 3) uint8 pictures, whose smallest and largest values are taken.
    integer_io : whether input and output, and all between, are integer.
    float_layers : names of tensors whose operators stay in float, see `graph_order.in_litert`.

    Raises
    ------
    MissingExtraError : ai-edge-quantizer is not installed.
    ExportError : the quantiser refuses the model, or leaves in float what should not be.
    """
    if integer_io and float_layers:
        raise ExportError(
            f"full-integer LiteRT: {len(float_layers)} layers are to stay in float",
            hint="export litert-int8, which may keep layers in float",
        )
    flat = read_flat(model)
    if not any(kind_of(flat, op) in LITERT_WEIGHTED for op in flat.subgraphs[0].operators):
        raise ExportError("the network has no convolution and no matrix product to quantise")
    if callable(ranges):
        ranges = chosen_ranges(watch_litert(model, ranges()), "minmax")
    if not integer_io:
        in_float = left_in_float(_operators(flat, float_layers))
        quantized = _quantize(model, ranges, in_float, ends=False)
    else:
        if any(_joins_a_constant(flat, operator) for operator in flat.subgraphs[0].operators):
            raise ExportError(
                "full-integer LiteRT: the operator CONCATENATION with a constant, as a class "
                "token, has no integer form here",
                hint="export litert-int8, or take a network without a class token",
            )
        pixels = pixel_input(model)
        ranges = {**ranges, pixels.name: pixels.range}
        quantized = _quantize(pixels.model, ranges, [], ends=True)
        require_pixel_steps(quantized, pixels.zero)
        require_all_integer(quantized)
    require_integer(quantized, float_layers, "LiteRT int8")
    return quantized


def _quantize(
    model: bytes, ranges: Mapping[str, Range], in_float: list[str], *, ends: bool
) -> bytes:
    """Run the quantiser; `ends` says whether input and output become integer as well."""
    try:
        with quiet():
            from ai_edge_quantizer import quantizer, recipe
            from ai_edge_quantizer.algorithm_manager import AlgorithmName
            from ai_edge_quantizer.qtyping import TFLOperationName
    except ImportError as error:
        raise MissingExtraError("LiteRT quantisation", "export") from error
    try:
        with quiet():
            worker = quantizer.Quantizer(bytearray(model))
            worker.load_quantization_recipe(recipe.static_wi8_ai8())

            def leave(scope: str, kind: Any) -> None:
                worker.update_quantization_recipe(
                    scope, kind, algorithm_key=AlgorithmName.NO_QUANTIZE
                )

            if not ends:
                leave(".*", TFLOperationName.INPUT)
                leave(".*", TFLOperationName.OUTPUT)
            if in_float:
                names = "|".join(re.escape(name) for name in in_float)
                leave(f"^(?:{names});$", TFLOperationName.ALL_SUPPORTED)
            made = worker.quantize(
                quantizer_ranges(ranges), enable_progress_report=False
            ).quantized_model
        return write_flat(read_flat(bytes(made)))
    except EdgeCLError:
        raise
    except Exception as error:
        raise ExportError(
            f"LiteRT quantisation failed: {first_line(error)}",
            hint="export litert-fp16 for this network, or int8 of the other runtime",
        ) from error


def _joins_a_constant(flat: Any, operator: Any) -> bool:
    """Say whether an operator is a concatenation with a constant, which the quantiser refuses."""
    parts = [constant(flat, index) for index in operator.inputs]
    return kind_of(flat, operator) == "CONCATENATION" and any(p is not None for p in parts)


def _operators(flat: Any, float_layers: Set[str]) -> list[Operator]:
    """Return the operators of a graph as `left_in_float` takes them."""
    graph = flat.subgraphs[0]

    def role(operator: Any, name: str) -> Role:
        kind = kind_of(flat, operator)
        if kind in LITERT_WEIGHTED and constant(flat, operator.inputs[1]) is not None:
            return "float layer" if name in float_layers else "layer"
        if kind in _ACTIVATIONS:
            return "activation"
        in_float = kind in _FLOAT or _joins_a_constant(flat, operator)
        return "float" if in_float else "between"

    found = []
    for operator in graph.operators:
        name = name_of(graph.tensors[operator.outputs[0]])
        reads = tuple(int(i) for i in operator.inputs if i >= 0 and constant(flat, i) is None)
        gives = tuple(int(i) for i in operator.outputs)
        found.append(Operator(name, role(operator, name), reads, gives))
    return found
