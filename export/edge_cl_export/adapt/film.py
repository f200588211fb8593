r"""A scale and a shift for each channel: the only weights that move, merged afterwards.

Of a layer with weights w and b, and channel c of its output,

    y_c = γ_c (w_c ∗ x + b_c) + β_c = (γ_c w_c) ∗ x + (γ_c b_c + β_c)                     (1)

(Perez et al. 2018, "FiLM", arXiv 1709.07871, with γ and β that depend on no input). γ = 1 and
β = 0 leave the network as it is. The right side is computed in training too, on the weights and
not on the output, so that what is merged is what was trained, in any layer that multiplies and
adds as (1) does; a batch norm does so with its own scale and shift.

A layer is given γ and β once it has been seen to run: norms, convolutions and linear layers, but
for a convolution whose output goes straight into a batch norm: that norm's γ and β say it all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["Film"]

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_NORMS = (*_BATCH_NORMS, nn.GroupNorm, nn.LayerNorm)
_LINEAR = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


class Film:
    """γ and β in the layers of `network`, which is changed: the weights are now those of (1).

    Parameters
    ----------
    example : what the network takes, (n, 3, h, w): it is run once to see which layers do.
    """

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        self._network = network
        self._held: dict[str, tuple[nn.Parameter, nn.Parameter]] = {}
        for name in _sites(network, example):
            self._held[name] = _insert(network.get_submodule(name))

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that have γ and β, in the order they run."""
        return tuple(self._held)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """γ and β of each layer, in the order they run."""
        return [parameter for pair in self._held.values() for parameter in pair]

    def of(self, layer: str) -> tuple[nn.Parameter, nn.Parameter]:
        """Return γ and β of a layer, of the shape of its bias."""
        return self._held[layer]

    def merge(self) -> None:
        """Make (1) the network's plain weights."""
        for name in self._held:
            layer = self._network.get_submodule(name)
            for tensor in ("weight", "bias"):
                parametrize.remove_parametrizations(layer, tensor, leave_parametrized=True)
        self._held.clear()


class _Scaled(nn.Module):
    """w → γ_c w_c, along the first axis or, of a norm, all axes."""

    def __init__(self, gamma: nn.Parameter) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, weight: Tensor) -> Tensor:
        gamma = self.gamma
        scaled: Tensor = weight * gamma.reshape(*gamma.shape, *[1] * (weight.ndim - gamma.ndim))
        return scaled  # (1)


class _Moved(nn.Module):
    """b → γ_c b_c + β_c."""

    def __init__(self, gamma: nn.Parameter, beta: nn.Parameter) -> None:
        super().__init__()
        self.gamma, self.beta = gamma, beta

    def forward(self, bias: Tensor) -> Tensor:
        moved: Tensor = self.gamma * bias + self.beta
        return moved  # (1)


def _insert(layer: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
    shape = _bias_shape(layer)
    for name, value in (("weight", 1.0), ("bias", 0.0)):
        own = layer._parameters[name]
        # A parameter of its own: another layer may share the one that is there
        given = torch.full(shape, value) if own is None else own.detach()
        setattr(layer, name, nn.Parameter(given, requires_grad=False))
    gamma, beta = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))
    parametrize.register_parametrization(layer, "weight", _Scaled(gamma))
    parametrize.register_parametrization(layer, "bias", _Moved(gamma, beta))
    return gamma, beta


def _bias_shape(layer: Any) -> tuple[int, ...]:
    if isinstance(layer, nn.LayerNorm):
        return tuple(layer.normalized_shape)
    if isinstance(layer, nn.GroupNorm):
        return (layer.num_channels,)
    if isinstance(layer, _BATCH_NORMS):
        return (layer.num_features,)
    return (layer.weight.shape[0],)


def _sites(network: nn.Module, example: Tensor) -> list[str]:
    """Return the names of the layers that get γ and β, in the order they run."""
    names: dict[nn.Module, str] = {
        layer: name
        for name, layer in network.named_modules()
        # Weights that are computed from others are no parameters of the layer's own
        if isinstance(layer, (*_NORMS, *_LINEAR)) and {"weight", "bias"} <= {*layer._parameters}
    }
    with _watched(list(names)) as seen, torch.no_grad():
        network(example)
    normed = {id(x) for layer, x, _ in seen if isinstance(layer, _BATCH_NORMS)}
    said_by_norm = {layer for layer, _, y in seen if id(y) in normed}
    ran = dict.fromkeys(layer for layer, _, _ in seen)
    return [names[layer] for layer in ran if isinstance(layer, _NORMS) or layer not in said_by_norm]


Seen = list[tuple[nn.Module, object, object]]


@contextmanager
def _watched(layers: list[nn.Module]) -> Iterator[Seen]:
    """Collect which layer ran with what in and out; it holds them, so ids stay apart."""
    seen: Seen = []

    def see(layer: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        seen.append((layer, inputs[0] if inputs else None, output))

    hooks = [layer.register_forward_hook(see) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
