r"""How much each layer suffers from 8 bits: one layer at a time, the others in float.

A network without a classifier gives no distribution to compare, so it is given the plainest
one: to which of the other pictures is this one similar? With float features f_j of B pictures
and c_ij(g) the cosine of g_i with f_j, centred at the mean float feature m,

    p_i(g) = softmax_{j≠i} (c_ij(g) / T),     c_ij(g) = cos(g_i - m, f_j - m)          (1)
    Ω_l = (1/B) Σ_i KL(p_i(f) ‖ p_i(f^l))                                              (2)

f^l are the features with layer l alone in int8: its weights on one grid a row, its input on
256 levels between the smallest and the largest value that these pictures give. T is the
standard deviation of the float cosines, so Ω does not depend on how narrow a network's cosines
lie. The picture itself is left out: it would be nearest to itself and hide the rest. The
direction is ZeroQ's (Cai et al. 2020, arXiv 2001.00281, eq. 4), float first, not symmetric.

For small errors (2) is quadratic in them, and the errors of different layers hardly correlate:
so the Ω of several layers add, which is what `frontier` takes for granted.

Only what lies behind a layer is run again, from the layer on.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from edge_cl.arrays import F64, U8
from edge_cl.errors import InputError
from edge_cl_export.graph.second_moments import weighted_layers
from edge_cl_export.graph.trace import weight_of
from edge_cl_export.remedy.rounding import round_row_weights
from edge_cl_export.steps import Progress

__all__ = ["Sensitivity", "divergence", "sensitivities"]

FEWEST = 4  # pictures: each is compared with the others
SAME = 1e-6  # of the largest feature: what float32 arithmetic leaves between equal pictures
LEVELS = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """Ω of one layer, by the name of its node; `weights` is the number of its weights."""

    layer: str
    omega: float
    weights: int


def sensitivities(
    graph: fx.GraphModule,
    pictures: U8,
    *,
    rounded: fx.GraphModule | None = None,
    progress: Progress | None = None,
) -> tuple[Sensitivity, ...]:
    """Return Ω of each layer of `graph` with weights, in the order of the graph.

    Parameters
    ----------
    pictures : (B, h, w, 3) uint8, all in one batch; about 32 are enough.
    rounded : the same graph with weights already on int8 grids (see `rounding`) and biases to
        go with them, which then stand for a layer in int8; None: nearest rounding.

    Raises
    ------
    InputError : fewer than `FEWEST` pictures.
    """
    if len(pictures) < FEWEST:
        raise InputError(f"expected at least {FEWEST} pictures, got {len(pictures)}")
    with torch.no_grad():
        probe = _Probe(graph, rounded)
        features, found = probe.explore(torch.from_numpy(pictures), progress)
    return tuple(
        Sensitivity(layer=name, omega=divergence(features, changed), weights=count)
        for name, (changed, count) in found.items()
    )


def divergence(features: F64, changed: F64) -> float:
    """Return Ω (2) of `changed` (B, d) against the float `features` (B, d)."""
    if not np.ptp(features, axis=0).max() > SAME * np.abs(features).max():
        raise InputError("the float features of all pictures are the same")
    before = _cosines(features, features)
    others = ~np.eye(len(features), dtype=bool)
    spread = float(before[others].std())
    p = _log_softmax(before / spread)  # (1)
    q = _log_softmax(_cosines(changed, features) / spread)
    terms = np.where(others, np.exp(p) * (p - q), 0.0)
    return max(float(terms.sum(axis=1).mean()), 0.0)  # (2)


def _cosines(g: F64, f: F64) -> F64:
    mean = f.mean(axis=0)
    a, b = g - mean, f - mean
    norms = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
    out: F64 = a @ b.T / np.maximum(norms, np.finfo(np.float64).tiny)
    return out


def _log_softmax(scores: F64) -> F64:
    """Of each row, without its diagonal element (whose value then means nothing)."""
    others = np.where(np.eye(len(scores), dtype=bool), -np.inf, scores)
    largest = others.max(axis=1, keepdims=True)
    total = np.log(np.exp(others - largest).sum(axis=1, keepdims=True))
    out: F64 = scores - largest - total
    return out


class _Probe(fx.Interpreter):
    """Runs a graph; at each layer, runs what follows a second time with that layer in int8."""

    def __init__(self, graph: fx.GraphModule, rounded: fx.GraphModule | None) -> None:
        super().__init__(graph)
        self._weights = {node.name: weight for node, weight in weighted_layers(graph)}
        self._int8 = _int8_constants(graph if rounded is None else rounded, rounded is None)
        self._nodes = graph.graph.nodes
        self._mutates = any(_mutates(node) for node in graph.graph.nodes)

    def explore(
        self, pictures: Tensor, progress: Progress | None
    ) -> tuple[F64, dict[str, tuple[F64, int]]]:
        """Return the float features, and for each layer those with it in int8, and its size."""
        nodes = list(self._nodes)
        self.args_iter = iter((pictures,))
        self.env = {}
        found: dict[str, tuple[F64, int]] = {}
        features = np.empty(0)
        for i, node in enumerate(nodes):
            if node.op == "output":
                features = _numbers(self.run_node(node))
                break
            if node.name in self._weights:
                if progress is not None:
                    progress(f"sensitivity: {node.name}", len(found) / len(self._weights))
                changed = self._behind(nodes, i)
                found[node.name] = (changed, self._weights[node.name].numel())
            self.env[node] = self.run_node(node)
            self._forget(node)
        return features, found

    def _behind(self, nodes: list[fx.Node], i: int) -> F64:
        """Run layer `i` in int8 and what follows; leave the state as it was."""
        kept = self.env
        self.env = _own_copy(kept) if self._mutates else dict(kept)
        self.env[nodes[i]] = self._in_int8(nodes[i])
        for node in nodes[i + 1 :]:
            if node.op == "output":
                out = _numbers(self.run_node(node))
                break
            self.env[node] = self.run_node(node)
            self._forget(node)
        self.env = kept
        return out

    def _in_int8(self, node: fx.Node) -> Any:
        arguments, keywords = self.fetch_args_kwargs_from_env(node)
        weight, bias = self._int8[node.name]
        x = _on_grid(arguments[0])
        rest = (bias, *arguments[3:]) if bias is not None else arguments[2:]
        return self.call_function(node.target, (x, weight, *rest), keywords)

    def _forget(self, node: fx.Node) -> None:
        for unused in self.user_to_last_uses.get(node, []):
            del self.env[unused]


def _int8_constants(
    graph: fx.GraphModule, nearest: bool
) -> Mapping[str, tuple[Tensor, Tensor | None]]:
    """Return weight and, where it is a constant, bias of each layer in int8."""
    found = {}
    for node, weight in weighted_layers(graph):
        values = weight.detach()
        if nearest:
            rows = values.double().reshape(len(values), -1).numpy()
            values = torch.from_numpy(round_row_weights(rows, None)).to(weight.dtype)
            values = values.reshape(weight.shape)
        bias = weight_of(graph, node.args[2]) if len(node.args) > 2 else None
        found[node.name] = (values, bias)
    return found


def _on_grid(x: Tensor) -> Tensor:
    """Return `x` on 256 levels from its smallest to its largest value, zero among them."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    scale = (high - low) / LEVELS
    if not scale > 0.0:
        return x
    zero = round(-low / scale)
    return (torch.clamp(torch.round(x / scale) + zero, 0, LEVELS) - zero) * scale


def _numbers(out: object) -> F64:
    first = out[0] if isinstance(out, tuple | list) else out
    if not isinstance(first, Tensor):
        raise AssertionError(type(out))
    return first.double().numpy()


def _mutates(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _own_copy(env: dict[fx.Node, Any]) -> dict[fx.Node, Any]:
    """Return the values of `env` as copies: an operator behind may write into its input."""
    return dict(zip(env, copy.deepcopy(list(env.values())), strict=True))
