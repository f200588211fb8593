"""Whether what a network gives, pooled, is nothing but the mean of its feature map.

Then the map is handed on, and the pooling is chosen later. Where a norm, a convolution or an
activation stands behind the pooling (MobileNetV3, ConvNeXt), the network pools itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["is_mean_of_map"]


def is_mean_of_map(
    feature_map: Callable[[Tensor], Tensor],
    pooled: Callable[[Tensor], Tensor],
    size: tuple[int, int],
) -> bool:
    """Return whether `pooled` is the mean over the positions of `feature_map` (n, c, h', w')."""
    probe = torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(0)) * 4 - 2
    with torch.no_grad():
        features, row = feature_map(probe), pooled(probe)
    if features.ndim != 4 or row.ndim != 2 or features.shape[1] != row.shape[1]:
        return False
    return torch.allclose(features.mean((2, 3)), row, rtol=1e-4, atol=1e-5 * float(row.abs().max()))
