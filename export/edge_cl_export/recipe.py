"""Formats and recipes: how an encoder file is made, as data with a decodable name.

A *format* is what the user asks for, as in ``onnx-int8``. A *recipe* is how it was made; its
name stands in the manifest and can be read back by `parse_recipe`::

    onnx-int8-qdq-u8s8-perchannel-percentile99.99-cle-gptq-float0.48
    │    │    │   │    │          │               │   │    └ weighted layers kept in float
    │    │    │   │    │          │               │   └ weights: nearest | corrected | gptq
    │    │    │   │    │          │               └ channels equalised across layers, if there
    │    │    │   │    │          └ ranges of activations: minmax | percentileP | mse | entropy
    │    │    │   │    └ one scale a weight channel
    │    │    │   └ activations and weights: u8 or s8
    │    │    └ QuantizeLinear/DequantizeLinear pairs (qdq), integer operators with float input
    │    │      and output (int), integers throughout (fullint), or as it came (ready)
    │    └ precision
    └ runtime

Layers are counted from 0 in the order of the traced graph. ``corrected`` is rounding to
nearest with the mean error put into the bias; ``gptq`` does that too. A float recipe is its
format: ``onnx-fp32``. A network that came quantised is ``onnx-int8-ready``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, cast

from edge_cl.errors import InputError

__all__ = ["FORMATS", "MEMBERS", "USUAL", "Recipe", "formats_for", "parse_recipe", "plain_recipe"]

Runtime = Literal["onnx", "litert"]
Precision = Literal["fp32", "fp16", "int8"]
Types = Literal["u8s8", "s8s8"]
Style = Literal["float", "qdq", "int", "fullint", "ready"]
Rounding = Literal["nearest", "corrected", "gptq"]

MEMBERS = {
    "onnx-fp32": "encoder-fp32.onnx",
    "onnx-fp16": "encoder-fp16.onnx",
    "onnx-int8": "encoder-int8.onnx",
    "onnx-int8-s8s8": "encoder-int8-s8s8.onnx",
    "litert-fp32": "encoder-fp32.tflite",
    "litert-fp16": "encoder-fp16.tflite",
    "litert-int8": "encoder-int8.tflite",
    "litert-int8-full": "encoder-int8-full.tflite",
}
FORMATS = tuple(MEMBERS)
# Made where nothing else is asked for. The other two are for boards that want them.
USUAL = tuple(f for f in FORMATS if f not in ("onnx-int8-s8s8", "litert-int8-full"))

_INT8: dict[str, tuple[Style, Types]] = {
    "onnx-int8": ("qdq", "u8s8"),
    "onnx-int8-s8s8": ("qdq", "s8s8"),
    "litert-int8": ("int", "s8s8"),
    "litert-int8-full": ("fullint", "s8s8"),
}
_FLOAT = ("onnx-fp32", "onnx-fp16", "litert-fp32", "litert-fp16")
_READY = re.compile(r"(?P<runtime>onnx|litert)-(?P<precision>fp32|fp16|int8)-ready")
_NAME = re.compile(
    r"(?P<runtime>onnx|litert)-int8-(?P<style>qdq|int|fullint)-(?P<types>u8s8|s8s8)-perchannel-"
    r"(?P<ranges>minmax|mse|entropy|percentile\d{1,2}(\.\d{1,4})?)"
    r"(?P<cle>-cle)?-(?P<rounding>nearest|corrected|gptq)(-float(?P<kept>\d+(\.\d+)*))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one encoder file is made; the defaults are those of a float file.

    Attributes
    ----------
    style : how integers are written down, see the module; "float" where there are none.
    types : of activations and weights.
    ranges : how the range of an activation is chosen, see `ranges`.
    equalised : whether channels were brought to equal ranges first, see `equalise`.
    rounding : of weights, see `rounding`.
    kept : the weighted layers that stay in float, by their place in the traced graph.
    """

    runtime: Runtime
    precision: Precision
    style: Style = "float"
    types: Types = "u8s8"
    ranges: str = "minmax"
    equalised: bool = False
    rounding: Rounding = "nearest"
    kept: tuple[int, ...] = ()

    @property
    def format(self) -> str:
        """Name of the format, as in `FORMATS`."""
        if self.style == "qdq" and self.types == "s8s8":
            return "onnx-int8-s8s8"
        if self.style == "fullint":
            return "litert-int8-full"
        return f"{self.runtime}-{self.precision}"

    @property
    def integer(self) -> bool:
        """Whether there is something to quantise."""
        return self.style in ("qdq", "int", "fullint")

    @property
    def name(self) -> str:
        """The decodable name."""
        if self.style == "float":
            return self.format
        if self.style == "ready":
            return f"{self.format}-ready"
        parts = [self.runtime, self.precision, self.style, self.types, "perchannel", self.ranges]
        parts += ["cle"] * self.equalised
        parts.append(self.rounding)
        if self.kept:
            parts.append("float" + ".".join(map(str, self.kept)))
        return "-".join(parts)


def plain_recipe(format_: str) -> Recipe:
    """Return the recipe of a format that nothing was done for yet."""
    runtime: Runtime = "onnx" if format_.startswith("onnx") else "litert"
    if format_ in _INT8:
        style, types = _INT8[format_]
        return Recipe(runtime=runtime, precision="int8", style=style, types=types)
    return Recipe(runtime=runtime, precision="fp16" if format_.endswith("fp16") else "fp32")


def parse_recipe(name: str) -> Recipe:
    """Return the recipe that `name` spells.

    Raises
    ------
    InputError : the name follows no known grammar.
    """
    if name in _FLOAT:
        return plain_recipe(name)
    if ready := _READY.fullmatch(name):
        return Recipe(
            runtime=cast(Runtime, ready["runtime"]),
            precision=cast(Precision, ready["precision"]),
            style="ready",
        )
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(f"no recipe is spelled {name!r}")
    for format_, (style, types) in _INT8.items():
        same = format_.startswith(match["runtime"]) and style == match["style"]
        if same and types == match["types"]:
            return Recipe(
                runtime=cast(Runtime, match["runtime"]),
                precision="int8",
                style=style,
                types=types,
                ranges=match["ranges"],
                equalised=match["cle"] is not None,
                rounding=cast(Rounding, match["rounding"]),
                kept=tuple(int(k) for k in match["kept"].split(".")) if match["kept"] else (),
            )
    raise InputError(f"no recipe is spelled {name!r}")


def formats_for(names: list[str]) -> list[str]:
    """Return the formats, in the order of `FORMATS`, each once.

    Raises
    ------
    InputError : an unknown format, or none at all.
    """
    unknown = sorted(set(names) - set(FORMATS))
    if unknown or not names:
        raise InputError(
            f"unknown format {unknown[0]!r}" if unknown else "no format was asked for",
            hint=f"formats: {', '.join(FORMATS)}",
        )
    return [name for name in FORMATS if name in names]


def recipes_for(formats: list[str]) -> list[Recipe]:
    """Return what each format is made by, until remedies are climbed."""
    chosen = []
    for format_ in formats_for(formats):
        recipe = plain_recipe(format_)
        if recipe.integer:
            ranges = "percentile99.99" if recipe.runtime == "onnx" else "minmax"
            recipe = replace(recipe, ranges=ranges, rounding="gptq")
        chosen.append(recipe)
    return chosen
