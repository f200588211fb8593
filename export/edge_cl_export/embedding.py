"""The exported network: raw pixels in, one embedding a picture out.

    uint8 (n, h, w, 3) → (x - mean) / std → NCHW → backbone → mean over positions → (n, d)

Normalisation is part of the graph, so a device cannot get it wrong. It stands before the
change of layout: converters then fold the transpose into the first convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from edge_cl.arrays import F32, U8
from edge_cl.bundle import InputSpec
from edge_cl.errors import ExportError, InputError

__all__ = ["Embedding", "Preparation", "embed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What a picture goes through before the first weight.

    Attributes
    ----------
    size : (height, width) in pixels.
    mean, std : one value a channel (RGB), in pixel units (0..255): (x - mean) / std.
    resize, fit : see `edge_cl.bundle.InputSpec`.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Literal["bicubic", "bilinear"] = "bicubic"
    fit: Literal["crop", "stretch"] = "crop"

    def __post_init__(self) -> None:
        if not all(32 <= side <= 4096 for side in self.size):
            raise InputError(f"expected an input size of 32 to 4096 pixels, got {self.size}")
        if not all(np.isfinite(self.mean)) or not all(np.isfinite(s) and s > 0 for s in self.std):
            raise InputError(f"expected finite mean and std > 0, got {self.mean}, {self.std}")
        if max(self.std) <= 1.0:
            raise InputError(
                f"expected std in pixel units (0..255), got {self.std}",
                hint="multiply mean and std by 255",
            )

    @property
    def spec(self) -> InputSpec:
        """The same for the manifest."""
        return InputSpec(
            kind="image",
            shape=(*self.size, 3),
            dtype="uint8",
            layout="HWC",
            colour="RGB",
            resize=self.resize,
            fit=self.fit,
        )

    @property
    def uint8_step(self) -> tuple[float, int] | None:
        """Scale and zero point with which a raw pixel *is* a quantised normalised one.

        (x - mean) / std = scale·(x - zero) holds exactly where all channels share one mean
        that is a whole number of pixel steps, and one std. None where they do not.
        """
        mean, std = self.mean[0], self.std[0]
        shared = set(self.mean) == {mean} and set(self.std) == {std}
        if shared and mean == int(mean) and 0 <= mean <= 255:
            return 1.0 / std, int(mean)
        return None


class Embedding(nn.Module):
    """See the module. `backbone` takes float32 (n, 3, h, w) and gives (n, c, h', w') or (n, d)."""

    mean: Tensor
    gain: Tensor

    def __init__(self, backbone: nn.Module, preparation: Preparation) -> None:
        super().__init__()
        self.backbone = backbone
        gain = tuple(1.0 / s for s in preparation.std)
        self._scalars: tuple[float, float] | None = None
        if len(set(preparation.mean)) == len(set(gain)) == 1:
            self._scalars = (preparation.mean[0], gain[0])
        self.register_buffer("mean", torch.tensor(preparation.mean), persistent=False)
        self.register_buffer("gain", torch.tensor(gain), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return embeddings (n, d) float32 for `image` (n, h, w, 3) uint8."""
        mean, gain = self._scalars or (self.mean, self.gain)
        normal = (image.to(torch.float32) - mean) * gain
        features = self.backbone(normal.permute(0, 3, 1, 2))
        if not isinstance(features, Tensor):
            raise ExportError(
                f"the backbone returns {type(features).__name__}, expected one tensor",
                hint="return the feature map or the pooled features alone",
            )
        if features.ndim == 4:
            return features.mean((2, 3))
        if features.ndim == 2:
            return features
        raise ExportError(
            f"the backbone returns shape {tuple(features.shape)}, expected (n, d) or (n, c, h, w)",
            hint="pool the tokens in the factory's module",
        )


def embed(module: nn.Module, batch: U8) -> F32:
    """Run `module` in float on `batch` (n, h, w, 3) and return (n, d), finite.

    Raises
    ------
    ExportError : the features are not finite: broken weights, or a wrong normalisation.
    """
    with torch.no_grad():
        features: F32 = module(torch.from_numpy(batch)).numpy()
    if not np.isfinite(features).all():
        raise ExportError("the float model gives features that are not finite")
    return features
