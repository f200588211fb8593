"""A network without its classifier, and what is known about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from edge_cl.arrays import F32, U8
from edge_cl_export.graph.preparation import Preparation

__all__ = ["Backbone", "OwnPreprocessing"]

OwnPreprocessing = Callable[[U8], F32]
"""A picture (h, w, 3) in, the network's normalised input (3, height, width) out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """What an export begins with.

    Attributes
    ----------
    module : float32 (n, 3, h, w), normalised, in; (n, c, h', w') or (n, d) out.
    typed : what a user types to name it.
    pooling : a sentence on how (n, d) comes about where `module` gives it; empty for feature maps.
    own : the preprocessing that the network's library defines, None where it defines none.
    """

    name: str
    module: nn.Module
    preparation: Preparation
    description: str
    licence: str
    source: str
    typed: str
    pooling: str = ""
    own: OwnPreprocessing | None = None
