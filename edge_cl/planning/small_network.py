"""A small network made here, to see at which rate this machine runs layers of each kind.

Three convolutions as mobile networks have them, 1 x 1, 3 x 3 a channel, 1 x 1, written as an ONNX
file byte by byte: a Protobuf message is fields, each a key and a value,

    key = number << 3 | kind,   kind 0: a varint, 2: a length and so many bytes             (1)

The profiler tells what each layer took. Rates of the dense and the depthwise layers then give

    ms = Σ MACs dense / rate dense + Σ MACs depthwise / rate depthwise                      (2)
         + bytes of other layers / bandwidth + 3 µs a layer                                 (3)

for another network, in the same library and precision with as many threads. fp16 runs as fp32 does
where the CPU has no fp16; LiteRT is assumed to be as fast as ONNX Runtime.
"""

from __future__ import annotations

import statistics

import numpy as np

from edge_cl.encoders.network_work import NetworkWork
from edge_cl.encoders.onnx_runner import profiled_events
from edge_cl.planning.span import Assumption, Span
from edge_cl.planning.speed import Speed

__all__ = ["encoding_here", "small_network"]

_SIDE, _NARROW, _CHANNELS = 28, 40, 240
_RUNS, _WARM_UP = 16, 4
_LAYER_MS = 0.003
_FLOAT, _UINT8, _INT8, _INT32 = 1, 2, 3, 6  # as ONNX numbers them


def encoding_here(
    work: NetworkWork, runtime: str, precision: str, threads: int, speed: Speed
) -> tuple[Span, tuple[Assumption, ...]]:
    """Return ms for one picture on this machine, from layers that were timed just now.

    Raises
    ------
    BackendError : ONNX Runtime cannot run them.
    """
    taken = _layers(precision, threads)
    macs = {"dense": _SIDE**2 * _NARROW * _CHANNELS, "depthwise": _SIDE**2 * _CHANNELS * 9}
    other = [layer for layer in work.layers if layer.kind == "other"]
    moved = sum(layer.numbers * work.element for layer in other)
    total = Span(0.0, 0.0)
    for kind, span in taken.items():
        total += span.times(work.macs_of(kind) / macs[kind])  # (2)
    bandwidth = speed.moving(work.widest_bytes)
    total += Span(moved / bandwidth.most * 1e3, moved / bandwidth.least * 1e3)
    total += Span(1, 1).times(_LAYER_MS * len(work.layers))  # (3)
    rates = {kind: macs[kind] / span.likely / 1e6 for kind, span in taken.items()}
    told = [
        Assumption(
            f"{precision} layers of a small network run at {rates['dense']:.0f} GMAC/s dense, "
            f"{rates['depthwise']:.0f} depthwise, {threads} threads",
            "measured here, just now, in ONNX Runtime",
            True,
        )
    ]
    if runtime != "onnx":
        told.append(Assumption(f"{runtime} is as fast as ONNX Runtime", "assumed", False))
    return total, tuple(told)


def small_network(precision: str) -> bytes:
    """Return the bytes of the ONNX file: uint8 in and out for int8, else float32."""
    integer = precision == "int8"
    rng = np.random.default_rng(0)
    initializers, nodes, name = b"", b"", "x0"
    if integer:
        scales = {"s": np.float32(0.02), "zx": np.uint8(128), "zw": np.int8(0)}
        for key, value in scales.items():
            initializers += _field(5, _tensor(key, np.asarray(value)))
    shapes = [
        (_CHANNELS, _NARROW, 1, 1),
        (_CHANNELS, 1, 3, 3),
        (_NARROW, _CHANNELS, 1, 1),
    ]
    for i, shape in enumerate(shapes):
        weights = rng.integers(-127, 128, shape)
        typed = weights.astype(np.int8) if integer else (weights / 1e3).astype(np.float32)
        initializers += _field(5, _tensor(f"w{i}", typed))
        depthwise = shape[1] == 1
        attributes = [_integer("group", _CHANNELS if depthwise else 1)]
        attributes.append(_integers("kernel_shape", shape[2:]))
        attributes.append(_integers("pads", (1, 1, 1, 1) if depthwise else (0, 0, 0, 0)))
        inputs = (name, "s", "zx", f"w{i}", "s", "zw", "s", "zx") if integer else (name, f"w{i}")
        name = f"x{i + 1}"
        node = b"".join(_field(1, each) for each in inputs) + _field(2, name)
        node += _field(4, "QLinearConv" if integer else "Conv")
        nodes += _field(1, node + b"".join(_field(5, each) for each in attributes))
    kind = _UINT8 if integer else _FLOAT
    shape = (1, _NARROW, _SIDE, _SIDE)
    graph = nodes + _field(2, "small") + initializers
    graph += _field(11, _value("x0", kind, shape)) + _field(12, _value(name, kind, shape))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))


def _layers(precision: str, threads: int) -> dict[str, Span]:
    """Return what a layer of each kind takes, in ms: the best run, and the middle one."""
    integer = precision == "int8"
    batch = np.zeros((1, _NARROW, _SIDE, _SIDE), np.uint8 if integer else np.float32)
    events = profiled_events(
        small_network(precision), batch, fused=True, threads=threads, runs=_WARM_UP + _RUNS
    )
    taken = [e["dur"] / 1e3 for e in events if "Conv" in e["args"]["op_name"]][3 * _WARM_UP :]
    dense = taken[0::3] + taken[2::3]
    depthwise = taken[1::3]
    return {"dense": _span(dense), "depthwise": _span(depthwise)}


def _span(ms: list[float]) -> Span:
    return Span(max(min(ms), 1e-3), max(statistics.median(ms), 1e-3))


# -- Protobuf --------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)  # (1)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data  # (1)


def _tensor(name: str, a: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
    kinds = {"float32": _FLOAT, "uint8": _UINT8, "int8": _INT8, "int32": _INT32}
    sizes = b"".join(_field(1, size) for size in a.shape)
    return sizes + _field(2, kinds[a.dtype.name]) + _field(8, name) + _field(9, a.tobytes())


def _integer(name: str, value: int) -> bytes:
    return _field(1, name) + _field(3, value) + _field(20, 2)


def _integers(name: str, values: tuple[int, ...]) -> bytes:
    return _field(1, name) + b"".join(_field(8, value) for value in values) + _field(20, 7)


def _value(name: str, kind: int, shape: tuple[int, ...]) -> bytes:
    sizes = b"".join(_field(1, _field(1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, sizes)))
