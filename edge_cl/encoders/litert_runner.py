"""LiteRT (`ai_edge_litert`, else `tflite_runtime`). The only file that imports them.

Only the Interpreter is used: its verifier refuses a damaged flatbuffer, where the newer
CompiledModel was seen to crash the process on one flipped bit.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl.arrays import F32
from edge_cl.bundle import EncoderSpec
from edge_cl.errors import BackendError, MissingExtraError


def litert_available() -> bool:
    """Say whether a LiteRT interpreter can be imported, without importing it."""
    return any(find_spec(name) is not None for name in ("ai_edge_litert", "tflite_runtime"))


class LiteRTRunner:
    """A network in the LiteRT interpreter, one picture at a time.

    Parameters
    ----------
    blob : the verified `.tflite` bytes.
    threads : of the XNNPACK delegate.
    """

    def __init__(self, blob: bytes, spec: EncoderSpec, threads: int) -> None:
        interpreter = _interpreter_class()
        try:
            self._interpreter = interpreter(model_content=blob, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BackendError(
                f"LiteRT cannot load {spec.member}: {' '.join(str(error).split())}"
            ) from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1 or outputs[0]["dtype"] != np.float32:
            raise BackendError(f"{spec.member} needs one input and one float32 output")
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]

    def run(self, batch: NDArray[Any]) -> F32:
        """See `Runner.run`."""
        return np.concatenate([self._once(batch[i : i + 1]) for i in range(len(batch))])

    def _once(self, one: NDArray[Any]) -> F32:
        try:
            self._interpreter.set_tensor(self._input, one)
            self._interpreter.invoke()
            features = self._interpreter.get_tensor(self._output)
        except (ValueError, RuntimeError) as error:
            raise BackendError(f"LiteRT failed: {' '.join(str(error).split())}") from error
        return np.asarray(features)


def _interpreter_class() -> Any:
    if find_spec("ai_edge_litert"):
        from ai_edge_litert.interpreter import Interpreter
    elif find_spec("tflite_runtime"):
        from tflite_runtime.interpreter import Interpreter
    else:
        raise MissingExtraError("a LiteRT encoder", "litert")
    return Interpreter
