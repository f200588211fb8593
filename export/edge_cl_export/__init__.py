"""The exporter: from a PyTorch backbone to a verified `.edgecl` bundle, on a workstation.

    from pathlib import Path
    from edge_cl_export import export_command

    export_command(source="efficientnet-lite0", out=Path("encoder.edgecl"))

`export_command` is what `edge-cl export` calls; `export` is the same for objects in memory.
Importing this package imports no torch; names are loaded when they are first used. The
runtime `edge_cl` never imports it, but for the command line, by name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_cl_export.backbones import Backbone, load_factory, load_named
    from edge_cl_export.calibration import Pictures, demo_pictures, open_pictures
    from edge_cl_export.command import export_command
    from edge_cl_export.embedding import Preparation
    from edge_cl_export.pipeline import ExportResult, export
    from edge_cl_export.recipe import FORMATS, Recipe, parse_recipe, recipes_for

__all__ = [
    "FORMATS",
    "Backbone",
    "ExportResult",
    "Pictures",
    "Preparation",
    "Recipe",
    "demo_pictures",
    "export",
    "export_command",
    "load_factory",
    "load_named",
    "open_pictures",
    "parse_recipe",
    "recipes_for",
]

_HOME = {
    "FORMATS": "recipe",
    "Backbone": "backbones",
    "ExportResult": "pipeline",
    "Pictures": "calibration",
    "Preparation": "embedding",
    "Recipe": "recipe",
    "demo_pictures": "calibration",
    "export": "pipeline",
    "export_command": "command",
    "load_factory": "backbones",
    "load_named": "backbones",
    "open_pictures": "calibration",
    "parse_recipe": "recipe",
    "recipes_for": "recipe",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
