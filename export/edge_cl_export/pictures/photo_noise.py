r"""Noise that has the first two moments and the spectrum of photographs.

Amplitudes fall as 1/f with the spatial frequency f (Field 1987), channels are correlated, mean
and standard deviation are ImageNet's. With z unit noise of that spectrum, grey z₀ and a colour z_c:

    x_c = mean_c + std_c · (√ρ z₀ + √(1 - ρ) z_c),      E[z] = 0,  E[z²] = 1            (1)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["PHOTO_MEAN", "PHOTO_STD", "photo_noise"]

PHOTO_MEAN = (123.675, 116.28, 103.53)  # of ImageNet, in pixel units
PHOTO_STD = (58.395, 57.12, 57.375)
GREY = 0.75  # ρ, the share of the variance that channels have in common


def photo_noise(n: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return noise (n, 3, height, width) in pixel units, float32, not clipped to pixels."""
    z = _pink(n, 4, size, generator)
    mixed = math.sqrt(GREY) * z[:, :1] + math.sqrt(1.0 - GREY) * z[:, 1:]
    return column(PHOTO_MEAN) + column(PHOTO_STD) * mixed  # (1)


def column(values: tuple[float, float, float]) -> Tensor:
    """Return a value a channel as (1, 3, 1, 1)."""
    return torch.tensor(values).reshape(1, 3, 1, 1)


def _pink(n: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return unit noise (n, channels, *size) whose amplitude falls as 1/f."""
    height, width = size
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
    gain = torch.zeros_like(frequency)
    gain[frequency > 0] = 1.0 / frequency[frequency > 0]
    white = torch.randn((n, channels, height, width), generator=generator)
    pink: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * gain, s=size)
    return pink / pink.std((2, 3), keepdim=True)
