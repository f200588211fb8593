"""`torchvision/NAME`: a classifier of torchvision, with its weights and their preprocessing.

NAME may end in the name of the weights: ``torchvision/resnet50.IMAGENET1K_V1``; else they are
torchvision's default. The classifier is removed in the same way from all: the last linear
layer or convolution with as many outputs as there are classes becomes the identity. What it
was given, pooled by the network itself, are the features.
"""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np
from torch import nn

from edge_cl.arrays import F32, U8
from edge_cl.errors import ExportError, InputError
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.sources.backbone import Backbone, OwnPreprocessing
from edge_cl_export.sources.foreign import library, loading

__all__ = ["from_torchvision", "without_classifier"]


def from_torchvision(
    name: str, *, weights: bool = True, size: tuple[int, int] | None = None, seed: int = 0
) -> Backbone:
    """Return the classifier that torchvision calls `name`, without its last layer.

    Parameters
    ----------
    weights : False draws random ones by `seed`.
    size : (height, width); None takes the size that the weights were trained at.

    Raises
    ------
    InputError : torchvision knows no such classifier, or it has no such weights.
    MissingExtraError : torchvision is not installed.
    ExportError : it cannot be imported, or the weights cannot be loaded.
    """
    models = library("torchvision.models", f"torchvision/{name}")
    release = library("torchvision", f"torchvision/{name}").__version__
    arch, _, tag = name.partition(".")
    known = models.list_models(module=models)
    if arch not in known:
        near = difflib.get_close_matches(arch, known, 3)
        raise InputError(
            f"torchvision {release} knows no classifier called {arch!r}",
            hint=f"near: {', '.join(near)}" if near else "torchvision.models.list_models()",
        )
    choices = models.get_model_weights(arch)
    if tag and tag not in choices.__members__:
        raise InputError(
            f"{arch} has no weights called {tag!r}",
            hint=f"weights: {', '.join(choices.__members__)}",
        )
    chosen = choices[tag] if tag else choices.DEFAULT
    sized = {"image_size": size[0]} if size is not None and arch.startswith("vit_") else {}
    with loading(f"torchvision/{name}", seed=seed):
        network = models.get_model(arch, weights=chosen if weights else None, **sized)
    removed = without_classifier(network, len(chosen.meta["categories"]))
    transform = chosen.transforms()
    preparation = _preparation(f"torchvision/{name}", transform, size)
    used = f"{arch}.{chosen.name}" if weights else arch
    origin = "pretrained weights" if weights else f"random weights (seed {seed})"
    return Backbone(
        name=f"torchvision-{arch}".replace("_", "-"),
        module=network.eval(),
        preparation=preparation,
        description=f"{used} of torchvision without its classifier, {origin}",
        licence=_licence(chosen) if weights else "BSD-3-Clause",
        source=f"torchvision {release}, {used}",
        typed=f"torchvision/{name}",
        pooling=f"the features are what {arch} gives its last layer, {removed}",
        own=_own(transform) if size is None else None,
    )


def without_classifier(network: nn.Module, classes: int) -> str:
    """Make the last layer with `classes` outputs the identity; return the layer's name.

    Raises
    ------
    ExportError : there is none.
    """
    last = ""
    for name, part in network.named_modules():
        if classes in (getattr(part, "out_features", 0), getattr(part, "out_channels", 0)):
            last = name
    if not last:
        raise ExportError(
            f"{type(network).__name__} has no layer with {classes} outputs, one a class",
            hint="write a factory that returns the network without its classifier",
        )
    parent, _, own = last.rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Identity())
    return last


def _preparation(what: str, transform: Any, size: tuple[int, int] | None) -> Preparation:
    filters = {"bilinear": "bilinear", "bicubic": "bicubic"}
    resize = filters.get(transform.interpolation.value)
    if resize is None or not transform.antialias:
        raise InputError(f"{what} resizes by {transform.interpolation.value!r} without antialias")
    side, short = transform.crop_size[0], transform.resize_size[0]
    return Preparation(
        size=size or (side, side),
        mean=_pixels(transform.mean),
        std=_pixels(transform.std),
        resize="bicubic" if resize == "bicubic" else "bilinear",
        crop=min(1.0, side / short),
    )


def _pixels(values: list[float]) -> tuple[float, float, float]:
    r, g, b = (round(255.0 * float(v), 6) for v in values)
    return r, g, b


def _own(transform: Any) -> OwnPreprocessing:
    def prepare(picture: U8) -> F32:
        from PIL import Image

        return np.asarray(transform(Image.fromarray(picture)), dtype=np.float32)

    return prepare


def _licence(chosen: Any) -> str:
    stated = chosen.meta.get("license")
    return str(stated) if stated else "BSD-3-Clause (torchvision; it states none for the weights)"
