"""Putting the pieces of an export into one bundle.

What a user may want to know and a device need not (how it was calibrated, which remedies were
tried, where the error arises) goes into `report.json`; what a device compares its own features
with goes into `parity.safetensors`. Latencies go into neither: they differ from run to run, and
the same command and seed give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

import edge_cl
from edge_cl.arrays import F32
from edge_cl.bundle import EmbeddingSpec, Manifest, write_bundle
from edge_cl.errors import ExportError
from edge_cl.features import grid_step
from edge_cl_export.encoder_file import EncoderFile
from edge_cl_export.model_card import model_card
from edge_cl_export.network import Network
from edge_cl_export.pictures.material import Material
from edge_cl_export.proof.judge import Judge
from edge_cl_export.wanted import Wanted

__all__ = ["embedding_spec", "write_export"]

_TOOLS = (
    "torch", "onnx", "onnxscript", "onnxruntime", "litert-torch", "ai-edge-litert",
    "ai-edge-quantizer", "numpy", "pillow",
)  # fmt: skip


def embedding_spec(features: F32) -> EmbeddingSpec:
    """Return the grid and the norm of `features` (n, d) of the float model."""
    largest = float(np.abs(features).max())
    if not largest > 0.0:
        raise ExportError("all features of the float model are zero")
    return EmbeddingSpec(
        d=features.shape[1],
        scale=grid_step(largest),
        signed=bool(features.min() < 0.0),
        mean_square_norm=float(f"{(features.astype(np.float64) ** 2).sum(axis=1).mean():.8g}"),
    )


def write_export(
    out: Path,
    network: Network,
    judge: Judge,
    files: Sequence[EncoderFile],
    material: Material,
    wanted: Wanted,
    *,
    skipped: Sequence[str],
    command: str,
    created: str,
) -> None:
    """Write the bundle at `out`, whole or not at all.

    Parameters
    ----------
    judge : whose first pictures and their float features a device compares with.
    skipped : what was not made, and why.
    created : ISO time that stands in the manifest; fixed, for equal bytes.
    """
    m = wanted.parity
    parity: dict[str, NDArray[Any]] = {
        "inputs": judge.pictures[:m],
        "features": np.ascontiguousarray(judge.features[:m]),
        **{f"deployed:{f.spec.member}": np.ascontiguousarray(f.deployed) for f in files},
    }
    missed = [line for f in files for line in f.misses]
    members = {f.spec.member: f.data for f in files}
    members["parity.safetensors"] = save(parity)
    report = _report(network, files, material, wanted, skipped)
    members["report.json"] = json.dumps(report, indent=2, sort_keys=True).encode()
    members["MODEL_CARD.md"] = model_card(
        network, judge.embedding, files, material, wanted, skipped, command
    ).encode()
    manifest = Manifest(
        name=network.name,
        version=edge_cl.__version__,
        description=network.description,
        licence=network.licence,
        source=network.source,
        input=network.preparation.spec,
        embedding=judge.embedding,
        encoders=tuple(f.spec for f in files),
        accepted=wanted.accepted if missed else msgspec.UNSET,
        tools=_tools(),
        created=created,
    )
    write_bundle(out, manifest, members)


def _report(
    network: Network,
    files: Sequence[EncoderFile],
    material: Material,
    wanted: Wanted,
    skipped: Sequence[str],
) -> dict[str, object]:
    encoders = {
        f.spec.member: {
            "recipe": f.spec.recipe,
            "bytes": len(f.data),
            **asdict(f.fidelity),
            "misses": list(f.misses),
            "remedies": [asdict(rung) for rung in f.rungs],
            "stages": [asdict(stage) for stage in f.stages],
            "operators": f.operators,
            "integer_layers": f.integer_layers,
            "float_layers": list(f.float_layers),
        }
        for f in files
    }
    return {
        "gate": asdict(wanted.gate),
        "accepted": wanted.accepted,
        "calibration_pictures": len(material.calibration),
        "calibration": {
            "origin": material.origin,
            "parted_by": material.apart,
            "changed_copies": wanted.augmented,
        },
        "seed": wanted.seed,
        "target": wanted.target.profile.name if wanted.target is not None else "",
        "skipped": list(skipped),
        "network": dict(network.about),
        "encoders": encoders,
    }


def _tools() -> dict[str, str]:
    installed = {name: _version(name) for name in _TOOLS}
    found = {name: text for name, text in installed.items() if text}
    return {"edge-cl": edge_cl.__version__, **found}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
