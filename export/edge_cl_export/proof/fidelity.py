"""How faithful an encoder file is to the float model: its features, and the heads on them.

Features are compared picture by picture (`edge_cl.agreement`: cosine, SNR). Where classes are
known, the heads of a device (nearest mean, LDA, ridge; `edge_cl.held_out`) are learned and tested
on float features, and again on deployed ones, with data held out by group and with the
regularisation that a device has. Of n tested pictures let b be right with float features only,
and c with deployed ones only:

    loss   (b - c) / n                                                                    (1)
    noise  2.4 √(b + c + 1) / n                                                            (2)

(2) is 2.4 standard errors of (1), as in McNemar's test, with the one that corrects for counting:
chance takes one of the three heads beyond it once in forty files. A loss below it says nothing,
and with few pictures much can be lost unseen. `loss_below` is their
sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge_cl.agreement import agreement
from edge_cl.arrays import F32, I64
from edge_cl.bundle import EmbeddingSpec
from edge_cl.errors import FidelityError, InputError
from edge_cl.features import grid_step
from edge_cl.held_out import answers, two_folds

__all__ = ["Fidelity", "Gate", "HeadAccuracy", "Reference", "check", "measure", "misses"]

ERRORS = 2.4  # standard errors; three heads, one-sided, 2.5 % in all


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadAccuracy:
    """Accuracy of one head with float and with deployed features, on `tested` pictures.

    agreement : share of equal answers.
    noise : (2).
    loss_below : (1) + (2): more was not lost, but for one time in a hundred.
    """

    float_features: float
    deployed: float
    agreement: float
    noise: float
    loss_below: float
    tested: int

    @property
    def loss(self) -> float:
        """(1)."""
        return round(self.float_features - self.deployed, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """What was found on `pictures` validation pictures; heads None where classes are unknown.

    cosine_p1, cosine_p10, cosine_p50 : percentiles over the pictures.
    broken : pictures with a feature that is not a finite number.
    held_out : what was held out to test heads on, "group" or "picture"; empty without heads.
    """

    pictures: int
    cosine_mean: float
    cosine_worst: float
    cosine_p1: float
    cosine_p10: float
    cosine_p50: float
    snr_db: float
    broken: int = 0
    held_out: Literal["group", "picture", ""] = ""
    nearest_mean: HeadAccuracy | None = None
    lda: HeadAccuracy | None = None
    ridge: HeadAccuracy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What an encoder file must reach.

    cosine_mean, cosine_worst : over the validation pictures, at least.
    head_loss : of a head's accuracy, at most, or as much as chance explains (`noise`).
    """

    cosine_mean: float = 0.99
    cosine_worst: float = 0.97
    head_loss: float = 0.005

    def __post_init__(self) -> None:
        if not all(-1.0 <= c <= 1.0 for c in (self.cosine_mean, self.cosine_worst)):
            raise InputError(
                f"expected cosines in -1..1, got {self.cosine_mean} and {self.cosine_worst}"
            )
        if not 0.0 <= self.head_loss <= 1.0:
            raise InputError(f"expected a loss of accuracy in 0..1, got {self.head_loss}")


class Reference:
    """Float features to compare deployed ones with; heads are learned and tested on them once.

    Parameters
    ----------
    features : float features (n, d).
    labels : (n,) class of each picture, or None.
    groups : (n,) clip, session or thing it is of; None holds out by picture.
    embedding : grid and norm of the bundle; None finds them in `features`.
    """

    def __init__(
        self,
        features: F32,
        labels: I64 | None = None,
        groups: I64 | None = None,
        *,
        embedding: EmbeddingSpec | None = None,
    ) -> None:
        self._features = features
        self._embedding = embedding or _embedding(features)
        self._labels: I64 = np.zeros(0, np.int64) if labels is None else labels
        self._folds = None if labels is None else two_folds(labels, groups)
        self._given = self._answers(features)

    def compare(self, deployed: F32) -> Fidelity:
        """Return how faithful `deployed` (n, d) is."""
        near = agreement(self._features, deployed)
        whole = np.isfinite(deployed).all(axis=1, keepdims=True)
        given = self._answers(np.where(whole, deployed, np.float32(0)))
        folds = self._folds
        heads: dict[str, HeadAccuracy] = {}
        if folds is not None:
            truth, at = self._labels[folds.tested], folds.tested
            heads = {h: _compared(truth, self._given[h][at], y[at]) for h, y in given.items()}
        return Fidelity(
            pictures=near.inputs,
            cosine_mean=near.cosine_mean,
            cosine_worst=near.cosine_worst,
            cosine_p1=near.cosine_p1,
            cosine_p10=near.cosine_p10,
            cosine_p50=near.cosine_p50,
            snr_db=near.snr_db,
            broken=near.broken,
            held_out=folds.by if folds is not None else "",
            nearest_mean=heads.get("ncm"),
            lda=heads.get("lda"),
            ridge=heads.get("ridge"),
        )

    def _answers(self, x: F32) -> Mapping[str, I64]:
        if self._folds is None:
            return {}
        return answers(x, self._labels, self._folds, self._embedding)


def measure(
    reference: F32,
    deployed: F32,
    labels: I64 | None = None,
    groups: I64 | None = None,
    *,
    embedding: EmbeddingSpec | None = None,
) -> Fidelity:
    """Compare `deployed` (n, d) with `reference` (n, d), once; see `Reference`."""
    return Reference(reference, labels, groups, embedding=embedding).compare(deployed)


def misses(found: Fidelity, gate: Gate) -> tuple[str, ...]:
    """Say where `found` misses `gate`, one line a bar; none where it holds."""
    lines = []
    if found.broken:
        lines.append(
            f"features of {found.broken} of {found.pictures} pictures are not finite numbers"
        )
    for what, cosine, least in (
        ("mean", found.cosine_mean, gate.cosine_mean),
        ("worst", found.cosine_worst, gate.cosine_worst),
    ):
        if not cosine >= least:
            lines.append(f"{what} cosine {cosine:.5f}, expected at least {least:g}")
    for name, head in (
        ("nearest mean", found.nearest_mean),
        ("LDA", found.lda),
        ("ridge", found.ridge),
    ):
        if head is not None and head.loss > max(gate.head_loss, head.noise):
            lines.append(
                f"{name} accuracy {head.deployed:.4f}, float {head.float_features:.4f}, expected "
                f"a loss of at most {gate.head_loss:g} (chance explains {head.noise:.4f})"
            )
    return tuple(lines)


def check(name: str, found: Fidelity, gate: Gate) -> None:
    """Do nothing if `found` holds `gate`.

    Raises
    ------
    FidelityError : the first of `misses`, of the encoder `name`.
    """
    missed = misses(found, gate)
    if missed:
        raise FidelityError(
            f"{name}: {missed[0]}",
            hint="calibrate on more pictures, and on such as the device will see",
        )


def _embedding(reference: F32) -> EmbeddingSpec:
    """Return grid and norm as `write.embedding_spec` chooses them, of `reference` itself."""
    largest = float(np.abs(reference).max())
    mean = float((reference.astype(np.float64) ** 2).sum(axis=1).mean())
    return EmbeddingSpec(
        d=reference.shape[1],
        scale=grid_step(largest) if largest > 0 else 1.0,
        signed=bool(reference.min() < 0),
        mean_square_norm=mean if mean > 0 else 1.0,
    )


def _compared(truth: I64, with_float: I64, with_deployed: I64) -> HeadAccuracy:
    n = len(truth)
    b = int(((with_float == truth) & (with_deployed != truth)).sum())
    c = int(((with_float != truth) & (with_deployed == truth)).sum())
    loss = (b - c) / n  # (1)
    noise = ERRORS * math.sqrt(b + c + 1) / n  # (2)
    return HeadAccuracy(
        float_features=round(float(np.mean(with_float == truth)), 4),
        deployed=round(float(np.mean(with_deployed == truth)), 4),
        agreement=round(float(np.mean(with_float == with_deployed)), 4),
        noise=round(noise, 4),
        loss_below=round(loss + noise, 4),
        tested=n,
    )
