r"""Two published methods, written down from their equations, as contrasts.

Streaming LDA (Hayes & Kanan 2020). With c_y samples of class y and t samples in all before
this one, and ε = 1e-4:

    Δ = t (x - μ_y)(x - μ_y)ᵀ / (t + 1),   Σ ← (t Σ + Δ) / (t + 1)                     (1)
    μ_y ← (c_y μ_y + x) / (c_y + 1)                                                    (2)
    Λ = ((1 - ε) Σ + ε I)⁻¹,   w_c = Λ μ_c,   b_c = -μ_cᵀ Λ μ_c / 2                    (3)

(1) counts all samples where those of the class belong, and takes the first sample of a class
uncentred. Σ starts at 0, as without a first batch; (3) is solved when it is asked for.

RanPAC's second phase (McDonnell et al. 2023). With B (d, M) drawn from N(0, 1):

    h = max(xᵀB, 0),   G ← G + h hᵀ,   C ← C + h yᵀ,   W = (G + λI)⁻¹ C                (4)

After each task λ is the one of 1e-8 ... 1e8 with the least squared error on the last fifth of
the samples of that task, with the first four fifths to fit.

References
----------
Hayes, Kanan. Lifelong machine learning with deep streaming LDA. CVPR workshops 2020.
McDonnell et al. RanPAC: Random projections and pre-trained models for continual learning.
    NeurIPS 2023, algorithm 1 and section 4.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.linalg import LinAlgWarning, solve

from edge_cl.arrays import F32, I64

_EPSILON = 1e-4
_RIDGES = 10.0 ** np.arange(-8, 9)


class PublishedSLDA:
    """Streaming LDA by (1)-(3), float32 as its authors keep it."""

    def __init__(self, d: int, classes: int) -> None:
        self._Sigma = np.zeros((d, d), np.float32)
        self._mu = np.zeros((classes, d), np.float32)
        self._counts = np.zeros(classes, np.int64)
        self._weights: tuple[F32, F32] | None = None

    def learn(self, x: F32, y: I64) -> None:
        """See `PeerModel.learn`."""
        for row, label in zip(x, y.tolist(), strict=True):
            t = int(self._counts.sum())
            away = row - self._mu[label]
            self._Sigma *= np.float32(t / (t + 1))
            self._Sigma += np.outer(away * np.float32(t / (t + 1) ** 2), away)  # (1)
            self._mu[label] += away / np.float32(self._counts[label] + 1)  # (2)
            self._counts[label] += 1
        self._weights = None

    def end_group(self) -> None:
        """See `PeerModel.end_group`."""

    def predict(self, x: F32) -> I64:
        """See `PeerModel.predict`."""
        if self._weights is None:
            A = (1 - _EPSILON) * self._Sigma
            A.flat[:: len(A) + 1] += _EPSILON
            W = _solve(A, self._mu.T)  # (3)
            self._weights = W, np.einsum("kd,dk->k", self._mu, W) / 2
        W, bias = self._weights
        scores = x @ W - bias
        scores[:, self._counts == 0] = -np.inf
        return np.asarray(scores.argmax(axis=1), np.int64)

    def held_bytes(self) -> int:
        """See `PeerModel.held_bytes`."""
        solved = sum(a.nbytes for a in self._weights) if self._weights else 0
        return self._Sigma.nbytes + self._mu.nbytes + self._counts.nbytes + solved


class RanPAC:
    """RanPAC's random projection and ridge, (4); one-hot targets."""

    def __init__(self, d: int, classes: int, *, width: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._B = rng.standard_normal((d, width), np.float32)
        self._G = np.zeros((width, width), np.float32)
        self._C = np.zeros((width, classes), np.float32)
        self._W: F32 | None = None
        self._task: list[tuple[F32, F32]] = []
        self.ridge = 1.0

    def learn(self, x: F32, y: I64) -> None:
        """See `PeerModel.learn`."""
        H = np.maximum(x @ self._B, 0)
        Y = np.eye(self._C.shape[1], dtype=np.float32)[y]
        self._G += H.T @ H  # (4)
        self._C += H.T @ Y
        self._task.append((H, Y))
        self._W = None

    def end_group(self) -> None:
        """See `PeerModel.end_group`. Chooses λ from the samples of the group."""
        H, Y = (np.concatenate(part) for part in zip(*self._task, strict=True))
        fit = int(0.8 * len(H))
        G, C = H[:fit].T @ H[:fit], H[:fit].T @ Y[:fit]
        weights = [_solve(_shifted(G, ridge), C) for ridge in _RIDGES]
        errors = [np.square(H[fit:] @ W - Y[fit:]).mean(dtype=np.float64) for W in weights]
        self.ridge = float(_RIDGES[np.nanargmin(errors)])
        self._task, self._W = [], None

    def predict(self, x: F32) -> I64:
        """See `PeerModel.predict`."""
        if self._W is None:
            self._W = _solve(_shifted(self._G, self.ridge), self._C)
        return np.asarray((np.maximum(x @ self._B, 0) @ self._W).argmax(axis=1), np.int64)

    def held_bytes(self) -> int:
        """See `PeerModel.held_bytes`. Without the features of the task that it keeps for λ."""
        solved = self._W.nbytes if self._W is not None else 0
        return self._B.nbytes + self._G.nbytes + self._C.nbytes + solved


def _solve(A: F32, B: F32) -> F32:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LinAlgWarning)  # tiny λ are tried on purpose
        try:
            return np.asarray(solve(A, B, assume_a="gen"), np.float32)
        except np.linalg.LinAlgError:  # exactly singular: infinite weights, never chosen
            return np.full(B.shape, np.inf, np.float32)


def _shifted(G: F32, ridge: float) -> F32:
    A = G.copy()
    A.flat[:: len(A) + 1] += np.float32(ridge)
    return A
