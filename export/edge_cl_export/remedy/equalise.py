r"""Cross-layer equalisation: channels of very different size made alike, the function kept.

Between two layers, z = W₁x + b₁ and W₂φ(z), channel c may be divided by s_c > 0 in the first
and multiplied by s_c in the second, wherever φ(z/s) = φ(z)/s (Nagel et al. 2019, "Data-free
quantization through weight equalization and bias correction", arXiv 1906.04721, eq. 7):

    W₁[c,:] ← W₁[c,:]/s_c,    b₁[c] ← b₁[c]/s_c,    W₂[:,c] ← W₂[:,c]·s_c             (1)

The paper balances the ranges of both weights, for weights with one scale a tensor. Ours have
one scale a row, so dividing a row is free; what the channels of φ(z) share is the scale of the
*activation*. With r₁ the range of channel c of φ(z) on the calibration pictures and r₂ that of
column c of W₂, each row of it in units of its own largest weight,

    s_c = k·√(r₁_c r₂_c) / r₂_c,  so that  r₁_c/s_c = r₂_c s_c / k² = √(r₁_c r₂_c) / k  (2)

Where the second layer is depthwise, its row c has column c alone and follows for free too:
r₁_c/s_c is then made the same for all channels, s_c = k·r₁_c. So the paper's triples (dense,
depthwise, dense) come apart into two pairs. k keeps the largest r₁ what it was.

(1) is exact for no activation and for (leaky) ReLU, whatever the picture. Through ReLU6 it is
exact only for a channel that never reaches 6, and what 64 pictures never reach, others do: on
EfficientNet-Lite0 the *float* network scaled so, with 30 % of headroom, has a cosine of .998
in the mean and .973 in the worst of 160 other pictures to what it was, which is more than
rounding costs. A clip for each channel, min(z, 6/s), is exact, but no runtime fuses it into an
integer convolution. So pairs with ReLU6 between them are left alone, like those with
hard-swish, GELU or a sigmoid, for which (1) holds nowhere; they are named in what comes back.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from edge_cl.arrays import F64, U8
from edge_cl_export.graph.second_moments import weighted_layers
from edge_cl_export.graph.trace import set_constant, weight_of
from edge_cl_export.quiet import quiet

__all__ = ["Equalisation", "EqualisedPair", "equalise"]

FARTHEST = 8.0  # s lies within 1/FARTHEST..FARTHEST: a channel hardly seen says little

_aten = torch.ops.aten
_CONV = _aten.conv2d.default
_RELUS = (_aten.relu.default, _aten.relu_.default)
_OBSTACLES = (
    _aten.hardtanh.default, _aten.hardtanh_.default, _aten.relu6.default, _aten.relu6_.default,
    _aten.clamp.default, _aten.hardswish.default, _aten.hardswish_.default, _aten.gelu.default,
    _aten.silu.default, _aten.silu_.default, _aten.sigmoid.default,
)  # fmt: skip
_POOLS = (_aten.max_pool2d.default, _aten.avg_pool2d.default, _aten.adaptive_avg_pool2d.default)
_CHANNELWISE = (  # φ(z/s) = φ(z)/s, for each channel by itself; zero padding and pooling too
    *_RELUS, _aten.leaky_relu.default, _aten.leaky_relu_.default, _aten.dropout.default,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualisedPair:
    """What was done between two layers, by name of their nodes.

    spread_before, spread_after : of the ranges of the channels between them, largest over
        median.
    """

    first: str
    second: str
    channels: int
    spread_before: float
    spread_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Equalisation:
    """The pairs that were equalised, and those that could not be: what stands between them."""

    pairs: tuple[EqualisedPair, ...]
    left_alone: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two layers; `relu`: negatives are cut; `obstacle`: for what (1) does not hold, or ""."""

    first: fx.Node
    second: fx.Node
    relu: bool
    obstacle: str


def equalise(graph: fx.GraphModule, batches: Iterable[U8]) -> tuple[fx.GraphModule, Equalisation]:
    """Return a copy of `graph` with equalised channels, and what was done.

    `batches` yields (n, h, w, 3) uint8, the pictures whose ranges count.
    """
    with quiet():
        changed = copy.deepcopy(graph)
    found = list(_pairs(changed))
    pairs = [pair for pair in found if not pair.obstacle]
    watch = _Watch(changed, frozenset(pair.first.name for pair in pairs))
    with torch.no_grad():
        for batch in batches if pairs else ():
            watch.run(torch.from_numpy(batch))
    done = []
    for pair in pairs:
        low, high = watch.ranges[pair.first.name]
        r1: F64 = np.maximum(high, 0.0 if pair.relu else -low)
        s = _scales(r1, _column_ranges(changed, pair))
        _rescale(changed, pair, s)
        done.append(
            EqualisedPair(
                first=pair.first.name,
                second=pair.second.name,
                channels=len(s),
                spread_before=_spread(r1),
                spread_after=_spread(r1 / s),
            )
        )
    changed.graph.eliminate_dead_code()
    changed.recompile()
    left = tuple((p.first.name, p.second.name, p.obstacle) for p in found if p.obstacle)
    return changed, Equalisation(pairs=tuple(done), left_alone=left)


def _pairs(graph: fx.GraphModule) -> Iterator[_Pair]:
    """Yield layers whose output goes, channel by channel, into one other layer alone."""
    layers = {node for node, _ in weighted_layers(graph) if _has_plain_bias(graph, node)}
    for second in (n for n in graph.graph.nodes if n in layers):
        between: list[fx.Node] = []
        node = second.args[0]
        while (
            isinstance(node, fx.Node)
            and len(node.users) == 1
            and node not in layers
            and (node.target in _OBSTACLES or _channelwise(node))
        ):
            between.append(node)
            node = node.args[0]
        if not isinstance(node, fx.Node) or node not in layers or len(node.users) > 1:
            continue
        if _keeps_channels(node, between, second):
            obstacle = next((n.name for n in between if n.target in _OBSTACLES), "")
            relu = any(n.target in _RELUS for n in between)
            yield _Pair(node, second, relu, obstacle)


def _has_plain_bias(graph: fx.GraphModule, node: fx.Node) -> bool:
    bias = node.args[2] if len(node.args) > 2 else None
    return bias is None or weight_of(graph, bias) is not None


def _channelwise(node: fx.Node) -> bool:
    if node.target is _aten.pad.default:  # arguments: input, widths, mode, value
        zeros = tuple(node.args[2:]) in ((), ("constant",), ("constant", 0.0), ("constant", None))
        return zeros and len(tuple(node.args[1])) <= 4  # type: ignore[arg-type]
    return _is_pooling(node) or node.target in _CHANNELWISE


def _is_pooling(node: fx.Node) -> bool:
    if node.target is _aten.mean.dim:
        return list(node.args[1]) in ([2, 3], [-2, -1], [-1, -2])  # type: ignore[arg-type]
    return node.target in _POOLS


def _keeps_channels(first: fx.Node, between: list[fx.Node], second: fx.Node) -> bool:
    """Say whether the c-th output of `first` is the c-th input of `second`."""
    means = [n for n in between if n.target is _aten.mean.dim]
    flat = bool(means) and (len(means[0].args) < 3 or not means[0].args[2])
    if first.target is _CONV:
        return flat == (second.target is not _CONV)
    spatial = any(_is_pooling(n) or n.target is _aten.pad.default for n in between)
    return second.target is not _CONV and not spatial


def _column_ranges(graph: fx.GraphModule, pair: _Pair) -> F64 | None:
    """Return r₂ of each input channel of the second layer; None where it is depthwise."""
    weight = weight_of(graph, pair.second.args[1])
    if weight is None:
        raise AssertionError(pair.second.name)
    w = weight.detach().double().numpy()
    groups = _groups(pair.second)
    if w.shape[1] == 1 and groups > 1:
        return None
    rows = np.abs(w.reshape(groups, len(w) // groups, w.shape[1], -1)).max(axis=3)
    largest = rows.max(axis=2, keepdims=True)
    columns: F64 = (rows / np.where(largest > 0, largest, 1.0)).max(axis=1).ravel()
    return columns


def _scales(r1: F64, r2: F64 | None) -> F64:
    """Return s of each channel; 1 where the channel, or its column, is zero."""
    alive = r1 > 0 if r2 is None else (r1 > 0) & (r2 > 0)
    s = np.ones_like(r1)
    if alive.any():
        r = r1[alive]
        wanted = r if r2 is None else np.sqrt(r * r2[alive]) / r2[alive]
        k = float((r / wanted).max() / r.max())
        s[alive] = np.clip(k * wanted, 1.0 / FARTHEST, FARTHEST)  # (2)
    return s


def _rescale(graph: fx.GraphModule, pair: _Pair, s: F64) -> None:
    """(1), in the first layer's rows and the second layer's columns."""
    scale = torch.from_numpy(s)
    for position in (1, 2):
        given = position < len(pair.first.args)
        old = weight_of(graph, pair.first.args[position]) if given else None
        if old is not None:
            rows = scale.reshape(-1, *[1] * (old.ndim - 1))
            set_constant(graph, pair.first, position, (old.double() / rows).to(old.dtype))
    weight = weight_of(graph, pair.second.args[1])
    if weight is None:
        raise AssertionError(pair.second.name)
    groups = _groups(pair.second)
    wide = weight.double().reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    columns = scale.reshape(groups, 1, weight.shape[1], *[1] * (weight.ndim - 2))
    set_constant(graph, pair.second, 1, (wide * columns).reshape(weight.shape).to(weight.dtype))


def _groups(node: fx.Node) -> int:
    groups = node.args[6] if node.target is _CONV and len(node.args) > 6 else 1
    return groups if isinstance(groups, int) else 1


def _spread(reach: F64) -> float:
    alive = reach[reach > 0]
    return round(float(alive.max() / np.median(alive)), 3) if len(alive) else 1.0


class _Watch(fx.Interpreter):
    """Runs a graph and keeps minimum and maximum of each channel of some layers' outputs."""

    def __init__(self, graph: fx.GraphModule, layers: frozenset[str]) -> None:
        super().__init__(graph)
        self.ranges: dict[str, tuple[F64, F64]] = {}
        self._layers = layers

    def run_node(self, n: fx.Node) -> object:
        """Run one node, and look at its output."""
        out: Tensor = super().run_node(n)
        if n.name in self._layers:
            last = out if n.target is not _CONV else out.movedim(1, -1)
            flat = last.reshape(-1, last.shape[-1]).double()
            low, high = flat.amin(0).numpy(), flat.amax(0).numpy()
            seen = self.ranges.get(n.name, (low, high))
            self.ranges[n.name] = np.minimum(low, seen[0]), np.maximum(high, seen[1])
        return out
