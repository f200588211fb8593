r"""How fast the weights of a Kalman filter drift, learned while it runs.

γ = exp(-δ/2), δ >= 0, climbs the log-predictive of each sample just before it is learned
(Titsias et al. 2023), through the last transition only. With v₀ = xᵀPx and μ₀ = Mᵀx before
that transition, p = xᵀx/λ, K outputs, and noise σ²:

    s = γ²v₀ + (1 - γ²)p + 1,   s' = 2γ(v₀ - p),   e = y - γμ₀
    ∂ = ∂log p(y)/∂δ = -(γ/2) Σ_k [μ₀e/(σ²s) + (e²/(σ²s) - 1) s'/(2s)]                  (1)
    δ ← max(0, (δ + δ₀) exp(ρ clip(∂/r, ±10)) - δ₀),   r² = running mean of ∂²          (2)

The codes around the paper take δ ← max(0, δ + 0.01 ∂) (rebayes). ∂ is of order K whatever δ
is, and useful δ lie between 0 and 1e-2: on five stationary classes of 20 features that step
goes to δ = 1.3, a memory of one sample. (2) is the same ascent with the step ρ(δ + δ₀)/r:
relative to δ, so that any order of magnitude is found, and free of the data's units; clipped,
so that one outlier does not pass for drift. On those classes δ stays below 1e-4, and after a
permutation of their labels it is above 1e-3 within 400 samples.

δ is kept below -log(1 - 1/m), so that the memory 1/(1 - γ²) is m samples or more. A filter
that forgets faster than it can learn d weights knows nothing, and still the likelihood may ask
for it where the model is wrong: of 272 objects shown once each in 30 frames (d = 1280, one-hot
labels, nothing drifts) it wants a memory of one sample, and answers are then no better than
chance; with m = 4 d they are right for .276, with γ = 1 for .294.

Two limits of looking at the last transition only. Where σ² is learned too, slow drift passes in
part for noise: in simulation a true δ of 1e-3 is found as 3e-4, and as 1e-3 where σ² is given.
And where λ is far too small, so that weights overfit, shrinking them looks good at every single
step: on the digits of scikit-learn, stationary, δ stays below 1e-5 with the default λ, but
climbs to 6e-4 with a tenth of it, and accuracy falls from .93 to .87. Give γ there.

References
----------
Titsias et al. Kalman filter for online classification of non-stationary data. ICLR 2024.
"""

from __future__ import annotations

import math

import numpy as np

from edge_cl.arrays import F64
from edge_cl.errors import StateError

_RATE = 0.05  # ρ of (2)
_OFFSET = 1e-5  # δ₀ of (2)
_CLIP = 10.0
_MEMORY = 1000  # samples, of r in (2)
_LARGEST = 100.0  # δ, where γ is 2e-22
_ABSURD = 1e150  # its square is still finite


class DriftRate:
    """γ, given or learned.

    Parameters
    ----------
    gamma : γ in [0, 1], or None to learn it, from 1.
    shortest : m, the least memory that may be learned, in transitions, >= 1.

    Attributes
    ----------
    delta : δ = -2 log γ where it is learned.
    """

    def __init__(self, gamma: float | None, *, shortest: float = 1.0) -> None:
        self._given = gamma
        self._largest = min(-math.log1p(-1.0 / shortest), _LARGEST) if shortest > 1 else _LARGEST
        self.delta = 0.0
        self._square = 0.0  # r²
        self._steps = 0.0  # gradients in it

    @property
    def gamma(self) -> float:
        """γ in use."""
        return math.exp(-self.delta / 2) if self._given is None else self._given

    def follow(self, mu0: F64, v0: float | F64, prior: float | F64, y: F64, noise: F64) -> None:
        """Move δ by one sample, or by the mean of (1) over samples of one moment.

        `prior` is p of (1); `noise` (K,) is σ² of each output, `mu0` and `y` are (K,), or
        (n, K) with `v0` and `prior` (n, 1). While some σ² is 0, nothing is known of it, and δ
        waits.
        """
        if self._given is not None or not noise.all():
            return
        gradient = float(np.mean(log_predictive_slope(self.gamma, mu0, v0, prior, y, noise)))
        if not abs(gradient) < _ABSURD:
            return
        # Clipped before it enters r too: one outlier must not slow the next thousand steps
        r = math.sqrt(self._square) or abs(gradient)
        clipped = min(max(gradient, -_CLIP * r), _CLIP * r)
        self._steps = min(self._steps + 1, _MEMORY)
        self._square += (clipped**2 - self._square) / self._steps
        if self._square > 0:
            step = min(max(clipped / math.sqrt(self._square), -_CLIP), _CLIP)
            found = (self.delta + _OFFSET) * math.exp(_RATE * step) - _OFFSET  # (2)
            self.delta = min(max(0.0, found), self._largest)

    def scalars(self) -> tuple[float, float, float]:
        """Return what `restore` takes back."""
        return self.delta, self._square, self._steps

    def restore(self, scalars: tuple[float, float, float]) -> None:
        """Go on from `scalars`; StateError where nothing has led there."""
        delta, square, steps = scalars
        learned = 0.0 <= delta <= self._largest and square >= 0.0 and 0.0 <= steps <= _MEMORY
        if not learned or (self._given is not None and any(scalars)):
            raise StateError(f"the drift {scalars} of the state is none that was learned")
        self.delta, self._square, self._steps = scalars


def log_predictive_slope(
    gamma: float, mu0: F64, v0: float | F64, prior: float | F64, y: F64, noise: F64
) -> F64:
    """Return (1), for each sample."""
    s = gamma**2 * v0 + (1 - gamma**2) * prior + 1
    slope = 2 * gamma * (v0 - prior)
    e = y - gamma * mu0
    terms = mu0 * e / (noise * s) + (e * e / (noise * s) - 1) * (slope / (2 * s))
    return np.asarray(-gamma / 2 * terms.sum(axis=-1))  # (1)
