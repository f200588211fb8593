"""The exporter: from a network to a proven `.edgecl` bundle, on a workstation.

    from pathlib import Path
    from edge_cl_export import Asked, export_command

    export_command(Asked(source="efficientnet-lite0"), Path("encoder.edgecl"))

`export_command` is what `edge-cl export` calls; `export` is the same for objects in memory.
Importing this package imports no torch; names are loaded when they are first used. The
runtime `edge_cl` never imports it, but for the command line, by name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_cl_export.command import Asked, export_command, layers_command
    from edge_cl_export.graph.embedding import Embedding
    from edge_cl_export.graph.preparation import Preparation
    from edge_cl_export.network import Network, of_backbone, of_ready
    from edge_cl_export.pictures.calibration import Pictures, demo_pictures, open_pictures
    from edge_cl_export.pictures.material import Material
    from edge_cl_export.pipeline import ExportResult, export
    from edge_cl_export.proof.fidelity import Fidelity, Gate
    from edge_cl_export.recipe import FORMATS, Recipe, parse_recipe
    from edge_cl_export.sources import Backbone, load_factory, load_named, open_source
    from edge_cl_export.wanted import Wanted

_HOME = {
    "FORMATS": "recipe",
    "Asked": "command",
    "Backbone": "sources",
    "Embedding": "graph.embedding",
    "ExportResult": "pipeline",
    "Fidelity": "proof.fidelity",
    "Gate": "proof.fidelity",
    "Material": "pictures.material",
    "Network": "network",
    "Pictures": "pictures.calibration",
    "Preparation": "graph.preparation",
    "Recipe": "recipe",
    "Wanted": "wanted",
    "demo_pictures": "pictures.calibration",
    "export": "pipeline",
    "export_command": "command",
    "layers_command": "command",
    "load_factory": "sources",
    "load_named": "sources",
    "of_backbone": "network",
    "of_ready": "network",
    "open_pictures": "pictures.calibration",
    "open_source": "sources",
    "parse_recipe": "recipe",
}

__all__ = [
    "FORMATS",
    "Asked",
    "Backbone",
    "Embedding",
    "ExportResult",
    "Fidelity",
    "Gate",
    "Material",
    "Network",
    "Pictures",
    "Preparation",
    "Recipe",
    "Wanted",
    "demo_pictures",
    "export",
    "export_command",
    "layers_command",
    "load_factory",
    "load_named",
    "of_backbone",
    "of_ready",
    "open_pictures",
    "open_source",
    "parse_recipe",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
