"""LiteRT (`ai_edge_litert`, else `tflite_runtime`). The only file that imports them.

Only the Interpreter is used: its verifier refuses a damaged flatbuffer, where the newer
CompiledModel was seen to crash the process on one flipped bit.

A network of integers throughout takes a pixel p of 0..255 as its p-th step: p itself where the
input is uint8, p - 128 where it is int8; what a step means is the network's business. Its
features come back as steps q, and are  x = scale · (q - zero point).                      (1)
"""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl.arrays import F32
from edge_cl.bundle import EncoderSpec
from edge_cl.encoders.accelerators import Accelerator, accelerator_for
from edge_cl.encoders.onnx_providers import fallbacks, refuse_fallbacks
from edge_cl.encoders.route import ON_CPU, Route
from edge_cl.errors import BackendError, MissingExtraError

_XNNPACK, _OWN = "XNNPACK", "LiteRT"  # as nodes are counted: its default delegate, its own kernels
_NONE = (0,)  # the shape of an input that an operator does without


def litert_available() -> bool:
    """Say whether a LiteRT interpreter can be imported, without importing it."""
    return any(find_spec(name) is not None for name in ("ai_edge_litert", "tflite_runtime"))


class LiteRTRunner:
    """A network in the LiteRT interpreter, one picture at a time.

    Parameters
    ----------
    blob : the verified `.tflite` bytes.
    threads : of the XNNPACK delegate.
    route : another delegate to ask first; what it leaves goes to XNNPACK.

    Attributes
    ----------
    nodes, fallbacks : see `edge_cl.placement.Placement`.
    """

    def __init__(self, blob: bytes, spec: EncoderSpec, threads: int, route: Route = ON_CPU) -> None:
        accelerator = accelerator_for(route.accelerator, "litert")
        self._interpreter, places = _loaded(blob, spec, threads, accelerator, route)
        self.nodes = dict(sorted(Counter(where for where, _ in places).items()))
        kinds = [kind for where, kind in places if where != accelerator.reports]
        self.fallbacks = fallbacks(self.nodes, kinds, accelerator)
        if route.strict:
            refuse_fallbacks(self.fallbacks, spec.member, accelerator)
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise BackendError(
                f"{spec.member} has {len(inputs)} inputs and {len(outputs)} outputs, "
                "expected one of each"
            )
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self._signed = inputs[0]["dtype"] == np.int8
        self._scale, self._zero = _output_step(outputs[0], spec.member)

    def run(self, batch: NDArray[Any]) -> F32:
        """See `Runner.run`."""
        if self._signed and batch.dtype == np.uint8:
            batch = (batch ^ 0x80).view(np.int8)  # p - 128, of all bytes at once
        return np.concatenate([self._once(batch[i : i + 1]) for i in range(len(batch))])

    def close(self) -> None:
        """See `Runner.close`: there is nothing to give back."""

    def _once(self, one: NDArray[Any]) -> F32:
        try:
            self._interpreter.set_tensor(self._input, one)
            self._interpreter.invoke()
            features = self._interpreter.get_tensor(self._output)
        except (ValueError, RuntimeError) as error:
            raise BackendError(f"LiteRT failed: {' '.join(str(error).split())}") from error
        if self._scale is None:
            return np.asarray(features)
        steps: F32 = features.astype(np.float32) - self._zero
        return self._scale * steps  # (1)


def operators_run(blob: bytes, spec: EncoderSpec) -> dict[str, dict[str, int]]:
    """Return how many operators of each kind the delegate takes, and how many it leaves.

    The key is "XNNPACK" for what runs there, "LiteRT" for the library's own kernels.
    """
    found: dict[str, Counter[str]] = {}
    for where, kind in _loaded(blob, spec, 1, accelerator_for("cpu", "litert"), ON_CPU)[1]:
        found.setdefault(where, Counter())[kind] += 1
    return {where: dict(sorted(kinds.items())) for where, kinds in sorted(found.items())}


def operators_shaped(
    blob: bytes, spec: EncoderSpec
) -> list[tuple[str, list[tuple[int, ...]], list[tuple[int, ...]]]]:
    """Return for each operator its name, and the shapes of what goes in and comes out."""
    interpreter = _loaded(blob, spec, 1, accelerator_for("cpu", "litert"), ON_CPU)[0]
    shapes = {t["index"]: tuple(t["shape"].tolist()) for t in interpreter.get_tensor_details()}
    return [
        (
            node["op_name"],
            [shapes.get(i, _NONE) for i in node["inputs"]],
            [shapes.get(i, _NONE) for i in node["outputs"]],
        )
        for node in interpreter._get_ops_details()
        if node["op_name"] != "DELEGATE"
    ]


def _loaded(
    blob: bytes, spec: EncoderSpec, threads: int, accelerator: Accelerator, route: Route
) -> tuple[Any, list[tuple[str, str]]]:
    """Return an interpreter, and for each node where it runs and its operator."""
    interpreter, load_delegate = _library()
    wanted = {**accelerator.options, **route.options}
    delegates = [_delegate(load_delegate, accelerator, wanted)] if accelerator.engine else None
    try:
        loaded = interpreter(
            model_content=blob, num_threads=threads, experimental_delegates=delegates
        )
        # XNNPACK comes with the allocation: what is taken before is the delegate's that was asked
        asked = _taken(loaded) if delegates else set()
        loaded.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise BackendError(
            f"LiteRT cannot load {spec.member}: {' '.join(str(error).split())}"
        ) from error
    others = _taken(loaded) - asked
    return loaded, [
        (
            accelerator.reports
            if node["index"] in asked
            else _XNNPACK
            if node["index"] in others
            else _OWN,
            node["op_name"],
        )
        for node in loaded._get_ops_details()
        if node["op_name"] != "DELEGATE"
    ]


def _taken(interpreter: Any) -> set[int]:
    """Return the nodes that delegates run, of those that the network's file holds."""
    nodes = interpreter._get_ops_details()
    maker = {i: n for n in nodes if n["op_name"] != "DELEGATE" for i in n["outputs"]}
    taken: set[int] = set()
    for delegate in (n for n in nodes if n["op_name"] == "DELEGATE"):
        given, wanted = set(delegate["inputs"]), list(delegate["outputs"])
        while wanted:  # back from what the delegate gives to what it is given
            node = maker.get(wanted.pop())
            if node is not None and node["index"] not in taken:
                taken.add(node["index"])
                wanted += [i for i in node["inputs"] if i not in given]
    return taken


def _delegate(load_delegate: Any, accelerator: Accelerator, options: dict[str, str]) -> Any:
    import ctypes

    try:
        # LiteRT's own class would complain once more, on stderr, while it is thrown away
        library = ctypes.CDLL(accelerator.engine)
        for function in ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate"):
            getattr(library, function)
        return load_delegate(accelerator.engine, options)
    except (OSError, AttributeError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split()) or "it gives no reason"
        raise BackendError(
            f"the delegate {accelerator.engine} cannot be loaded: {why}", hint=accelerator.install
        ) from error


def _output_step(output: dict[str, Any], member: str) -> tuple[np.float32 | None, np.float32]:
    """Return scale and zero point of integer features; no scale where they are float32."""
    if output["dtype"] == np.float32:
        return None, np.float32(0)
    step = output["quantization_parameters"]
    if output["dtype"] not in (np.int8, np.uint8, np.int16) or len(step["scales"]) != 1:
        raise BackendError(
            f"{member} gives {np.dtype(output['dtype']).name}, expected float32 or integers "
            "with one scale"
        )
    return np.float32(step["scales"][0]), np.float32(step["zero_points"][0])


def _library() -> tuple[Any, Any]:
    if find_spec("ai_edge_litert"):
        from ai_edge_litert.interpreter import Interpreter, load_delegate
    elif find_spec("tflite_runtime"):
        from tflite_runtime.interpreter import Interpreter, load_delegate
    else:
        raise MissingExtraError("a LiteRT encoder", "litert")
    return Interpreter, load_delegate
