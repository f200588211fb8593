"""How faithful an encoder file is to the float model: its features, and the heads on them.

For float features x and deployed features y of the same picture:

    cosine  x·y / (‖x‖ ‖y‖)          SNR  10 log₁₀ (Σ‖x‖² / Σ‖x - y‖²)   dB

and, where classes are known, the accuracy of two heads learned and tested on x, and learned
and tested on y: nearest mean and ridge (W = (XᵀX + λI)⁻¹ XᵀY with λ = `RIDGE` · tr(XᵀX) / d).
Half of each class is learned, the other half tested.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_cl.arrays import F32, F64, I64
from edge_cl.errors import FidelityError

__all__ = ["Fidelity", "HeadAccuracy", "check", "measure"]

RIDGE = 0.01
MAX_LOSS = 0.01  # of head accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadAccuracy:
    """Accuracy of one head with float and with deployed features, on `tested` pictures.

    noise : two standard errors of the difference: below it, a loss says nothing.
    """

    float_features: float
    deployed: float
    agreement: float
    noise: float
    tested: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """What was found on `pictures` validation pictures; heads None where classes are unknown."""

    pictures: int
    cosine_mean: float
    cosine_worst: float
    snr_db: float
    nearest_mean: HeadAccuracy | None
    ridge: HeadAccuracy | None


def measure(reference: F32, deployed: F32, labels: I64 | None) -> Fidelity:
    """Compare `deployed` (n, d) with `reference` (n, d); `labels` (n,) class index."""
    x, y = reference.astype(np.float64), deployed.astype(np.float64)
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    cosine = np.einsum("nd,nd->n", x, y) / np.maximum(norms, np.finfo(np.float64).tiny)
    noise = float(((x - y) ** 2).sum())
    snr = 10.0 * math.log10(float((x**2).sum()) / noise) if noise > 0.0 else 200.0
    nearest_mean = ridge = None
    halves = _halves(labels) if labels is not None else None
    if labels is not None and halves is not None:
        nearest_mean = _compare(_nearest_mean, x, y, labels, halves)
        ridge = _compare(_ridge, x, y, labels, halves)
    return Fidelity(
        pictures=len(x),
        cosine_mean=round(float(cosine.mean()), 6),
        cosine_worst=round(float(cosine.min()), 6),
        snr_db=round(min(snr, 200.0), 2),
        nearest_mean=nearest_mean,
        ridge=ridge,
    )


def check(name: str, found: Fidelity, min_cosine: float) -> None:
    """Do nothing if `found` is good enough.

    Raises
    ------
    FidelityError : mean cosine below `min_cosine`, or a head that loses more than `MAX_LOSS`
        of its accuracy and more than chance explains.
    """
    hint = "calibrate on more pictures, and on such as the device will see"
    if not found.cosine_mean >= min_cosine:
        raise FidelityError(
            f"{name}: mean cosine {found.cosine_mean:.5f} (worst {found.cosine_worst:.5f}), "
            f"expected at least {min_cosine:g}",
            hint=hint,
        )
    for head, accuracy in (("nearest mean", found.nearest_mean), ("ridge", found.ridge)):
        if accuracy is None:
            continue
        loss = accuracy.float_features - accuracy.deployed
        if loss > max(MAX_LOSS, accuracy.noise):
            raise FidelityError(
                f"{name}: {head} accuracy {accuracy.deployed:.3f}, "
                f"float {accuracy.float_features:.3f}, expected a loss of at most {MAX_LOSS:g}",
                hint=hint,
            )


def _halves(labels: I64) -> tuple[I64, I64] | None:
    """Return indices to learn and to test, every other picture of each class, or None."""
    rank = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[members] = np.arange(len(members))
    learn, test = np.flatnonzero(rank % 2 == 0), np.flatnonzero(rank % 2 == 1)
    return (learn, test) if len(np.unique(labels[test])) > 1 else None


def _compare(
    head: Callable[[F64, I64, F64], I64],
    x: F64,
    y: F64,
    labels: I64,
    halves: tuple[I64, I64],
) -> HeadAccuracy:
    learn, test = halves
    truth = labels[test]
    of_x = head(x[learn], labels[learn], x[test])
    of_y = head(y[learn], labels[learn], y[test])
    differ = float(np.mean((of_x == truth) != (of_y == truth)))
    return HeadAccuracy(
        float_features=round(float(np.mean(of_x == truth)), 4),
        deployed=round(float(np.mean(of_y == truth)), 4),
        agreement=round(float(np.mean(of_x == of_y)), 4),
        noise=round(2.0 * math.sqrt(differ / len(test)), 4),
        tested=len(test),
    )


def _nearest_mean(x: F64, labels: I64, test: F64) -> I64:
    classes = np.unique(labels)
    means = np.stack([x[labels == c].mean(axis=0) for c in classes])
    scores = test @ means.T - 0.5 * (means**2).sum(axis=1)
    chosen: I64 = classes[scores.argmax(axis=1)]
    return chosen


def _ridge(x: F64, labels: I64, test: F64) -> I64:
    classes = np.unique(labels)
    gram = x.T @ x
    gram.flat[:: len(gram) + 1] += RIDGE * np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram, x.T @ (labels[:, None] == classes))
    chosen: I64 = classes[(test @ weights).argmax(axis=1)]
    return chosen
