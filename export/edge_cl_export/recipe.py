"""Formats and recipes: how an encoder file is made, as data with a decodable name.

A *format* is what the user asks for: ``RUNTIME-PRECISION``, as in ``onnx-int8``. A *recipe*
is how it was made; its name stands in the manifest and can be read back by `parse_recipe`::

    onnx-int8-qdq-u8s8-perchannel-percentile99.99-gptq
    │    │    │   │    │          │               └ how weights are rounded: nearest | gptq
    │    │    │   │    │          └ ranges of activations: minmax | percentileP
    │    │    │   │    └ one scale a weight channel
    │    │    │   └ activations and weights: u8 or s8
    │    │    └ QuantizeLinear/DequantizeLinear pairs (onnx), integer operators (litert: int)
    │    └ precision
    └ runtime

A float recipe is its format: ``onnx-fp32``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from edge_cl.errors import InputError

__all__ = ["DEFAULT_RECIPES", "FORMATS", "MEMBERS", "Recipe", "parse_recipe", "recipes_for"]

FORMATS = ("onnx-fp32", "onnx-int8", "litert-fp32", "litert-int8")

MEMBERS = {
    "onnx-fp32": "encoder-fp32.onnx",
    "onnx-int8": "encoder-int8.onnx",
    "litert-fp32": "encoder-fp32.tflite",
    "litert-int8": "encoder-int8.tflite",
}

_NAME = re.compile(
    r"(?P<runtime>onnx|litert)-int8-(?P<style>qdq|int)-(?P<types>u8s8|s8s8)-perchannel-"
    r"(?P<ranges>minmax|percentile(?P<percentile>\d+(\.\d+)?))-(?P<rounding>nearest|gptq)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one encoder file is made; the defaults are those of a float file.

    Attributes
    ----------
    types : of activations and weights, "u8s8" or "s8s8".
    percentile : share of a tensor's values inside its range, in percent; None: all of them.
    rounding : "nearest", or "gptq": the error of each weight is made up for by those after it.
    """

    runtime: Literal["onnx", "litert"]
    precision: Literal["fp32", "int8"]
    types: Literal["u8s8", "s8s8"] = "u8s8"
    percentile: float | None = None
    rounding: Literal["nearest", "gptq"] = "nearest"

    @property
    def format(self) -> str:
        """Name of the format, as in `FORMATS`."""
        return f"{self.runtime}-{self.precision}"

    @property
    def name(self) -> str:
        """The decodable name."""
        if self.precision == "fp32":
            return self.format
        style = "qdq" if self.runtime == "onnx" else "int"
        ranges = "minmax" if self.percentile is None else f"percentile{self.percentile:g}"
        return f"{self.format}-{style}-{self.types}-perchannel-{ranges}-{self.rounding}"


DEFAULT_RECIPES = {
    "onnx-fp32": Recipe(runtime="onnx", precision="fp32"),
    "onnx-int8": Recipe(runtime="onnx", precision="int8", percentile=99.99, rounding="gptq"),
    "litert-fp32": Recipe(runtime="litert", precision="fp32"),
    "litert-int8": Recipe(runtime="litert", precision="int8", types="s8s8", rounding="gptq"),
}


def parse_recipe(name: str) -> Recipe:
    """Return the recipe that `name` spells.

    Raises
    ------
    InputError : the name follows no known grammar.
    """
    if name in ("onnx-fp32", "litert-fp32"):
        return DEFAULT_RECIPES[name]
    match = _NAME.fullmatch(name)
    if match is None or (match["style"] == "qdq") != (match["runtime"] == "onnx"):
        raise InputError(f"no recipe is spelled {name!r}")
    return Recipe(
        runtime="onnx" if match["runtime"] == "onnx" else "litert",
        precision="int8",
        types="u8s8" if match["types"] == "u8s8" else "s8s8",
        percentile=float(match["percentile"]) if match["percentile"] else None,
        rounding="gptq" if match["rounding"] == "gptq" else "nearest",
    )


def recipes_for(formats: list[str]) -> list[Recipe]:
    """Return the default recipe of each format, in the order of `FORMATS`, each once.

    Raises
    ------
    InputError : an unknown format, or none at all.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not formats:
        raise InputError(
            f"unknown format {unknown[0]!r}" if unknown else "no format was asked for",
            hint=f"formats: {', '.join(FORMATS)}",
        )
    return [DEFAULT_RECIPES[name] for name in FORMATS if name in formats]
