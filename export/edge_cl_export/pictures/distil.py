r"""Calibration pictures without data: distilled from what batch norms remember.

A batch norm keeps mean μ_l and standard deviation σ_l of what it saw in training, a value a
channel. Pictures x on which layer l has mean m_l and standard deviation s_l, over the batch and
all positions, are as good as training pictures to measure ranges on (Cai et al. 2020, "ZeroQ",
arXiv 2001.00281, equation 3):

    min_x  Σ_l L_l,      L_l = (‖m_l - μ_l‖² + ‖s_l - σ_l‖²) / ‖σ_l‖²                   (1)
    s_l² = E[a²] - m_l² + ε                                                            (2)

l = 0 is the picture itself, with mean and spread of photographs. ZeroQ does not divide by
‖σ_l‖²: its sum is then that of the few layers with the largest values. The released code also
takes s_l a picture instead of a batch, pairs convolutions and batch norms by their order, and
starts from noise of 1/70 of the right amplitude. Here the batch norms themselves are watched,
and x starts as noise with the spectrum of photographs (`photo_noise`). x is always what a pixel
can be: it is clipped after each step, and rounded after the last.

Pictures are distilled `GROUP` at a time, so that memory does not grow with their number.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from edge_cl.arrays import U8
from edge_cl.errors import ExportError, InputError
from edge_cl_export.graph.embedding import Embedding
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.pictures.calibration import Pictures
from edge_cl_export.pictures.material import Material
from edge_cl_export.pictures.photo_noise import PHOTO_MEAN, PHOTO_STD, column, photo_noise
from edge_cl_export.steps import Progress

__all__ = ["COUNT", "STEPS", "Distilled", "LayerLoss", "distil", "distilled_material"]

COUNT = 32
STEPS = 18  # more only pulls on the first layers: measured, the features are then no closer
JUDGED = 16  # pictures that the result is judged on
GROUP = 16  # the fewest pictures whose statistics are steady in layers of 7x7 positions
RATE = 12.0  # pixel steps; falls to 0 along half a cosine
TINY = 1e-12  # of Adam: gradients a pixel are far below its usual 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLoss:
    """L_l of (1) for one layer, of the noise at the start and of the pictures at the end."""

    layer: str
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """Distilled pictures (count, height, width, 3) uint8, and the loss of each layer.

    losses : the pictures themselves ("input"), then batch norms in the order they run.
    """

    pictures: U8
    losses: tuple[LayerLoss, ...]

    @property
    def before(self) -> float:
        """Σ_l L_l of the noise."""
        return sum(loss.before for loss in self.losses)

    @property
    def after(self) -> float:
        """Σ_l L_l of the pictures."""
        return sum(loss.after for loss in self.losses)

    def served(self, seed: int) -> Pictures:
        """Return the pictures as calibration knows them, named after `seed`."""
        names = tuple(f"distilled[{seed}, {i}]" for i in range(len(self.pictures)))
        return Pictures(names, None, lambda i: self.pictures[i])


def distil(
    module: nn.Module,
    preparation: Preparation,
    *,
    count: int = COUNT,
    seed: int = 0,
    steps: int = STEPS,
    progress: Progress | None = None,
) -> Distilled:
    """Return `count` pictures on which the batch norms of `module` see what they remember.

    Parameters
    ----------
    module : takes normalised pictures (n, 3, h, w) float32, or an `Embedding` of such a one; it
        is left as it is.
    steps : of the optimiser; time is proportional to count · steps.

    Raises
    ------
    InputError : fewer than 2 pictures, or no step.
    ExportError : no `BatchNorm2d` that remembers statistics, or the network fails on noise.
    """
    if count < 2 or steps < 1:
        raise InputError(f"expected 2 or more pictures and a step, got {count} and {steps}")
    source = module.backbone if isinstance(module, Embedding) else module
    network = copy.deepcopy(source).eval().requires_grad_(False)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(seed)
    groups = math.ceil(count / GROUP)
    sizes = [count // groups + (i < count % groups) for i in range(groups)]
    pictures, losses, done = [], [], 0
    with _watched(network) as watch:
        for size in sizes:
            run = _Run(watch, network, preparation, photo_noise(size, preparation.size, generator))
            before = run.losses()
            for t in range(steps):
                if progress is not None:
                    progress("distilling pictures", done / (steps * count))
                run.step(0.5 * RATE * (1.0 + math.cos(math.pi * t / steps)))
                done += size
            pictures.append(run.rounded())
            losses.append((before, run.losses(), size))
    names = ["input", *watch.order]
    return Distilled(
        pictures=np.concatenate(pictures),
        losses=tuple(
            LayerLoss(
                layer=name,
                before=sum(before[i] * n for before, _, n in losses) / count,
                after=sum(after[i] * n for _, after, n in losses) / count,
            )
            for i, name in enumerate(names)
        ),
    )


def distilled_material(
    module: nn.Module, preparation: Preparation, seed: int = 0, progress: Progress | None = None
) -> Material:
    """Return pictures to calibrate on, and fewer, by another seed, to judge on.

    These stand for no real picture: that int8 agrees with float on them says that ranges and
    rounding are right for what the network was trained on, not for what a camera will see.

    Raises
    ------
    ExportError : see `distil`.
    """

    def part(start: float, share: float) -> Progress | None:
        if progress is None:
            return None
        return lambda what, done: progress(what, start + share * done)

    first = COUNT / (COUNT + JUDGED)
    ours = distil(module, preparation, seed=seed, progress=part(0.0, first))
    theirs = distil(
        module, preparation, count=JUDGED, seed=seed + 1, progress=part(first, 1.0 - first)
    )
    return Material(
        calibration=ours.served(seed),
        validation=theirs.served(seed + 1),
        apart="seed",
        origin="pictures distilled from the network's batch norms",
    )


class _Watch:
    """What the batch norms saw in the last forward pass: L_l of each, in the order they ran."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.losses: list[Tensor] = []

    def clear(self) -> None:
        """Forget the last pass."""
        self.order, self.losses = [], []

    def of(self, name: str, mu: Tensor, var: Tensor, eps: float) -> Callable[..., None]:
        """Return what adds the loss of a batch norm's input, as a hook before it runs."""
        sigma = (var + eps).sqrt()

        def see(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.order.append(name)
            self.losses.append(_loss(inputs[0], mu, sigma, eps))

        return see


@contextmanager
def _watched(network: nn.Module) -> Iterator[_Watch]:
    watch = _Watch()
    hooks = []
    for name, part in network.named_modules():
        if isinstance(part, nn.BatchNorm2d):
            mu, var = part.running_mean, part.running_var
            if mu is not None and var is not None:
                hooks.append(part.register_forward_pre_hook(watch.of(name, mu, var, part.eps)))
    try:
        if not hooks:
            raise _nothing_remembered()
        yield watch
    finally:
        for hook in hooks:
            hook.remove()


class _Run:
    """One group of pictures on its way from noise."""

    def __init__(
        self, watch: _Watch, network: nn.Module, preparation: Preparation, start: Tensor
    ) -> None:
        self._watch, self._network = watch, network
        self._mean, self._std = column(preparation.mean), column(preparation.std)
        self._mu, self._sigma = column(PHOTO_MEAN).ravel(), column(PHOTO_STD).ravel()
        self._x = start.clamp(0.0, 255.0).contiguous(memory_format=torch.channels_last)
        self._x.requires_grad_(True)
        self._adam = torch.optim.Adam([self._x], eps=TINY)

    def step(self, rate: float) -> None:
        """Take one step down (1), and stay what a pixel can be."""
        self._adam.param_groups[0]["lr"] = rate
        self._adam.zero_grad()
        torch.stack(self._terms()).sum().backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        with torch.no_grad():
            self._x.clamp_(0.0, 255.0)

    def losses(self) -> list[float]:
        """Return L_l of each layer, for pixels as they are now."""
        with torch.no_grad():
            return [float(loss) for loss in self._terms()]

    def rounded(self) -> U8:
        """Round to whole pixels and return them as (n, h, w, 3)."""
        with torch.no_grad():
            self._x.round_()
        return np.ascontiguousarray(self._x.detach().permute(0, 2, 3, 1).to(torch.uint8).numpy())

    def _terms(self) -> list[Tensor]:
        self._watch.clear()
        try:
            self._network((self._x - self._mean) / self._std)
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            raise ExportError(
                f"the network fails on {len(self._x)} pictures of noise: "
                f"{type(error).__name__}: {first}",
                hint="calibrate on pictures: --calibration DIR",
            ) from error
        if not self._watch.losses:
            raise _nothing_remembered()
        terms = [_loss(self._x, self._mu, self._sigma, 0.0), *self._watch.losses]
        wrong = [i for i, term in enumerate(terms) if not torch.isfinite(term)]
        if wrong:
            where = ["the input", *self._watch.order][wrong[0]]
            raise ExportError(f"the batch norm {where} remembers or sees values not finite")
        return terms


def _loss(x: Tensor, mu: Tensor, sigma: Tensor, eps: float) -> Tensor:
    """Return L_l of `x` (n, c, h, w)."""
    m = x.mean((0, 2, 3))
    # By the norm, which is far faster than `var` forwards and backwards
    square = torch.linalg.vector_norm(x, dim=(0, 2, 3)) ** 2 / (x.numel() / x.shape[1])
    s = (square - m**2).clamp_min(0.0).add(max(eps, TINY)).sqrt()  # (2)
    loss: Tensor = ((m - mu) ** 2 + (s - sigma) ** 2).sum() / (sigma**2).sum()  # (1)
    return loss


def _nothing_remembered() -> ExportError:
    return ExportError(
        "the network has no batch norm that remembers statistics to distil pictures from",
        hint="calibrate on pictures: --calibration DIR",
    )
