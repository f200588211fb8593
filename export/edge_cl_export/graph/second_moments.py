"""What each layer sees: mean and second moment of its input patches, from calibration pictures.

A convolution is a matrix product with patches of its input; for every group of it,

    μ = E[p]  (f,)      S = E[p pᵀ]  (f, f)      f = channels a group · kernel height · width

are all that the best rounding of its weights depends on (see `rounding`). They are summed
over pictures one batch at a time; neighbouring patches say the same, so about
`PATCHES` of a picture are taken, evenly spread.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from edge_cl.arrays import F64, U8
from edge_cl_export.graph.trace import weight_of

__all__ = ["LayerMoments", "layer_moments", "weighted_layers"]

PATCHES = 144
MAX_PATCH = 4096  # features of a patch, beyond which S would be too large to factor

_CONV = torch.ops.aten.conv2d.default
_LINEAR = torch.ops.aten.linear.default


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMoments:
    """mean (g, f) and second (g, f, f) over the patches of g groups; second None if f is huge."""

    mean: F64
    second: F64 | None


def weighted_layers(graph: fx.GraphModule) -> Iterator[tuple[fx.Node, Tensor]]:
    """Yield each convolution and linear layer whose weight is a constant of its own."""
    nodes = [n for n in graph.graph.nodes if n.target in (_CONV, _LINEAR)]
    owners = [str(n.args[1].target) for n in nodes if isinstance(n.args[1], fx.Node)]
    for node in nodes:
        weight = weight_of(graph, node.args[1])
        if weight is not None and owners.count(str(node.args[1].target)) == 1:
            yield node, weight


def layer_moments(graph: fx.GraphModule, batches: Iterable[U8]) -> dict[str, LayerMoments]:
    """Run `graph` on `batches`, each (n, h, w, 3) uint8; return moments by name of the node."""
    watch = _Watch(graph)
    with torch.no_grad():
        for batch in batches:
            watch.run(torch.from_numpy(batch))
    return watch.moments()


class _Watch(fx.Interpreter):
    """Runs a graph and sums what its weighted layers see."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self._layers = {node.name: weight for node, weight in weighted_layers(graph)}
        self._sums: dict[str, tuple[int, Tensor, Tensor | None]] = {}

    def run_node(self, n: fx.Node) -> object:
        """Run one node, and look at its input first where it has weights."""
        weight = self._layers.get(n.name)
        if weight is not None:
            arguments, _ = self.fetch_args_kwargs_from_env(n)
            x = arguments[0]
            patches = _rows(x) if n.target is _LINEAR else _patches(x, weight, arguments[3:])
            self._add(n.name, patches)
        return super().run_node(n)

    def moments(self) -> dict[str, LayerMoments]:
        """Return the means of what was summed."""
        return {
            name: LayerMoments(
                mean=(total / n).numpy(),
                second=None if outer is None else (outer / n).numpy(),
            )
            for name, (n, total, outer) in self._sums.items()
        }

    def _add(self, name: str, patches: Tensor) -> None:
        """Sum `patches` (g, f, n)."""
        _, f, n = patches.shape
        total = patches.sum(2, dtype=torch.float64)
        outer = (patches @ patches.transpose(1, 2)).double() if f <= MAX_PATCH else None
        if name in self._sums:
            n0, total0, outer0 = self._sums[name]
            n, total = n + n0, total + total0
            outer = outer + outer0 if outer is not None and outer0 is not None else None
        self._sums[name] = (n, total, outer)


def _rows(x: Tensor) -> Tensor:
    """Return the inputs of a linear layer as (1, f, n)."""
    return x.reshape(-1, x.shape[-1]).T[None]


def _patches(x: Tensor, weight: Tensor, rest: tuple[Any, ...]) -> Tensor:
    """Return the patches that a convolution of `x` (n, c, h, w) sees as (g, f, n')."""
    defaults: tuple[Any, ...] = ([1, 1], [0, 0], [1, 1], 1)
    stride, padding, dilation, groups = rest + defaults[len(rest) :]
    kernel = tuple(weight.shape[2:])
    every = max(1, math.isqrt(x.shape[2] * x.shape[3] // (stride[0] * stride[1] * PATCHES)))
    coarse = (stride[0] * every, stride[1] * every)
    columns = F.unfold(x, kernel, dilation=dilation, padding=padding, stride=coarse)
    columns = columns.permute(1, 0, 2)
    return columns.reshape(groups, columns.shape[0] // groups, -1)
