"""Putting the pieces of an export into one bundle.

The grid of the embedding: the smallest power of two with which `HEADROOM` times the largest
feature seen still fits into 12 bits, |q| <= 2047; what lies beyond saturates, and is counted.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from safetensors.numpy import save

import edge_cl
from edge_cl.arrays import F32, U8
from edge_cl.bundle import EmbeddingSpec, EncoderSpec, Manifest, write_bundle
from edge_cl.errors import ExportError
from edge_cl_export.backbones import Backbone
from edge_cl_export.fidelity import Fidelity
from edge_cl_export.model_card import model_card

__all__ = ["EncoderFile", "embedding_spec", "write_export"]

HEADROOM = 1.25
GRID = 2047
PARITY = 4  # pictures; each weighs as much as it has pixels

_TOOLS = (
    "torch", "onnx", "onnxscript", "onnxruntime", "litert-torch", "ai-edge-litert",
    "ai-edge-quantizer", "numpy", "pillow",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EncoderFile:
    """One encoder file, how it is described, and how faithful it is."""

    spec: EncoderSpec
    data: bytes
    fidelity: Fidelity


def embedding_spec(features: F32) -> EmbeddingSpec:
    """Return the grid and the norm of `features` (n, d) of the float model."""
    largest = float(np.abs(features).max())
    if not largest > 0.0:
        raise ExportError("all features of the float model are zero")
    return EmbeddingSpec(
        d=features.shape[1],
        scale=2.0 ** math.ceil(math.log2(largest * HEADROOM / GRID)),
        signed=bool(features.min() < 0.0),
        mean_square_norm=round(float((features.astype(np.float64) ** 2).sum(axis=1).mean()), 4),
    )


def write_export(
    out: Path,
    backbone: Backbone,
    embedding: EmbeddingSpec,
    encoders: list[EncoderFile],
    inputs: U8,
    reference: F32,
    report: Mapping[str, object],
    *,
    command: str,
    created: str,
) -> None:
    """Write the bundle at `out`, whole or not at all.

    Parameters
    ----------
    inputs, reference : some validation pictures (m, h, w, 3) and their float features (m, d).
    report : what is added to the fidelity of each file in `report.json`.
    created : ISO time that stands in the manifest; fixed, for equal bytes.
    """
    specs = tuple(e.spec for e in encoders)
    sizes = {e.spec.member: len(e.data) for e in encoders}
    fidelity = {e.spec.member: e.fidelity for e in encoders}
    entries = {
        e.spec.member: {
            "recipe": e.spec.recipe,
            "bytes": len(e.data),
            **dataclasses.asdict(e.fidelity),
        }
        for e in encoders
    }
    files = {e.spec.member: e.data for e in encoders}
    files["parity.safetensors"] = save(
        {"inputs": inputs[:PARITY], "features": np.ascontiguousarray(reference[:PARITY])}
    )
    files["report.json"] = json.dumps(
        {**report, "encoders": entries}, indent=2, sort_keys=True
    ).encode()
    card = model_card(backbone, embedding, specs, sizes, fidelity, command)
    files["MODEL_CARD.md"] = card.encode()
    manifest = Manifest(
        name=backbone.name,
        version=edge_cl.__version__,
        description=backbone.description,
        licence=backbone.licence,
        source=backbone.source,
        input=backbone.preparation.spec,
        embedding=embedding,
        encoders=specs,
        tools=_tools(),
        created=created,
    )
    write_bundle(out, manifest, files)


def _tools() -> dict[str, str]:
    installed = {name: _version(name) for name in _TOOLS}
    found = {name: text for name, text in installed.items() if text}
    return {"edge-cl": edge_cl.__version__, **found}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
