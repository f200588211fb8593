"""A user's own network: a function without arguments, in a Python file, that returns it.

``my_file.py:make_model``. The file is executed: use it as you would use any program.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from torch import nn

from edge_cl.errors import ExportError, InputError
from edge_cl_export.first_line import first_line
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.sources.backbone import Backbone

__all__ = ["load_factory"]

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


def load_factory(
    where: str,
    *,
    size: tuple[int, int] | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
) -> Backbone:
    """Return what the factory `FILE.py:NAME` makes; ImageNet's preprocessing unless given.

    Raises
    ------
    InputError : no such file or function, or it does not return an `nn.Module`.
    ExportError : the user's code raised.
    """
    preparation = Preparation(
        size=size or (224, 224), mean=mean or IMAGENET_MEAN, std=std or IMAGENET_STD
    )
    file, _, factory = where.rpartition(":")
    path = Path(file)
    if not file or not factory or path.suffix != ".py":
        raise InputError(f"expected FILE.py:FACTORY, got {where!r}")
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    make = getattr(_run_file(path), factory, None)
    if not callable(make):
        raise InputError(f"{path} defines no function {factory}")
    try:
        module = make()
    except Exception as error:
        raise ExportError(f"{where} raised {first_line(error)}") from error
    if not isinstance(module, nn.Module):
        raise InputError(f"{where} returned {type(module).__name__}, expected an nn.Module")
    return Backbone(
        name=f"{path.stem}-{factory}".replace("_", "-").lower(),
        module=module.eval(),
        preparation=preparation,
        description=f"{type(module).__name__} from {path.name}:{factory}",
        licence="unknown",
        source=f"{path.name}:{factory}",
        typed=f"{path.name}:{factory}",
    )


def _run_file(path: Path) -> object:
    name = f"_edge_cl_export_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses in the file look themselves up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ExportError(f"{path} raised {first_line(error)}") from error
    finally:
        sys.modules.pop(name, None)
    return module
