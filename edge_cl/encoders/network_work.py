"""How much work a network is for one picture: multiply-adds and bytes, layer by layer.

They are counted from the shapes that the library tells while it runs, or has loaded, the network:

    convolution      MACs = outputs · inputs of one output = ∏ out · (C_in / groups) k_h k_w   (1)
    matrix product   MACs = ∏ out · length of the sum                                         (2)

A convolution of groups as many as channels is "depthwise": it multiplies each number it reads a
few times only, and runs at another rate than the "dense" rest. Everything else is "other": it
moves bytes. ONNX networks run once for this as they are written, before any fusion, so that the
count is one of the network and not of a runtime.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edge_cl.bundle import Bundle, EncoderSpec
from edge_cl.encoders import litert_runner, onnx_runner

__all__ = ["LayerWork", "NetworkWork", "network_work"]

Shape = tuple[int, ...]

_ELEMENT = {"int8": 1, "fp16": 2, "fp32": 4}  # bytes of what flows between layers
# operator -> which input holds the weights (1), or the left factor (2)
_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "QLinearConv": 3, "ConvInteger": 1}
_PRODUCTS = {"Gemm": 0, "MatMul": 0, "QLinearMatMul": 0, "MatMulInteger": 0}
_FREE = ("QuantizeLinear", "DequantizeLinear", "QUANTIZE", "DEQUANTIZE")  # fused, or at the ends


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWork:
    """One layer. `numbers`: that it reads and writes between layers; `weights`: of its own."""

    kind: Literal["dense", "depthwise", "other"]
    macs: int
    numbers: int
    weights: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkWork:
    """All layers of a network whose numbers take `element` bytes between them."""

    layers: tuple[LayerWork, ...]
    element: int

    @property
    def macs(self) -> int:
        """Multiply-adds for one picture."""
        return sum(layer.macs for layer in self.layers)

    @property
    def bytes_moved(self) -> int:
        """Read and written between layers for one picture, and of weights."""
        return sum((layer.numbers + layer.weights) * self.element for layer in self.layers)

    @property
    def widest_bytes(self) -> int:
        """What goes in and comes out of the layer where that is most."""
        return max((layer.numbers * self.element for layer in self.layers), default=0)

    def macs_of(self, kind: str) -> int:
        """Multiply-adds of the layers of one kind."""
        return sum(layer.macs for layer in self.layers if layer.kind == kind)


def network_work(bundle: Bundle, spec: EncoderSpec) -> NetworkWork:
    """Count the work of an encoder of `bundle`, for one picture.

    Raises
    ------
    BackendError, MissingExtraError : the library that runs it is not here, or cannot run it.
    """
    blob = bundle.files[spec.member]
    if spec.runtime == "litert":
        shaped = litert_runner.operators_shaped(blob, spec)
        layers = [_tflite_layer(*operator) for operator in shaped]
    else:
        shape = bundle.manifest.input.shape
        one = np.zeros((1, *shape), bundle.manifest.input.dtype)
        layers = [
            _onnx_layer(e["args"]) for e in onnx_runner.profiled_events(blob, one, fused=False)
        ]
    found = tuple(layer for layer in layers if layer is not None)
    return NetworkWork(layers=found, element=_ELEMENT[spec.precision])


def _onnx_layer(args: dict[str, Any]) -> LayerWork | None:
    kind = args["op_name"]
    if kind in _FREE:
        return None
    ins = [_shape(tensor) for tensor in args["input_type_shape"]]
    out = math.prod(_shape(args["output_type_shape"][0])) if args["output_type_shape"] else 0
    if kind in _CONVOLUTIONS:
        weights = ins[_CONVOLUTIONS[kind]]
        depthwise = weights[1] == 1 and ins[0][1] > 1
        return _convolution(ins[0], weights, out, math.prod(weights[1:]), depthwise=depthwise)
    if kind in _PRODUCTS:
        return _product(ins[_PRODUCTS[kind]], out, sum(map(math.prod, ins[1:])))
    return LayerWork(kind="other", macs=0, numbers=sum(map(math.prod, ins)) + out, weights=0)


def _tflite_layer(name: str, ins: list[Shape], outs: list[Shape]) -> LayerWork | None:
    if name in _FREE:
        return None
    out = sum(map(math.prod, outs))
    if name == "CONV_2D":  # weights: out, height, width, in
        return _convolution(ins[0], ins[1], out, math.prod(ins[1][1:]), depthwise=False)
    if name == "DEPTHWISE_CONV_2D":  # 1, height, width, out
        return _convolution(ins[0], ins[1], out, math.prod(ins[1][1:3]), depthwise=True)
    if name in ("FULLY_CONNECTED", "BATCH_MATMUL"):
        return _product(ins[0], out, sum(map(math.prod, ins[1:])))
    return LayerWork(kind="other", macs=0, numbers=sum(map(math.prod, ins)) + out, weights=0)


def _convolution(
    before: Shape, weights: Shape, out: int, of_one: int, *, depthwise: bool
) -> LayerWork:
    return LayerWork(
        kind="depthwise" if depthwise else "dense",
        macs=out * of_one,  # (1)
        numbers=math.prod(before) + out,
        weights=math.prod(weights),
    )


def _product(left: Shape, out: int, weights: int) -> LayerWork:
    length = left[-1] if left else 1
    return LayerWork(
        kind="dense",
        macs=out * length,  # (2)
        numbers=math.prod(left) + out,
        weights=weights,
    )


def _shape(tensor: dict[str, list[int]]) -> Shape:
    """Return the shape in what the profiler tells of a tensor: {"uint8": [1, 224, 224, 3]}."""
    return next((tuple(shape) for shape in tensor.values()), ())
