"""The one training of the body: small batches, changed copies, cosine rate, stopped early.

Each epoch shows pictures as they might also have been taken (`augment`), never twice the same
copy. The rate falls to 0 along half a cosine. After each epoch a session that is not trained on
is asked; the weights of the epoch with the least loss there are kept, those of before included,
and training ends once `PATIENCE` epochs were no better. Where no session can be spared for that,
the last epoch is kept.

Batch norms keep the statistics that they came with. A small batch knows them badly; they were
learned from far more pictures than are here; and a device has no batch. So the network trains in
evaluation mode, as it will run, without its own dropout.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_cl.arrays import F32, U8
from edge_cl.bundle import InputSpec
from edge_cl.errors import ExportError, InputError
from edge_cl_export.adapt.linear_head import LinearHead
from edge_cl_export.first_line import first_line
from edge_cl_export.graph.embedding import Embedding
from edge_cl_export.pictures.calibration import Pictures
from edge_cl_export.steps import Progress

__all__ = ["Trained", "train"]

BATCH = 16
EPOCH = 512  # pictures at most
HEAD_RATE = 1e-3
SMOOTHING = 0.1  # of the labels
PATIENCE = 4

Ending = Literal["epochs", "no better", "minutes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """How the training went.

    epochs : that ran.
    kept : the epoch whose weights were kept, 0: those of before.
    ended : because all epochs ran, none was better any more, or the time was up.
    losses : on the session that is asked, before and after each epoch; empty without one.
    """

    epochs: int
    kept: int
    ended: Ending
    losses: tuple[float, ...]


def train(
    embedding: Embedding,
    parameters: Sequence[nn.Parameter],
    pictures: Pictures,
    features: F32,
    asked: Pictures | None,
    *,
    spec: InputSpec,
    rate: float,
    epochs: int,
    seed: int,
    minutes: float | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Move `parameters` of `embedding`, which is in evaluation mode, to tell classes apart.

    Parameters
    ----------
    pictures : with labels 0, 1, ..., each of which is there.
    features : (n, d) of the pictures, before.
    asked : of a session that is not trained on, to end early by; None: all epochs.
    rate : of Adam, at the start.
    minutes : no epoch begins that would end later, going by the longest so far; the first does.

    Raises
    ------
    ExportError : no gradient comes through the network, or the loss is no finite number.
    """
    begun = started = time.monotonic()
    longest = 0.0
    run = _Run(embedding, parameters, pictures, features, spec, rate, epochs, seed)
    losses = [] if asked is None else [run.loss(asked)]
    kept, weights = 0, _copied(parameters)
    epoch = 0
    ended: Ending = "epochs"
    while epoch < epochs:
        if minutes is not None and epoch and started - begun + longest > 60.0 * minutes:
            ended = "minutes"
            break
        epoch += 1
        run.epoch(epoch, progress)
        if asked is None:
            kept, weights = epoch, _copied(parameters)
        else:
            losses.append(run.loss(asked))
            if losses[-1] < min(losses[:-1]):
                kept, weights = epoch, _copied(parameters)
            elif epoch - kept >= PATIENCE:
                ended = "no better"
                break
        now = time.monotonic()
        started, longest = now, max(longest, now - started)
    with torch.no_grad():
        for parameter, weight in zip(parameters, weights, strict=True):
            parameter.copy_(weight)
    return Trained(epochs=epoch, kept=kept, ended=ended, losses=tuple(losses))


class _Run:
    """The network, its head and the optimiser of both."""

    def __init__(
        self,
        embedding: Embedding,
        parameters: Sequence[nn.Parameter],
        pictures: Pictures,
        features: F32,
        spec: InputSpec,
        rate: float,
        epochs: int,
        seed: int,
    ) -> None:
        self._embedding, self._pictures, self._spec = embedding, pictures, spec
        self._head = LinearHead(torch.from_numpy(features), _labels(pictures))
        self._size, self._epochs = min(len(pictures), EPOCH), epochs
        self._steps = math.ceil(self._size / BATCH)
        self._copies = pictures.augmented(epochs, seed)
        self._rng = np.random.default_rng(seed)
        self._adam = torch.optim.Adam(
            [
                {"params": list(parameters), "lr": rate},
                {"params": list(self._head.parameters()), "lr": HEAD_RATE},
            ]
        )
        self._rate = torch.optim.lr_scheduler.CosineAnnealingLR(self._adam, epochs * self._steps)

    def epoch(self, number: int, progress: Progress | None) -> None:
        """Show `_size` pictures once, as copies that no epoch before has shown."""
        n = len(self._pictures)
        drawn = self._copies.pick(number * n + self._rng.permutation(n)[: self._size])
        labels = torch.split(_labels(drawn), BATCH)
        for step, (batch, y) in enumerate(
            zip(drawn.batches(self._spec, BATCH), labels, strict=True)
        ):
            if progress is not None:
                done = (number - 1 + step / self._steps) / self._epochs
                progress(f"adapting, epoch {number} of at most {self._epochs}", done)
            loss = self._step(batch, y)
            if not math.isfinite(loss):
                raise ExportError(f"adapting diverged in epoch {number}: the loss is {loss}")

    def loss(self, asked: Pictures) -> float:
        """Return the mean cross-entropy on `asked`, as the network and the head are now."""
        self._head.eval()
        total = 0.0
        labels = torch.split(_labels(asked), BATCH)
        with torch.no_grad():
            for batch, y in zip(asked.batches(self._spec, BATCH), labels, strict=True):
                logits = self._head(self._embedding(torch.from_numpy(batch)))
                total += float(F.cross_entropy(logits, y, reduction="sum"))
        self._head.train()
        return total / len(asked)

    def _step(self, batch: U8, y: Tensor) -> float:
        self._adam.zero_grad()
        features = self._embedding(torch.from_numpy(batch))
        if not features.requires_grad:
            raise ExportError(
                "the network cannot be adapted: no gradient comes through it",
                hint="take torch.no_grad() and .detach() out of its forward",
            )
        loss = F.cross_entropy(self._head(features), y, label_smoothing=SMOOTHING)
        try:
            loss.backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise ExportError(f"the network cannot be adapted: {first_line(error)}") from error
        self._adam.step()
        self._rate.step()
        return float(loss.detach())


def _labels(pictures: Pictures) -> Tensor:
    if pictures.labels is None:
        raise InputError("expected pictures of known classes to train on")
    return torch.from_numpy(pictures.labels)


def _copied(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]
