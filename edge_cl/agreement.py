"""How far two sets of features of the same inputs agree.

For features x, which are taken as right, and y of the same input:

    cosine  x·y / (‖x‖ ‖y‖)                                                               (1)
    SNR     10 log₁₀ (Σ ‖x‖² / Σ ‖x - y‖²)  dB, sums over all inputs                      (2)

The cosine is blind to length, the SNR is not. Two vectors of zeros agree (cosine 1), one of
zeros agrees with nothing (0). A feature that is not a finite number makes its whole input count
as zeros, and as broken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edge_cl.arrays import F32, F64

__all__ = ["Agreement", "agreement", "cosines", "snr_db"]

SILENCE = 200.0  # dB: what is said where there is no difference at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Cosines over `inputs` inputs: mean, worst, percentiles 1, 10 and 50; SNR in dB.

    broken : inputs with a feature that is not a finite number.
    """

    inputs: int
    cosine_mean: float
    cosine_worst: float
    cosine_p1: float
    cosine_p10: float
    cosine_p50: float
    snr_db: float
    broken: int


def agreement(reference: F32, found: F32) -> Agreement:
    """Compare `found` (n, d) with `reference` (n, d), n >= 1, finite."""
    x, y = reference.astype(np.float64), found.astype(np.float64)
    whole = np.isfinite(y).all(axis=1)
    y[~whole] = 0.0
    cosine = cosines(x, y)
    p1, p10, p50 = (round(float(p), 6) for p in np.percentile(cosine, [1, 10, 50]))
    return Agreement(
        inputs=len(x),
        cosine_mean=round(float(cosine.mean()), 6),
        cosine_worst=round(float(cosine.min()), 6),
        cosine_p1=p1,
        cosine_p10=p10,
        cosine_p50=p50,
        snr_db=snr_db(float((x**2).sum()), float(((x - y) ** 2).sum())),
        broken=int((~whole).sum()),
    )


def cosines(x: F64, y: F64) -> F64:
    """Return (1) of each row, (n,)."""
    x_norm, y_norm = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
    both = (x_norm > 0) & (y_norm > 0)
    # Unit vectors first: a product of two small norms would be rounded to zero
    u = x / np.where(both, x_norm, 1.0)[:, None]
    v = y / np.where(both, y_norm, 1.0)[:, None]
    found = np.where(both, np.einsum("nd,nd->n", u, v), 0.0)  # (1)
    return np.where((x_norm == 0) & (y_norm == 0), 1.0, np.clip(found, -1.0, 1.0))


def snr_db(signal: float, noise: float) -> float:
    """Return (2) of two sums of squares, within ±`SILENCE`."""
    if noise == 0.0:
        return SILENCE
    if signal == 0.0:
        return -SILENCE
    level = 10.0 * (math.log10(signal) - math.log10(noise))  # (2)
    return round(min(max(level, -SILENCE), SILENCE), 2)
