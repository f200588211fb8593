"""`hf/ORG/NAME`: an image model of the library transformers, from the hub or from a folder.

The features are the network's own pooled output; where it has none, or a dense layer that was
trained for another purpose stands there, the class token; where there is none, the mean of the
tokens. Feature maps are handed on as they are. Code that a model brings along is never run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from edge_cl.arrays import F32, U8
from edge_cl.errors import ExportError, InputError
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.quiet import quiet
from edge_cl_export.sources.backbone import Backbone, OwnPreprocessing
from edge_cl_export.sources.feature_map import is_mean_of_map
from edge_cl_export.sources.foreign import library, loading
from edge_cl_export.sources.tokens import TOKENS, PooledTokens, TokenPooling

__all__ = ["from_transformers"]

_FILTERS: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}  # Pillow's
_CLASS_TOKENS = ("cls_token", "class_embedding", "class_token")


class _Hidden(nn.Module):
    """The last hidden state of a network: a feature map or tokens."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, c, h', w') or (n, t, c)."""
        hidden: Tensor = self.network(pixel_values=x).last_hidden_state
        return hidden


class _Pooled(nn.Module):
    """The pooled output of a network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, c)."""
        pooled: Tensor = self.network(pixel_values=x).pooler_output
        return pooled.flatten(1)


def from_transformers(
    name: str,
    *,
    weights: bool = True,
    size: tuple[int, int] | None = None,
    tokens: TokenPooling | None = None,
    seed: int = 0,
) -> Backbone:
    """Return the image model `name`, "ORG/NAME" on the hub or a folder.

    Parameters
    ----------
    weights : False draws random ones by `seed`; the configuration is still read.
    size : (height, width); None takes the size that its image processor makes.
    tokens : how a transformer's tokens are pooled; None: as the module above says.

    Raises
    ------
    InputError : its image processor does what a bundle cannot declare.
    MissingExtraError : transformers is not installed.
    ExportError : there is no such model, it takes no pictures, or its weights cannot be loaded.
    """
    what = f"hf/{name}"
    transformers = library("transformers", what)
    with loading(what, seed=seed):
        processor = transformers.AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        preparation = _preparation(what, processor, size)
        torch.manual_seed(seed)
        if weights:
            network = transformers.AutoModel.from_pretrained(
                name, trust_remote_code=False, dtype=torch.float32
            )
        else:
            network = transformers.AutoModel.from_config(config, trust_remote_code=False)
    network = getattr(network, "vision_model", network).eval()  # of a pair with a text model
    module, pooling = _features(what, network, preparation.size, tokens)
    origin = "pretrained weights" if weights else f"random weights (seed {seed})"
    kind = type(network).__name__
    return Backbone(
        name=Path(name).name.replace("_", "-").replace(".", "-").lower(),
        module=module.eval(),
        preparation=preparation,
        description=f"{kind} {name} of transformers, {origin}",
        licence=_licence(name) if weights else "Apache-2.0",
        source=f"transformers {transformers.__version__}, {name if weights else kind}",
        typed=what,
        pooling=pooling,
        own=_own(processor) if size is None else None,
    )


def _features(
    what: str, network: nn.Module, size: tuple[int, int], tokens: TokenPooling | None
) -> tuple[nn.Module, str]:
    """Return what gives the features, and in words how they are pooled."""
    with torch.no_grad():
        try:
            out = network(pixel_values=torch.zeros((1, 3, *size)))
        except Exception as error:
            raise ExportError(
                f"{what} does not take pictures of {size[0]}x{size[1]} pixels alone: "
                f"{type(error).__name__}",
                hint="image models only; leave --input-size out",
            ) from error
    hidden = getattr(out, "last_hidden_state", None)
    if not isinstance(hidden, Tensor) or hidden.ndim not in (3, 4):
        raise ExportError(f"{what} gives neither a feature map nor tokens")
    names = [name for name, _ in network.named_parameters()]
    first = any(name.endswith(_CLASS_TOKENS) for name in names)
    dense = any(name.startswith("pooler.dense") for name in names)
    has_pooled = isinstance(getattr(out, "pooler_output", None), Tensor) and not dense
    if hidden.ndim == 4:
        if not has_pooled or is_mean_of_map(_Hidden(network), _Pooled(network), size):
            return _Hidden(network), ""
        return _Pooled(network), "the features are pooled as the network does"
    if has_pooled and tokens is None:
        return _Pooled(network), "the features are pooled as the network does"
    chosen: TokenPooling = tokens or ("class" if first else "mean")
    return PooledTokens(_Hidden(network), chosen, others=int(first)), TOKENS[chosen]


def _preparation(what: str, processor: Any, size: tuple[int, int] | None) -> Preparation:
    """Return what `processor` does, as far as a bundle can declare it."""
    asked = dict(processor.size or {})
    cut = dict(getattr(processor, "crop_size", None) or {})
    share = 1.0
    fit: Literal["crop", "stretch"] = "crop"
    short = asked.get("shortest_edge")
    if {"height", "width"} <= set(asked):
        height, width, fit = asked["height"], asked["width"], "stretch"
    elif short and getattr(processor, "crop_pct", None):  # ConvNeXt's: resized to short / crop_pct
        height = width = short
        if short < 384:
            share = short / int(short / processor.crop_pct)
        else:
            fit = "stretch"
    elif short and cut and getattr(processor, "do_center_crop", False):
        height, width = cut["height"], cut["width"]
        share = min(height, width) / short
    else:
        raise InputError(f"{what} wants pictures of size {asked}, which is not one fixed size")
    filter_name = _FILTERS.get(int(processor.resample)) if processor.do_resize else None
    if filter_name is None:
        raise InputError(f"{what} does not resize pictures by bicubic or bilinear filters")
    if getattr(processor, "rescale_offset", False):
        raise InputError(f"{what} rescales pixels with an offset", hint="write a factory")
    step = 1.0 / float(processor.rescale_factor) if processor.do_rescale else 1.0
    mean = tuple(processor.image_mean) if processor.do_normalize else (0.0,) * 3
    std = tuple(processor.image_std) if processor.do_normalize else (1.0,) * 3
    return Preparation(
        size=size or (int(height), int(width)),
        mean=_pixels(mean, step),
        std=_pixels(std, step),
        resize=filter_name,
        fit=fit,
        crop=min(1.0, share),
    )


def _pixels(values: tuple[float, ...], step: float) -> tuple[float, float, float]:
    r, g, b = (round(step * float(v), 6) for v in values)
    return r, g, b


def _own(processor: Any) -> OwnPreprocessing:
    def prepare(picture: U8) -> F32:
        from PIL import Image

        made = processor(images=Image.fromarray(picture), return_tensors="np")
        return np.asarray(made["pixel_values"][0], dtype=np.float32)

    return prepare


def _licence(name: str) -> str:
    """Return what the model card states: in the folder, or on the hub."""
    hub = library("huggingface_hub", f"hf/{name}")
    folder = Path(name)
    try:
        with quiet():
            if folder.is_dir():
                card = hub.ModelCard.load(folder / "README.md").data
            else:
                card = hub.model_info(name, timeout=5).card_data
    except Exception:  # noqa: BLE001  no card, or no network: then it is not known here
        return "unknown: no model card at hand"
    stated = card.get("license") if card is not None else None
    return str(stated) if stated else "unknown: its model card states none"
