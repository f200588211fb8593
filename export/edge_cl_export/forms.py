"""The precisions of one float model: fp32 as it is, fp16, and int8 by any choice of ranges.

    ONNX   ┬ fp32, fp16                       LiteRT ┬ fp32, fp16
           └ histograms ─ ranges ─ QDQ int8          └ histograms ─ ranges ─ int8

What the calibration pictures do to each tensor is counted once, when int8 is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import onnx

from edge_cl.arrays import U8
from edge_cl_export.quantise.clipping import chosen_ranges
from edge_cl_export.quantise.half_precision import half_litert, half_onnx
from edge_cl_export.quantise.histogram import Histogram
from edge_cl_export.quantise.litert_int8 import quantize_litert
from edge_cl_export.quantise.litert_ranges import watch_litert
from edge_cl_export.quantise.onnx_int8 import quantize_onnx
from edge_cl_export.quantise.onnx_ranges import watch_activations
from edge_cl_export.recipe import Recipe

__all__ = ["Batches", "LiteRTForms", "OnnxForms"]

Batches = Callable[[], Iterable[U8]]
"""The calibration pictures, (n, h, w, 3) uint8 a time, from the first, as often as asked."""


class OnnxForms:
    """See the module.

    Parameters
    ----------
    model : float32; uint8 (n, h, w, 3) in, float32 (n, d) out.
    uint8_step : see `Preparation.uint8_step`.
    """

    def __init__(
        self, model: onnx.ModelProto, batches: Batches, uint8_step: tuple[float, int] | None
    ) -> None:
        self.model = model
        self._batches, self._uint8_step = batches, uint8_step
        self._counts: Mapping[str, Histogram] | None = None

    def make(self, recipe: Recipe, float_layers: frozenset[str]) -> bytes:
        """Return the file; `float_layers`: names of nodes that stay in float."""
        model = self.model
        if recipe.name == "onnx-fp16":
            model = half_onnx(model)
        elif recipe.integer:
            if self._counts is None:
                self._counts = watch_activations(model, self._batches())
            ranges = chosen_ranges(self._counts, recipe.ranges, symmetric=recipe.types == "s8s8")
            model = quantize_onnx(
                model, ranges, recipe, self._uint8_step, float_layers=float_layers
            )
        data: bytes = model.SerializeToString(deterministic=True)
        return data


class LiteRTForms:
    """See the module. `model` : a float `.tflite` file, raw uint8 (1, h, w, 3) in."""

    def __init__(self, model: bytes, batches: Batches) -> None:
        self.model = model
        self._batches = batches
        self._counts: Mapping[str, Histogram] | None = None

    def make(self, recipe: Recipe, float_layers: frozenset[str]) -> bytes:
        """Return the file; `float_layers`: names of tensors whose operators stay in float."""
        if recipe.name == "litert-fp16":
            return half_litert(self.model)
        if not recipe.integer:
            return self.model
        if self._counts is None:
            self._counts = watch_litert(self.model, self._batches())
        return quantize_litert(
            self.model,
            chosen_ranges(self._counts, recipe.ranges),
            integer_io=recipe.style == "fullint",
            float_layers=float_layers,
        )
