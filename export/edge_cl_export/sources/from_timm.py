"""`timm/NAME`: an architecture of the library timm, with its weights and their preprocessing.

NAME is what `timm.create_model` takes: ``resnet18.a1_in1k`` with the tag of the weights,
``hf-hub:ORG/NAME``, ``local-dir:FOLDER``. The features are those that timm gives without a
classifier (``num_classes=0``).
"""

from __future__ import annotations

import difflib
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_cl.arrays import F32, U8
from edge_cl.errors import InputError
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.sources.backbone import Backbone, OwnPreprocessing
from edge_cl_export.sources.feature_map import is_mean_of_map
from edge_cl_export.sources.foreign import library, loading
from edge_cl_export.sources.tokens import TOKENS, PooledTokens, TokenPooling

__all__ = ["from_timm"]


class _Unpooled(nn.Module):
    """A timm network up to its last feature map or its tokens."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, c, h', w') or (n, t, c)."""
        features: Tensor = self.network.forward_features(x)  # type: ignore[operator]
        return features


def from_timm(
    name: str,
    *,
    weights: bool = True,
    size: tuple[int, int] | None = None,
    tokens: TokenPooling | None = None,
    seed: int = 0,
) -> Backbone:
    """Return the network that timm calls `name`, without its classifier.

    Parameters
    ----------
    weights : False draws random ones by `seed`.
    size : (height, width); None takes the size that the weights were trained at.
    tokens : how a transformer's tokens are pooled; None: as the network itself does.

    Raises
    ------
    InputError : timm knows no such name, or the network takes no RGB pictures.
    MissingExtraError : timm is not installed.
    ExportError : the weights cannot be loaded.
    """
    timm = library("timm", f"timm/{name}")
    known = ":" in name or timm.is_model(name.split(".")[0])
    if not known:
        near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), 3)
        raise InputError(
            f"timm {timm.__version__} knows no model called {name.split('.')[0]!r}",
            hint=f"near: {', '.join(near)}" if near else "timm.list_models() names them",
        )
    with loading(f"timm/{name}", seed=seed):
        network = timm.create_model(name, pretrained=weights, num_classes=0)
        cfg = dict(network.pretrained_cfg)
        if size is not None and cfg.get("fixed_input_size"):
            # A transformer's positions are made (and resampled) for one size
            torch.manual_seed(seed)
            network = timm.create_model(name, pretrained=weights, num_classes=0, img_size=size)
        network.eval()
        data = timm.data.resolve_model_data_config(network)
    if size is not None:
        data["input_size"] = (3, *size)
    preparation = _preparation(f"timm/{name}", data)
    module, pooling = _features(network, preparation.size, tokens)
    arch = str(cfg.get("architecture") or name)
    tag = f".{cfg['tag']}" if cfg.get("tag") else ""
    origin = "pretrained weights" if weights else f"random weights (seed {seed})"
    hub = f", weights of {cfg['hf_hub_id']}" if weights and cfg.get("hf_hub_id") else ""
    return Backbone(
        name=f"timm-{arch}".replace("_", "-").lower(),
        module=module.eval(),
        preparation=preparation,
        description=f"{arch}{tag if weights else ''} of timm without its classifier, {origin}, "
        f"{_width(network)} features",
        licence=_licence(cfg, weights),
        source=f"timm {timm.__version__}, {arch}{tag if weights else ''}{hub}",
        typed=f"timm/{name}",
        pooling=pooling,
        own=_own(timm, data),
    )


def _features(
    network: Any, size: tuple[int, int], tokens: TokenPooling | None
) -> tuple[nn.Module, str]:
    """Return what gives the features, and in words how they are pooled."""
    unpooled = _Unpooled(network)
    if tokens is not None:
        others = int(getattr(network, "num_prefix_tokens", 0))
        return PooledTokens(unpooled, tokens, others=others), TOKENS[tokens]
    if is_mean_of_map(unpooled, network, size):
        return unpooled, ""
    how = getattr(network, "global_pool", None)
    kind = f" ({how})" if isinstance(how, str) else ""
    return network, f"the features are pooled as timm does{kind}"


def _width(network: Any) -> int:
    """Return how many features there are: behind the head's hidden layer, where it has one."""
    return int(getattr(network, "head_hidden_size", None) or network.num_features)


def _preparation(what: str, data: dict[str, Any]) -> Preparation:
    channels, height, width = data["input_size"]
    if channels != 3 or len(data["mean"]) != 3:
        raise InputError(f"{what} takes {channels} channels, expected 3 (RGB)")
    if data["interpolation"] not in ("bicubic", "bilinear"):
        raise InputError(f"{what} resizes by {data['interpolation']!r}, not bicubic or bilinear")
    if data["crop_mode"] not in ("center", "squash"):
        raise InputError(f"{what} crops by {data['crop_mode']!r}, not 'center' or 'squash'")
    return Preparation(
        size=(height, width),
        mean=_pixels(data["mean"]),
        std=_pixels(data["std"]),
        resize=data["interpolation"],
        fit="stretch" if data["crop_mode"] == "squash" else "crop",
        crop=min(1.0, height / math.floor(height / data["crop_pct"])),  # timm resizes to whole px
    )


def _pixels(values: tuple[float, ...]) -> tuple[float, float, float]:
    r, g, b = (round(255.0 * float(v), 6) for v in values)
    return r, g, b


def _own(timm: Any, data: dict[str, Any]) -> OwnPreprocessing:
    transform = timm.data.create_transform(**data, is_training=False)

    def prepare(picture: U8) -> F32:
        from PIL import Image

        return np.asarray(transform(Image.fromarray(picture)), dtype=np.float32)

    return prepare


def _licence(cfg: dict[str, Any], weights: bool) -> str:
    if not weights:
        return "Apache-2.0"  # timm's own
    stated = cfg.get("license")
    return str(stated) if stated else "unknown: timm states none for these weights"
