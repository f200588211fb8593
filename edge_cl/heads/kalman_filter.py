r"""Bayesian linear regression whose weights drift: a Kalman filter with a learned memory.

The weights of each output walk about zero (Ornstein-Uhlenbeck), values are seen with noise:

    w_t ~ N(γ w_{t-1}, (1 - γ²)(σ²/λ) I),   y_t ~ N(w_tᵀx_t, σ²)                        (1)

All outputs share one covariance σ²P (`edge_cl.heads.drifting_covariance`). One sample, the
transition first:

    M ← γM,   P ← γ²P + (1 - γ²) I/λ                                                    (2)
    g = P x,  v = xᵀg,  s = v + 1,  e = y - Mᵀx                                         (3)
    M ← M + g eᵀ/s,   P ← P - g gᵀ/s                                                    (4)

γ = 1 is ridge regression: P = (G + λI)⁻¹. With γ < 1 the model is a Gaussian process over
time with kernel γ^|i-j| (σ²/λ) x_iᵀx_j. A sample weighs less with age; where no data come the
covariance goes back to σ²I/λ and no further. (Exponential forgetting knows no such end.)

Time passes with each sample (`learn`), or once for samples that are learned together
(`learn_together`): where labels come late, say by night for the day, what is to be expected is
the next day, not the next sample. M = m M₀ is held with a scalar, so (2) touches no matrix.

In units of the noise neither (3) nor (4) knows σ. Unless it is given, σ² is the mean of
e²/s: the maximum of the likelihood, exactly, for the λ and γ in use. After `_NOISE_MEMORY`
samples older ones fade. One σ² for all outputs, or one for each.

γ may be learned (`edge_cl.heads.drift_rate`).

References
----------
Titsias et al. Kalman filter for online classification of non-stationary data. ICLR 2024.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from edge_cl import kernels
from edge_cl.arrays import F64
from edge_cl.errors import StateError
from edge_cl.heads.drift_rate import DriftRate
from edge_cl.heads.drifting_covariance import DriftingCovariance
from edge_cl.heads.stored import stored

_NOISE_MEMORY = 10_000  # samples
_SMALLEST = 2.0**-40  # of m


class Innovation(NamedTuple):
    """What was expected of a sample: Mᵀx (K,), v of (3), σ² of each output (K,)."""

    mean: F64
    variance: float
    noise: F64


class KalmanFilter:
    """The filter (1)-(4) for `outputs` values at once.

    Parameters
    ----------
    d : features, finite float64, in any unit; `ridge` is in its square.
    ridge : λ > 0, the noise's variance over that of a weight.
    forgetting : γ in [0, 1], or "learn".
    shortest : the least memory 1/(1 - γ²) that may be learned, in transitions.
    noise : σ² > 0; or "shared", one of all outputs, or "each", one for each, from the data.

    Attributes
    ----------
    drift : where γ comes from.
    covariance : P of (2).
    """

    def __init__(
        self,
        d: int,
        outputs: int,
        *,
        ridge: float,
        forgetting: float | Literal["learn"] = "learn",
        shortest: float = 1.0,
        noise: float | Literal["shared", "each"] = "shared",
    ) -> None:
        self._given = None if forgetting == "learn" else float(forgetting)
        self._shortest = shortest
        self.drift = DriftRate(self._given, shortest=shortest)
        self.covariance = DriftingCovariance(d, 1.0 / ridge)
        self._noise = noise
        self._M: F64 = np.zeros((d, outputs))
        self._m = 1.0
        self._energy: F64 = np.zeros(outputs)  # sums of e²/s
        self._count = 0.0
        self._g: F64 = np.empty(d)

    @property
    def outputs(self) -> int:
        """K."""
        return int(self._M.shape[1])

    @property
    def noise(self) -> F64:
        """σ² of each output, (K,); 0 while nothing is known of it."""
        K = self.outputs
        if not isinstance(self._noise, str):
            return np.full(K, self._noise)
        found = self._energy / max(self._count, 1.0)
        return found if self._noise == "each" or not K else np.full(K, found.mean())

    @property
    def mean(self) -> F64:
        """M, (d, K), after the last sample."""
        return self._m * self._M

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self._M.nbytes + self.covariance.nbytes

    def grow(self, outputs: int) -> None:
        """Add outputs whose values so far were all 0, which is exact."""
        new = outputs - self.outputs
        if new > 0:
            self._M = np.concatenate([self._M, np.zeros((len(self._M), new))], axis=1)
            self._energy = np.concatenate([self._energy, np.zeros(new)])

    def anchor(self, M: F64, P: F64, energy: F64, samples: int, floor: float) -> None:
        """Start from a posterior found otherwise: `energy` is Σ e²/s (K,); P >= `floor`·I."""
        self.covariance.anchor(P, floor)
        self._M, self._m, self._energy, self._count = M, 1.0, energy, float(samples)
        self._fade()

    def weights(self) -> tuple[F64, float]:
        """Return what times what is M at the next sample: (d, K), a view, and a factor."""
        return self._M, self._m * self.drift.gamma

    def expected(self, X: F64) -> F64:
        """Return the means (n, K) of the next sample at the rows of X (n, d)."""
        M, factor = self.weights()
        return X @ M * factor

    def variance(self, X: F64) -> F64:
        """Return v (n,), in units of σ², of the next sample at the rows of X (n, d)."""
        keep = self.drift.gamma**2
        return keep * self.covariance.quadratic(X) + (1 - keep) * self._prior(X)

    def move(self, feature: int, by: F64) -> None:
        """Add `by` (K,) to the mean weights of one feature: values were measured otherwise."""
        self._M[feature] += by / self._m

    def silence(self, steps: int) -> None:
        """Let `steps` transitions pass without a sample."""
        self._transition(self.drift.gamma**steps)

    def learn(self, x: F64, y: F64) -> Innovation:
        """Learn one sample, x (d,) with y (K,), a transition after the last. O(d² + d K)."""
        g, square = self._g, float(x @ x)
        v0 = self.covariance.product(x, square, g)
        mu0 = (x @ self._M) * self._m
        prior = self.covariance.prior * square
        noise = self.noise
        self.drift.follow(mu0, v0, prior, y, noise)
        gamma = self.drift.gamma
        keep = gamma * gamma
        self._transition(gamma)
        g *= keep
        g += (1 - keep) * self.covariance.prior * x
        mu, v = gamma * mu0, keep * v0 + (1 - keep) * prior  # (3)
        self._correct(g, v, y - mu, square)
        return Innovation(mu, v, noise)

    def learn_together(self, X: F64, Y: F64) -> None:
        """Learn X (n, d) with Y (n, K), n >= 1, all of them one transition after the last."""
        v0 = self.covariance.quadratic(X)[:, None]
        mu0 = X @ self._M * self._m
        self.drift.follow(mu0, v0, self._prior(X)[:, None], Y, self.noise)
        self._transition(self.drift.gamma)
        for x, y in zip(X, Y, strict=True):
            square = float(x @ x)
            v = self.covariance.product(x, square, self._g)
            self._correct(self._g, v, y - x @ self._M * self._m, square)

    def tensors(self) -> dict[str, F64]:
        """Return what `restore` needs to go on with the same bits."""
        scalars = (self._m, self._count, *self.drift.scalars())
        return {
            **self.covariance.tensors(),
            "M": self._M.copy(),
            "energy": self._energy.copy(),
            "filter": np.array(scalars, np.float64),
        }

    def restore(self, tensors: dict[str, F64]) -> None:
        """Take back what `tensors` returned; the number of outputs is as it was.

        Raises
        ------
        StateError : shapes or values that no filter with these options has. Nothing changed.
        """
        shapes: dict[str, tuple[int, ...]] = {"M": self._M.shape, "energy": self._energy.shape}
        own = {name: a for name, a in tensors.items() if name in {*shapes, "filter"}}
        t = stored(own, {**shapes, "filter": (5,)})
        m, count, *drift = t["filter"].tolist()
        known = 0.0 <= count <= _NOISE_MEMORY and (t["energy"] >= 0.0).all()
        if not (known and _SMALLEST <= m <= 1.0):
            raise StateError("the filter's scalars are not those of any filter")
        found = DriftRate(self._given, shortest=self._shortest)
        found.restore((drift[0], drift[1], drift[2]))
        self.covariance.restore({name: a for name, a in tensors.items() if name not in own})
        self._M, self._energy = t["M"].copy(), t["energy"].copy()
        self.drift, self._m, self._count = found, m, count

    def _prior(self, X: F64) -> F64:
        return np.asarray(self.covariance.prior * np.einsum("nd,nd->n", X, X))

    def _transition(self, gamma: float) -> None:
        self.covariance.transition(gamma)
        self._m *= gamma  # (2)
        if self._m < _SMALLEST:
            self._M, self._m = self._M * self._m, 1.0

    def _correct(self, g: F64, v: float, e: F64, square: float) -> None:
        s = 1.0 + v
        kernels.add_outer(g, e, 1.0 / (s * self._m), self._M)  # (4)
        self.covariance.learn(g, s, square)
        self._energy, self._count = self._energy + e * e / s, self._count + 1.0
        self._fade()

    def _fade(self) -> None:
        self._energy = self._energy * min(1.0, _NOISE_MEMORY / max(self._count, 1.0))
        self._count = min(self._count, float(_NOISE_MEMORY))
