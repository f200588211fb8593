"""The exported network: raw pixels in, one embedding a picture out.

    uint8 (n, h, w, 3) → (x - mean) / std → NCHW → backbone, or its part up to one layer
    → pooling → projection to k features, if asked → y / max(‖y‖, ε), if asked → (n, d)   (1)

Normalisation is part of the graph, so a device cannot get it wrong. It stands before the
change of layout: converters then fold the transpose into the first convolution.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_cl.arrays import F32, U8
from edge_cl.errors import ExportError, InputError
from edge_cl_export.graph.layers import cut
from edge_cl_export.graph.preparation import Pool, Preparation, check_pool
from edge_cl_export.graph.projection import Projection
from edge_cl_export.graph.traceable import check_network, describe

__all__ = ["EPS", "Embedding", "embed"]

EPS = 1e-6  # a shorter embedding says nothing; also the smallest that float16 can hold


class Embedding(nn.Module):
    """See the module.

    Parameters
    ----------
    backbone : takes float32 (n, 3, h, w) and gives (n, c, h', w'), tokens (n, t, c) or (n, d).
    layer : name of the submodule whose output is taken; None: the backbone's own.
    pool : "mean" or "max" over positions or tokens, "token": the first of the tokens (the
        class token, where there is one), "none": everything side by side.
    l2 : whether embeddings have length one.
    projection : from `projection.fit`, on what the same embedding gives without it.

    Raises
    ------
    InputError : no such layer or pooling.
    ExportError : the layer, or the network as it stands, cannot be exported.
    """

    mean: Tensor
    gain: Tensor
    projection_weight: Tensor
    projection_bias: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        preparation: Preparation,
        *,
        layer: str | None = None,
        pool: Pool = "mean",
        l2: bool = False,
        projection: Projection | None = None,
    ) -> None:
        super().__init__()
        check_pool(pool)
        check_network(backbone)
        self.backbone = backbone if layer is None else cut(backbone, layer, preparation)
        self.pool = pool
        self.l2 = l2
        self.projected = projection is not None
        gain = tuple(1.0 / s for s in preparation.std)
        self._scalars: tuple[float, float] | None = None
        if len(set(preparation.mean)) == len(set(gain)) == 1:
            self._scalars = (preparation.mean[0], gain[0])
        self.register_buffer("mean", torch.tensor(preparation.mean), persistent=False)
        self.register_buffer("gain", torch.tensor(gain), persistent=False)
        if projection is not None:
            weight, bias = (
                torch.from_numpy(a.astype(np.float32)) for a in (projection.weight, projection.bias)
            )
            self.register_buffer("projection_weight", weight, persistent=False)
            self.register_buffer("projection_bias", bias, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return embeddings (n, d) float32 for `image` (n, h, w, 3) uint8."""
        mean, gain = self._scalars or (self.mean, self.gain)
        normal = (image.to(torch.float32) - mean) * gain
        y = _pooled(self.backbone(normal.permute(0, 3, 1, 2)), self.pool)
        if self.projected:
            if y.shape[1] != self.projection_weight.shape[1]:
                raise InputError(
                    f"the projection is for {self.projection_weight.shape[1]} features, "
                    f"the network has {y.shape[1]}"
                )
            y = F.linear(y, self.projection_weight, self.projection_bias)
        if self.l2:
            y = y / (y * y).sum(1, keepdim=True).sqrt().clamp_min(EPS)  # (1)
        return y


def _pooled(features: object, pool: Pool) -> Tensor:
    if not isinstance(features, Tensor):
        raise ExportError(
            f"the network returns {describe(features)}, expected one tensor",
            hint="take one by --layer NAME, or return it alone in the factory's module",
        )
    shape = tuple(features.shape)
    if features.ndim not in (2, 3, 4):
        raise ExportError(
            f"the network returns shape {shape}, expected (n, d), (n, t, c) or (n, c, h, w)",
            hint="take another layer by --layer NAME",
        )
    if pool == "none":
        return features.flatten(1)
    if features.ndim == 2:
        if pool != "mean":
            raise ExportError(
                f"the network returns shape {shape}, there is nothing to pool by {pool!r}",
                hint="--pool none, or an earlier layer by --layer NAME",
            )
        return features
    if pool == "token":
        if features.ndim == 4:
            raise ExportError(
                f"the network returns a feature map {shape}, which has no tokens",
                hint="--pool mean or --pool max",
            )
        return features[:, 0]
    positions = (2, 3) if features.ndim == 4 else (1,)
    return features.mean(positions) if pool == "mean" else features.amax(positions)


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
