r"""FeCAM: nearest class mean, each class with a covariance of its own.

From the moments with per-class scatter G_c, for the classes seen, with μ_c = Q_c / n_c and u
the unit vector of its argument (0 of 0):

    Σ_c = (G_c - Q_c Q_cᵀ / n_c) / (n_c - 1)                                            (1)
    Σ'_c = Σ_c + α₁ V₁ I + α₂ V₂ (11ᵀ - I)                                              (2)
    R_c = D^-½ Σ'_c D^-½,  D = diag(Σ'_c)           so that classes can be compared      (3)
    s_c(x) = -vᵀ R_c⁻¹ v,  v = u(x) - u(μ_c)                                            (4)
    p(x) = softmax(s / T),  T = (2 / N d) Σ_c n_c tr(R_c⁻¹ Σ_c) / (tr(G_c) / n_c)       (5)

V₁ and V₂ are the means of Σ_c on and off the diagonal. T is twice the mean of -s_c over
the samples of c themselves, to first order in their spread, a feature: with it a sample is as
far from its class as a Gaussian has it, d on average. Where nothing has spread, T = 1. A class
of one sample, or of equal samples, has R_c = I: nearest mean on the sphere.

Where this differs from the reference code:

- Tukey's transform, which FeCAM begins with, is the map `power` in front, with a sign, so that
  signed features have no NaN. Everything here is of mapped features: μ_c is the mean of
  the transformed, not the transform of the mean, and one x meets means and covariances alike
  (the code normalises x before the transform and covariances not at all).
- (2) is applied once; the code for convolutional networks does it twice (`times=2`).
- V₂ is the mean of all off-diagonals, not of those that are not 0: with α₂ <= α₁, Σ'_c is
  then semidefinite whatever the data, 0 <= 1ᵀΣ_c1 being V₂ >= -V₁ / (d - 1), and V₂ <= V₁.
  10⁻⁶ is added to α₁, so that it is definite: the code needs pseudo-inverses.

R_c⁻¹ is kept, and computed anew only for classes that changed, O(d³) each; d² numbers a class,
besides as many in the moments. A prediction reads them all, O(k d²).

References
----------
Goswami et al. FeCAM: Exploiting the heterogeneity of class distributions in exemplar-free
    continual learning. NeurIPS 2023, eq. 4-8.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from edge_cl.arrays import F64, I16, I64
from edge_cl.blas import one_thread
from edge_cl.errors import InputError
from edge_cl.heads.masked import mask_unseen, softmax
from edge_cl.heads.protocol import Promise, Scorer
from edge_cl.heads.stored import stored
from edge_cl.heads.triangular import inverse_spd
from edge_cl.moments import Moments, scatter_rounding

_FLOOR = 1e-6  # on top of α₁


class FeCAMOptions(msgspec.Struct, frozen=True, kw_only=True, tag="fecam"):
    """How the covariances are kept invertible and comparable.

    diagonal, off_diagonal : α₁ and α₂ of (2), 0 <= α₂ <= α₁.
    times : how often (2) is applied; twice serves classes of few samples, once those of many.
    correlation : whether (3) is; otherwise R_c = Σ'_c.
    unit : whether (4) compares unit vectors; otherwise v = x - μ_c.
    """

    diagonal: float = 1.0
    off_diagonal: float = 1.0
    times: Literal[1, 2] = 1
    correlation: bool = True
    unit: bool = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.off_diagonal <= self.diagonal <= 1e6:
            raise InputError(
                "expected 0 <= off_diagonal <= diagonal <= 1e6, got "
                f"{self.off_diagonal} and {self.diagonal}"
            )
        if self.times not in (1, 2):
            raise InputError(f"expected times to be 1 or 2, got {self.times}")

    @property
    def promise(self) -> Promise:
        """What holds for the head."""
        return Promise(statistics=("scatter",))

    def build(self, moments: Moments, *, scale: float, mean_square_norm: float) -> FeCAM:
        """Return the head with these options."""
        return FeCAM(moments, self)


class FeCAM:
    """Nearest mean by Mahalanobis distances over `moments` with their scatter."""

    def __init__(self, moments: Moments, options: FeCAMOptions) -> None:
        self._moments = moments
        self._options = options
        self._inverses: list[F64 | None] = []  # R_c⁻¹; None until it is needed
        self._spreads: list[float] = []  # what class c adds to (5), a sample

    @property
    def nbytes(self) -> int:
        """See `Head.nbytes`."""
        return sum(a.nbytes for a in self._inverses if a is not None)

    def update(self, q: I16, y: I64, sign: int) -> None:
        """See `Head.update`. Only the classes of `y` are solved again, when needed."""
        self._grow()
        for c in np.unique(y).tolist():
            self._inverses[c] = None

    def refresh(self) -> None:
        """See `Head.refresh`."""
        self._inverses = [None] * self._moments.k
        self._spreads = [0.0] * self._moments.k

    def scores(self, q: I16) -> F64:
        """See `Head.scores`. Negative squared distances."""
        return self.frozen()(q)

    def frozen(self) -> Scorer:
        """See `Head.frozen`."""
        m = self._moments
        self._solve()
        inverses, n, unit = list(self._inverses), m.n.copy(), self._options.unit
        means = m.Q / np.maximum(n, 1)[:, None]
        centres = _unit(means) if unit else means

        def scorer(q: I16) -> F64:
            x = q.astype(np.float64)
            at = _unit(x) if unit else x
            scores = np.zeros((len(q), len(n)))
            with one_thread():
                for c, inverse in enumerate(inverses):
                    if inverse is not None:
                        v = at - centres[c]
                        scores[:, c] = -np.einsum("nd,nd->n", v @ inverse, v)  # (4)
            return mask_unseen(scores, n)

        return scorer

    def probabilities(self, scores: F64, q: I16) -> F64:
        """See `Head.probabilities`. (5)."""
        self._solve()
        m = self._moments
        T = 2 * float(m.n @ np.array(self._spreads)) / (m.samples * m.d)
        return softmax(scores / (T if T > 0 else 1.0))

    def tensors(self) -> dict[str, F64]:
        """See `Head.tensors`. None: each class is solved from its own sums, the same bits."""
        return {}

    def restore(self, tensors: dict[str, F64]) -> None:
        """See `Head.restore`."""
        stored(tensors, {})
        self.refresh()

    def _grow(self) -> None:
        new = self._moments.k - len(self._inverses)
        self._inverses += [None] * new
        self._spreads += [0.0] * new

    def _solve(self) -> None:
        self._grow()
        for c, count in enumerate(self._moments.n.tolist()):
            if not count:
                self._inverses[c], self._spreads[c] = None, 0.0
            elif self._inverses[c] is None:
                self._inverses[c], self._spreads[c] = self._solved(c, count)

    def _solved(self, c: int, count: int) -> tuple[F64, float]:
        """Return R_c⁻¹, and tr(R_c⁻¹ Σ_c) over the mean square norm of the class."""
        G, Q = self._moments.statistics["scatter"].of_class(c), self._moments.Q[c]
        d, degrees = len(G), max(count - 1, 1)
        covariance = (G - np.outer(Q, Q) / count) / degrees  # (1)
        # The line above cancels: what is left carries this much rounding
        rounding = 4 * scatter_rounding(G, 1) / degrees
        if covariance.trace() <= d * rounding:  # one sample, or all of them equal
            return np.eye(d), 0.0
        shrunk = covariance
        for _ in range(self._options.times):
            shrunk = self._shrunk(shrunk)
        shrunk.flat[:: d + 1] += rounding
        if self._options.correlation:
            sd = np.sqrt(shrunk.diagonal())
            shrunk /= sd[:, None] * sd  # (3)
        inverse = inverse_spd(shrunk)
        norm = G.trace() / count if self._options.unit else 1.0
        return inverse, float(np.vdot(inverse, covariance)) / norm

    def _shrunk(self, covariance: F64) -> F64:
        d, o = len(covariance), self._options
        V1 = covariance.trace() / d
        V2 = (covariance.sum() - covariance.trace()) / max(d * (d - 1), 1)
        shrunk = covariance + o.off_diagonal * V2
        shrunk.flat[:: d + 1] += (o.diagonal + _FLOOR) * V1 - o.off_diagonal * V2  # (2)
        return np.asarray(shrunk)


def _unit(x: F64) -> F64:
    norm = np.sqrt(np.square(x).sum(axis=1, keepdims=True))
    return np.asarray(x / np.where(norm > 0, norm, 1.0))
