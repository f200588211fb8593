"""LiteRT int8: static ranges, 8-bit weights a channel, 8-bit activations.

The picture enters as uint8 and is normalised in float; the pooling (MEAN) and the output
stay in float, so the embedding keeps more than 8 bits. Ranges are minimum and maximum over
the calibration pictures, which ai-edge-quantizer reads one at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from edge_cl.arrays import U8
from edge_cl.errors import ExportError, MissingExtraError
from edge_cl_export.quiet import quiet

__all__ = ["quantize_litert"]

_FLOAT = ("INPUT", "OUTPUT", "MEAN", "SUB", "MUL")


def quantize_litert(model: bytes, batches: Callable[[], Iterable[U8]]) -> bytes:
    """Return an int8 version of a float flatbuffer; `batches()` yields (n, h, w, 3) uint8.

    Raises
    ------
    MissingExtraError : ai-edge-quantizer is not installed.
    ExportError : the quantiser refuses the model.
    """
    try:
        with quiet():
            from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
            from ai_edge_quantizer.algorithm_manager import AlgorithmName
            from ai_edge_quantizer.qtyping import TFLOperationName
            from ai_edge_quantizer.utils.qsv_utils import min_max_update
    except ImportError as error:
        raise MissingExtraError("LiteRT quantisation", "export") from error
    try:
        with quiet(), tempfile.TemporaryDirectory() as folder:
            source, made = Path(folder) / "fp32.tflite", Path(folder) / "int8.tflite"
            source.write_bytes(model)
            worker = quantizer.Quantizer(str(source))
            worker.load_quantization_recipe(recipe.static_wi8_ai8())
            for name in _FLOAT:
                worker.update_quantization_recipe(
                    ".*", TFLOperationName(name), algorithm_key=AlgorithmName.NO_QUANTIZE
                )
            signature, feed = _signature(model)
            # The quantiser's own loop takes a moving average of ranges; ours is what was seen.
            rules = recipe_manager.RecipeManager()
            rules.load_quantization_recipe(worker.get_quantization_recipe())
            watch = calibrator.Calibrator(model, num_threads=2, qsv_update_func=min_max_update)
            watch.calibrate({signature: _Samples(batches, feed)}, rules)
            worker.quantize(watch.get_model_qsvs()).export_model(str(made), overwrite=True)
            return made.read_bytes()
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise ExportError(f"LiteRT quantisation failed: {type(error).__name__}: {first}") from error


def _signature(model: bytes) -> tuple[str, str]:
    from ai_edge_litert.interpreter import Interpreter

    signatures = Interpreter(model_content=model).get_signature_list()
    name = next(iter(signatures))
    return name, signatures[name]["inputs"][0]


class _Samples:
    """One picture a step, as often as it is asked; the quantiser wants to know how many."""

    def __init__(self, batches: Callable[[], Iterable[U8]], feed: str) -> None:
        self._batches, self._feed = batches, feed

    def __iter__(self) -> Iterator[dict[str, U8]]:
        for batch in self._batches():
            for i in range(len(batch)):
                yield {self._feed: np.ascontiguousarray(batch[i : i + 1])}
