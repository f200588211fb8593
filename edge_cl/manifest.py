"""The manifest of a bundle: what goes in, what comes out, which files, and what must fit.

The structs are the schema: an unknown field, a missing one or another type is an error that
names it. `inconsistency` says what a well-formed manifest may still contradict itself in.
"""

from __future__ import annotations

import math
import re
from typing import Literal

import msgspec

SCHEMA_VERSION = 1

SUFFIXES = {"onnx": ".onnx", "litert": ".tflite", "rknn": ".rknn", "hailo": ".hef"}  # by runtime
MEMBER = re.compile(
    r"(encoder[a-z0-9-]{0,64}\.(onnx|tflite|rknn|hef)"
    r"|parity\.safetensors|report\.json|MODEL_CARD\.md)"
)
MAX_BUNDLE_BYTES = 1 << 30
MAX_MEMBERS = 32  # the manifest among them
SMALLEST_CROP = 0.25  # of a side; what networks ask for is 0.8 to 1
_LARGEST = {  # any other member is an encoder, and bounded by the bundle
    "manifest.json": 1 << 18,
    "parity.safetensors": 1 << 28,
    "report.json": 1 << 20,
    "MODEL_CARD.md": 1 << 20,
}


class InputSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the caller hands in, and how a picture is brought to the encoder's size.

    kind : "image" (uint8 RGB of any size) or "vector" (float32).
    shape : what the encoder takes: (height, width, 3) or (d,).
    resize : filter of the resize, antialiased.
    fit : "crop": the short side is resized, the centre is kept; "stretch": both sides are.
    crop : of what `fit` keeps, the centred share of each side that is used; left out: all of it.
    """

    kind: Literal["image", "vector"]
    shape: tuple[int, ...]
    dtype: Literal["uint8", "float32"]
    layout: Literal["HWC", "D"]
    colour: Literal["RGB", ""] = ""
    resize: Literal["bicubic", "bilinear", "none"] = "none"
    fit: Literal["crop", "stretch", "none"] = "none"
    crop: float | msgspec.UnsetType = msgspec.UNSET  # unset is not written: same bytes as before

    @property
    def share(self) -> float:
        """The share of each side that is used, 1 where the manifest does not say."""
        return 1.0 if self.crop is msgspec.UNSET else self.crop


class EmbeddingSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What comes out of the encoder, and the grid that it is put on.

    d : number of features.
    scale : grid step; q = rint(x / scale), |q| <= 2047. A power of two keeps it exact.
    signed : whether features can be negative.
    mean_square_norm : E‖x‖² on calibration data, the unit in which `ridge` is given.
    """

    d: int
    scale: float
    signed: bool
    mean_square_norm: float


class EncoderSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One encoder file of the bundle, and how it was made (`recipe`).

    runtime : "rknn" and "hailo" are of NPUs; their libraries take bytes of a picture and give
        float32, so that neither needs names or scales.
    only_on : the accelerator that the file is compiled for, "edgetpu"; left out: none.
    """

    member: str
    runtime: Literal["onnx", "litert", "rknn", "hailo"]
    precision: Literal["fp32", "fp16", "int8"]
    recipe: str
    input_name: str
    output_name: str
    only_on: Literal["edgetpu"] | msgspec.UnsetType = msgspec.UNSET

    @property
    def accelerator(self) -> str:
        """What the file is compiled for, empty where it is for none of its runtime's."""
        return "" if self.only_on is msgspec.UNSET else self.only_on


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Digest and length of one file in the archive."""

    sha256: str
    size: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The description of a bundle. `members` is filled in by `write_bundle`.

    accepted : why an encoder ships that missed the exporter's gate; left out where all held.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    version: str
    description: str
    licence: str
    source: str
    input: InputSpec
    embedding: EmbeddingSpec
    encoders: tuple[EncoderSpec, ...]
    tools: dict[str, str]
    created: str
    accepted: str | msgspec.UnsetType = msgspec.UNSET
    members: dict[str, Member] = {}


def largest(member: str) -> int:
    """Return how many bytes a member of this name may have."""
    return _LARGEST.get(member, MAX_BUNDLE_BYTES)


def inconsistency(m: Manifest) -> str:
    """Say what in the manifest contradicts itself; empty where nothing does."""
    if len(m.members) >= MAX_MEMBERS:
        return f"expected fewer than {MAX_MEMBERS} members, got {len(m.members)}"
    for name, entry in m.members.items():
        if not MEMBER.fullmatch(name):
            return f"unknown member {name!r}"
        if not 0 <= entry.size <= largest(name):
            return f"{name} has {entry.size} bytes, at most {largest(name)} may be"
    for spec in m.encoders:
        if spec.member not in m.members:
            return f"the encoder {spec.member!r} is not among the members"
        if not spec.member.endswith(SUFFIXES[spec.runtime]):
            return f"the encoder {spec.member!r} is not for the runtime {spec.runtime!r}"
        if spec.accelerator and spec.runtime != "litert":
            return f"the encoder {spec.member!r} is not one that {spec.accelerator} runs"
    shape = m.input.shape
    if not SMALLEST_CROP <= m.input.share <= 1.0:
        return f"an input's crop must be in {SMALLEST_CROP}..1, got {m.input.share}"
    if m.input.kind == "image":
        if len(shape) != 3 or shape[2] != 3 or not 1 <= min(shape) <= max(shape) <= 8192:
            return f"an image input needs shape (height, width, 3), got {shape}"
        if (m.input.dtype, m.input.layout, m.input.colour) != ("uint8", "HWC", "RGB"):
            return "an image input is uint8, HWC, RGB"
        if "none" in (m.input.resize, m.input.fit):
            return "an image input needs a resize filter and a fit"
        if not m.encoders:
            return "an image input needs an encoder"
    else:
        if len(shape) != 1 or not 1 <= shape[0] <= 1 << 20:
            return f"a vector input needs shape (d,), got {shape}"
        if (m.input.dtype, m.input.layout) != ("float32", "D"):
            return "a vector input is float32, D"
        if m.input.crop is not msgspec.UNSET:
            return "a vector input cannot be cropped"
        if not m.encoders and shape[0] != m.embedding.d:
            return f"without an encoder d = {m.embedding.d} must equal the input's {shape[0]}"
    e = m.embedding
    if not 1 <= e.d <= 1 << 16:
        return f"the embedding needs 1 <= d <= 65536, got {e.d}"
    for what, value in (("scale", e.scale), ("mean_square_norm", e.mean_square_norm)):
        if not (math.isfinite(value) and value > 0):
            return f"the embedding's {what} must be a positive number, got {value}"
    if math.frexp(e.scale)[0] != 0.5:  # only then is dividing by it exact
        return f"the embedding's scale must be a power of two, got {e.scale}"
    # Wider than any float32 features need; beyond, squares and quotients of these overflow
    if not 2.0**-160 <= e.scale <= 2.0**160:
        return f"the embedding's scale must be in 2^-160..2^160, got {e.scale}"
    if not 1e-12 <= e.mean_square_norm / e.scale**2 <= 1e24:
        return f"a mean_square_norm of {e.mean_square_norm} does not fit the scale {e.scale}"
    return ""
