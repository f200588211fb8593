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
from torch import nn

from edge_cl.arrays import F32
from edge_cl_export.adapt.linear_head import LinearHead
from edge_cl_export.calibration import Pictures
from edge_cl_export.embedding import Embedding
from edge_cl_export.steps import Progress

__all__ = ["BATCH", "Trained", "repeatable", "train"]

BATCH = 16
EPOCH = 512  # pictures at most
HEAD_RATE = 1e-3
SMOOTHING = 0.1  # of the labels
PATIENCE = 4


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
    ended: Literal["epochs", "no better", "minutes"]
    losses: tuple[float, ...]


def train(
    embedding: Embedding,
    parameters: Sequence[nn.Parameter],
    pictures: Pictures,
    features: F32,
    asked: Pictures | None,
    *,
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
    minutes : no epoch begins that would not end in time, judged by the longest so far.

    Raises
    ------
    ExportError : no gradient comes through the network, or the loss is no finite number.
    """
    begun, longest = time.monotonic(), 0.0
    labels = _labels(pictures)
    with torch.no_grad():
        head = LinearHead.__new__(LinearHead)  # replaced below
    head = LinearHead(torch.from_numpy(features), labels)
    adam = torch.optim.Adam(
        [{"params": list(parameters), "lr": rate}, {"params": head.parameters(), "lr": HEAD_RATE}]
    )
    size = min(len(pictures), EPOCH)
    steps = math.ceil(size / BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=epochs * steps)
    copies = pictures.augmented(epochs, seed)
    order = np.random.default_rng(seed)
    losses = [] if asked is None else [_loss(embedding, head, asked)]
    best, weights = 0, _copied(parameters)
    ended: Literal["epochs", "no better", "minutes"] = "epochs"
    epoch = 0
    while epoch < epochs:
        started = time.monotonic()
        if minutes is not None and started - begun + longest > 60.0 * minutes:
            ended = "minutes"
            break
        epoch += 1
        rows = order.permutation(len(pictures))[:size]
        drawn = copies.pick(epoch * len(pictures) + rows)
        for step, batch in enumerate(drawn.batches(embedding_spec, BATCH)):
            pass
    return Trained(epochs=epoch, kept=best, ended=ended, losses=tuple(losses))
