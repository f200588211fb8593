r"""Classification that follows drift: a Kalman filter on one-hot labels.

`edge_cl.heads.kalman_filter` with one output a class: a posterior over the weights, which
forget at a rate γ that is learned. The score of class c is the mean μ_c of the next sample
there; its variance v is the same for all classes. Probabilities are those of softmax under
that Gaussian, by the probit approximation (MacKay 1992):

    p_c = softmax(α κ μ)_c,   κ = 1/√(1 + π α² v / 8)                                   (1)

v is large where the features are new, or where much was forgotten: then p is modest. α climbs
the log-probability of each label just before it is learned. In θ = log α this is the logistic
regression of one parameter, and the step is its natural gradient, J the information so far:

    ∂θ = α κ³ (μ_y - Σ_c p_c μ_c),  I = α² κ⁶ Var_p(μ),  J ← J + I,  θ ← θ + ∂θ/J        (2)

(the paper has a plain step, with probabilities by sampling). J fades after `_MEMORY` samples'
worth. The class of the largest score never depends on α or v.

What the head has learned depends on the order of samples, so nothing can be taken back, and
two learners cannot be merged. Where γ < 1, *all* weights shrink with every sample, also those
of classes that are not being shown: a class that is absent for n samples is multiplied by γ^n
where no data come. For a stream that shows one class after the other, γ must be near 1; give
`forgetting=1.0`, or take ridge.

γ is learned for what comes one step of the clock ahead. Where labels come late, that is not the
next sample: successive flights of a day are late together, so a filter whose clock is the
flight forgets as fast as it may, and knows little of the next day (AUC .62; ridge .70). With
the day's flights in one call and `clock="call"` it remembers years (AUC .70, least loss).

From the moments alone the head is ridge with γ = 1: W = (G + λI)⁻¹Q, P = (G + λI)⁻¹, and
Σ e²/s = N - tr(QᵀW) (3) for the noise. So a state that was learned with another head goes on
from there.

References
----------
Titsias et al. Kalman filter for online classification of non-stationary data. ICLR 2024.
MacKay. The evidence framework applied to classification networks. Neural Computation 4 (1992).
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import numpy as np

from edge_cl.arrays import F64, I16, I64
from edge_cl.blas import one_thread
from edge_cl.errors import ForgetError, InputError, StateError
from edge_cl.heads.kalman_filter import KalmanFilter
from edge_cl.heads.masked import mask_unseen, softmax
from edge_cl.heads.penalty import checked_ridge, ridge_or_default, visible_ridge
from edge_cl.heads.protocol import Promise, Scorer
from edge_cl.heads.triangular import inverse_spd
from edge_cl.moments import Moments

_ALPHA = 8.0  # before any label was expected
_INFORMATION = 4.0  # J then
_MEMORY = 2000  # samples
_LARGEST_STEP = 0.5  # of log α
_LARGEST = 20.0  # |log α|


class KalmanOptions(msgspec.Struct, frozen=True, kw_only=True, tag="kalman"):
    """How fast weights drift, how large they are, how noisy labels or values are.

    forgetting : γ in [0, 1] a sample, or "learn": then not faster than `shortest_memory`. 1
        forgets nothing.
    ridge : λ in squared feature units, > 0: the noise's variance over that of a weight before
        any sample. None stands for 0.3·E‖x‖² of the bundle, as for ridge.
    clock : what time is measured in. With "sample" γ is that of one sample, and several in one
        call are the same as one by one. With "call" time passes once a call of `learn`: for
        labels that come together, late, where the next call is what should be expected.
    noise : variance of a one-hot label about its score, or of a value about its estimate, > 0;
        or "learn".
    """

    forgetting: float | Literal["learn"] = "learn"
    ridge: float | None = None
    noise: float | Literal["learn"] = "learn"
    clock: Literal["sample", "call"] = "sample"

    def __post_init__(self) -> None:
        if self.forgetting != "learn" and not 0.0 <= self.forgetting <= 1.0:
            raise InputError(f"expected forgetting in [0, 1] or 'learn', got {self.forgetting}")
        checked_ridge(self.ridge)
        if self.noise != "learn" and not (math.isfinite(self.noise) and self.noise > 0.0):
            raise InputError(f"expected noise to be positive or 'learn', got {self.noise}")
        if self.clock not in ("sample", "call"):
            raise InputError(f"expected clock sample or call, got {self.clock!r}")

    @property
    def promise(self) -> Promise:
        """What holds for the head."""
        return Promise(from_moments=False)

    def shortest_memory(self, d: int) -> float:
        """Return the least memory 1/(1 - γ²), in ticks of the clock, that learning γ may choose.

        4 d samples; a call may hold any number of them, so there it is one.
        """
        return 4.0 * d if self.clock == "sample" else 1.0

    def build(self, moments: Moments, *, scale: float, mean_square_norm: float) -> Kalman:
        """Return the head with these options."""
        return Kalman(moments, self, scale=scale, mean_square_norm=mean_square_norm)


class Kalman:
    """A Kalman filter on the labels of `moments`, whose features are q·`scale`.

    Attributes
    ----------
    ridge : λ in use, in squared feature units.
    """

    def __init__(
        self, moments: Moments, options: KalmanOptions, *, scale: float, mean_square_norm: float
    ) -> None:
        self._moments = moments
        self._options = options
        self.ridge = ridge_or_default(options.ridge, mean_square_norm)
        self._lambda = self.ridge / scale**2
        self._filter: KalmanFilter | None = None  # None until it is asked for
        self._log_alpha = math.log(_ALPHA)
        self._information = _INFORMATION

    @property
    def nbytes(self) -> int:
        """See `Head.nbytes`."""
        return self._filter.nbytes if self._filter else 0

    @property
    def gamma(self) -> float:
        """γ in use."""
        return self._following().drift.gamma

    @property
    def alpha(self) -> float:
        """α in use."""
        return math.exp(self._log_alpha)

    @property
    def repairs(self) -> int:
        """Times that rounding had made the covariance indefinite; see `KalmanFilter`."""
        return self._following().covariance.repairs

    def update(self, q: I16, y: I64, sign: int) -> None:
        """See `Head.update`. One transition a sample, or a call.

        Raises
        ------
        ForgetError : `sign` is -1. Nothing has changed here.
        """
        if sign != +1:
            raise ForgetError(
                "the kalman head cannot take a sample back: what it knows depends on the order",
                hint="ridge, lda and nearest mean can; they are solved from the same sums",
            )
        if not len(q):
            return
        seen = self._moments.n > np.bincount(y, minlength=self._moments.k)
        following = self._filter = self._filter or self._from_moments(q, y)
        x = q.astype(np.float64)
        if self._options.clock == "call":
            following.grow(int(y.max()) + 1)
            mu, unit = following.expected(x), float(following.noise[:1].sum())
            v = following.variance(x) * unit
            following.learn_together(x, np.eye(following.outputs)[y])
            for i in np.flatnonzero(seen[y]).tolist():
                self._calibrate(mu[i][seen[: mu.shape[1]]], float(mu[i, y[i]]), float(v[i]))
            return
        for row, label in zip(x, y.tolist(), strict=True):
            following.grow(label + 1)  # not before: classes to come are no part of the noise
            target = np.zeros(following.outputs)
            target[label] = 1.0
            found = following.learn(row, target)
            if seen[label]:
                known = found.mean[seen[: len(target)]]
                variance = found.variance * float(found.noise[0])
                self._calibrate(known, float(found.mean[label]), variance)
            seen[label] = True

    def refresh(self) -> None:
        """See `Head.refresh`. What was learned of drift and calibration is forgotten."""
        self._filter = None
        self._log_alpha, self._information = math.log(_ALPHA), _INFORMATION

    def scores(self, q: I16) -> F64:
        """See `Head.scores`. Expected one-hot labels of the next sample."""
        return self._scorer(copied=False)(q)

    def frozen(self) -> Scorer:
        """See `Head.frozen`."""
        return self._scorer(copied=True)

    def probabilities(self, scores: F64, q: I16) -> F64:
        """See `Head.probabilities`. Calibrated on the labels learned so far."""
        following = self._following()
        variance = following.variance(q.astype(np.float64)) * following.noise[:1].sum()
        kappa = 1.0 / np.sqrt(1.0 + math.pi / 8 * self.alpha**2 * variance)
        return softmax(self.alpha * kappa[:, None] * scores)  # (1)

    def tensors(self) -> dict[str, F64]:
        """See `Head.tensors`."""
        calibration = np.array([self._log_alpha, self._information])
        return {**self._following().tensors(), "calibration": calibration}

    def restore(self, tensors: dict[str, F64]) -> None:
        """See `Head.restore`."""
        rest = dict(tensors)
        calibration = rest.pop("calibration", None)
        M, m = rest.get("M", np.zeros(0)), self._moments
        # The last class may have lost its samples since: it keeps its output
        outputs = M.shape[1] if M.ndim == 2 else 0
        if not _classes_to(m.n) <= outputs <= m.k:
            raise StateError(f"the head's weights {M.shape} do not fit {m.k} classes")
        following = self._empty(outputs)
        following.restore(rest)
        if calibration is None or calibration.shape != (2,) or calibration.dtype != np.float64:
            raise StateError("the head's calibration is not two float64 numbers")
        log_alpha, information = calibration.tolist()
        if not (abs(log_alpha) <= _LARGEST and 0.0 < information < math.inf):
            raise StateError("the head's calibration is none that is ever learned")
        self._filter, self._log_alpha, self._information = following, log_alpha, information

    def _scorer(self, *, copied: bool) -> Scorer:
        W, factor = self._following().weights()
        n = self._moments.n.copy()
        W = W.copy() if copied else W

        def score(q: I16) -> F64:
            scores = np.zeros((len(q), len(n)))
            np.multiply(q.astype(np.float64) @ W, factor, out=scores[:, : W.shape[1]])
            return mask_unseen(scores, n)

        return score

    def _following(self) -> KalmanFilter:
        if self._filter is None:
            d = self._moments.d
            self._filter = self._from_moments(np.zeros((0, d), np.int16), np.zeros(0, np.int64))
        return self._filter

    def _empty(self, outputs: int) -> KalmanFilter:
        options = self._options
        return KalmanFilter(
            self._moments.d,
            outputs,
            ridge=self._lambda,
            forgetting=options.forgetting,
            shortest=options.shortest_memory(self._moments.d),
            noise="shared" if options.noise == "learn" else options.noise,
        )

    def _from_moments(self, q: I16, y: I64) -> KalmanFilter:
        """Return the filter over all samples but these, which the moments hold already."""
        m, x = self._moments, q.astype(np.float64)
        n, Q = m.n.astype(np.float64), m.Q.copy()
        np.subtract.at(n, y, 1.0)
        np.subtract.at(Q, y, x)
        following = self._empty(_classes_to(n))
        if not n.any():
            return following
        n, Q = n[: following.outputs], Q[: following.outputs]
        with one_thread():
            A = m.G - x.T @ x
            least = visible_ridge(self._lambda, m.G)
            floor = 1.0 / (least + A.trace())
            A.flat[:: m.d + 1] += least
            P = inverse_spd(A)
            W = P @ Q.T
        energy = np.maximum(n - np.einsum("kd,dk->k", Q, W), 0.0)  # (3)
        following.anchor(W, P, energy, int(n.sum()), floor)
        return following

    def _calibrate(self, mu: F64, at_label: float, variance: float) -> None:
        """Follow (2); `mu` are the scores of the classes seen, `variance` is v."""
        alpha = self.alpha
        kappa = 1.0 / math.sqrt(1.0 + math.pi / 8 * alpha**2 * variance)
        p = softmax(alpha * kappa * mu)
        mean = float(p @ mu)
        slope = alpha * kappa**3  # ∂(ακ)/∂log α
        gradient = slope * (at_label - mean)  # (2)
        self._information *= 1.0 - 1.0 / _MEMORY
        self._information += slope**2 * float(p @ np.square(mu - mean))
        step = gradient / max(self._information, _INFORMATION)
        found = self._log_alpha + min(max(step, -_LARGEST_STEP), _LARGEST_STEP)
        self._log_alpha = min(max(found, -_LARGEST), _LARGEST)


def _classes_to(n: F64 | I64) -> int:
    """Return how many classes there are up to the last that has samples."""
    return int(np.flatnonzero(n)[-1]) + 1 if n.any() else 0
