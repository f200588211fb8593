"""What a picture goes through before the first weight, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import msgspec
import numpy as np

from edge_cl.bundle import InputSpec
from edge_cl.errors import InputError

__all__ = ["Pool", "Preparation", "check_pool"]

Pool = Literal["mean", "max", "token", "none"]
"""What becomes of positions or tokens: see `embedding.Embedding`."""


def check_pool(pool: str) -> None:
    """Do nothing if a pooling is called `pool`, else raise InputError."""
    if pool not in get_args(Pool):
        raise InputError(f"no pooling is called {pool!r}", hint=", ".join(get_args(Pool)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What a picture goes through before the first weight.

    Attributes
    ----------
    size : (height, width) in pixels.
    mean, std : one value a channel (RGB), in pixel units (0..255): (x - mean) / std. Zeros and
        ones are a network that takes pixels as they are.
    resize, fit, crop : see `edge_cl.bundle.InputSpec`.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Literal["bicubic", "bilinear"] = "bicubic"
    fit: Literal["crop", "stretch"] = "crop"
    crop: float = 1.0

    def __post_init__(self) -> None:
        if not all(32 <= side <= 4096 for side in self.size):
            raise InputError(f"expected an input size of 32 to 4096 pixels, got {self.size}")
        if not all(np.isfinite(self.mean)) or not all(np.isfinite(s) and s > 0 for s in self.std):
            raise InputError(f"expected finite mean and std > 0, got {self.mean}, {self.std}")
        # A std of 1 is in pixel units where the mean is none, or plainly one of pixels
        if max(self.std) < 1.0 or (max(self.std) == 1.0 and 0.0 < max(self.mean) <= 1.0):
            raise InputError(
                f"expected mean and std in pixel units (0..255), got {self.mean}, {self.std}",
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
            crop=msgspec.UNSET if self.crop == 1.0 else self.crop,
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
