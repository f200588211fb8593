r"""Ridge regression on one-hot labels, exact after every sample.

The weights are the minimiser of ‖X W - Y‖² + λ‖W‖² over the samples that are in, whatever
their order, whatever was added or taken back in between:

    W = (G + λI)⁻¹ Q                                                                  (1)

With a random-ReLU map in front this is ACIL / G-ACIL (Zhuang et al.) and RanPAC's second
phase (McDonnell et al.). A class never seen before costs one zero column, which is exact,
because every earlier sample had target 0 for it.

The truth is (G, Q). So as not to solve (1) after each sample, weights and inverse are followed
(`edge_cl.heads.ridge_solution`, `edge_cl.heads.inverse`):

- A few samples: one by one, at once. Half of P₀ is read once, W read twice and written once.
- Many samples: they wait as int16 rows. When weights are asked for, they go in as blocks; more
  than d / 4 of them cost less as (1), from the sums.
- Many taken back at once, or digits that would be lost: (1).
- After 65,536 samples (8,192 in float32), or when the inverse is worn, rounding is cleared: (1)
  is solved in a thread, while the old weights serve and learn; the update after that swaps, and
  `renewal` says what it took. Between updates the weights keep their bits. docs/decisions/0007.

The first weights after a bulk load, or of a head that was just reopened and then learns, are
solved when they are asked for, in the caller's thread: there are none that could serve.

Everything here is in grid units, x = scale·q: λ becomes λ / scale², scores do not change.

References
----------
Zhuang et al. ACIL, NeurIPS 2022; GACL, NeurIPS 2024. McDonnell et al. RanPAC, NeurIPS 2023.
"""

from __future__ import annotations

import time
import warnings
from typing import Literal

import msgspec
import numpy as np

from edge_cl.arrays import F64, I16, I64
from edge_cl.errors import InputError
from edge_cl.heads.background import BackgroundSolve, Renewal
from edge_cl.heads.masked import mask_unseen, simplex_projection
from edge_cl.heads.penalty import checked_ridge, ridge_or_default
from edge_cl.heads.protocol import Promise, Scorer
from edge_cl.heads.ridge_solution import FEW, Problem, Rows, Solution, count
from edge_cl.heads.simplex import simplex_scores
from edge_cl.heads.stored import stored
from edge_cl.moments import Moments

_AGE = {"double": 1 << 16, "single": 1 << 13}  # samples before (1) is due; docs/decisions/0007


class RidgeOptions(msgspec.Struct, frozen=True, kw_only=True, tag="ridge"):
    """Which penalty, how the inverse is kept, and what a class is coded as.

    ridge : λ in squared feature units, > 0; None stands for 0.3·E‖x‖² of the bundle.
    inverse : "double", or "single": half the memory of the inverse and a faster lesson, W
        within 1e-4 of exact instead of 1e-8; where λ is too small for that, double serves.
    targets : "one-hot", or "simplex": the k classes seen as vertices equally far apart
        (`edge_cl.heads.simplex`). The answer is the same; scores are centred and stretched by
        k/(k-1), and probabilities are surer by as much.
    """

    ridge: float | None = None
    inverse: Literal["double", "single"] = "double"
    targets: Literal["one-hot", "simplex"] = "one-hot"

    def __post_init__(self) -> None:
        checked_ridge(self.ridge)
        if self.inverse not in _AGE:
            raise InputError(f"expected inverse double or single, got {self.inverse!r}")
        if self.targets not in ("one-hot", "simplex"):
            raise InputError(f"expected targets one-hot or simplex, got {self.targets!r}")

    @property
    def promise(self) -> Promise:
        """What holds for the head."""
        return Promise()

    def build(self, moments: Moments, *, scale: float, mean_square_norm: float) -> Ridge:
        """Return the head with these options."""
        return Ridge(moments, self, scale=scale, mean_square_norm=mean_square_norm)


class Ridge:
    """Ridge regression over `moments`, whose features are q·`scale`.

    Attributes
    ----------
    ridge : λ in use, in squared feature units.
    renewal : what the last solution in the background took; None before the first.
    """

    def __init__(
        self, moments: Moments, options: RidgeOptions, *, scale: float, mean_square_norm: float
    ) -> None:
        self._moments = moments
        self.ridge = ridge_or_default(options.ridge, mean_square_norm)
        self.renewal: Renewal | None = None
        self._code = simplex_scores if options.targets == "simplex" else mask_unseen
        self._lambda = self.ridge / scale**2
        self._single = mean_square_norm / scale**2 if options.inverse == "single" else None
        self._age_limit = _AGE[options.inverse]
        self._solution: Solution | None = None  # None until weights are asked for
        self._stored: F64 | None = None  # (d, k), reopened: weights without their inverse
        self._waiting: list[Rows] = []  # learned, not yet in the solution
        self._age = 0
        self._solve: BackgroundSolve | None = None
        self._pause = 0.0

    @property
    def nbytes(self) -> int:
        """See `Head.nbytes`."""
        held = self._stored.nbytes if self._stored is not None else 0
        held += self._solution.nbytes if self._solution is not None else 0
        held += self._solve.nbytes if self._solve is not None else 0
        return held + sum(q.nbytes + y.nbytes for q, y, _ in self._waiting)

    def update(self, q: I16, y: I64, sign: int) -> None:
        """See `Head.update`. Many samples at once are left to `scores`."""
        n = len(y)
        if not n:
            return
        self._swap()
        if self._solve is not None:
            self._solve.note(q, y, sign)
        if self._solution is None:  # the moments have moved on from what was reopened
            self.refresh()
        elif sign > 0 and (self._waiting or n > FEW):
            self._wait(q, y)
        elif n > FEW:
            self.refresh()
        else:
            self._follow([*self._waiting, (q, y, sign)])
        self._age += n
        self._renew_if_due()

    def refresh(self) -> None:
        """See `Head.refresh`. A solution under way in the background is dropped."""
        self._solution = self._stored = self._solve = None
        self._waiting = []
        self._age = 0

    def settle(self) -> None:
        """Wait for a solution under way in the background, if there is one, and take it."""
        if self._solve is not None:
            self._solve.join()
            self._swap()

    def scores(self, q: I16) -> F64:
        """See `Head.scores`. Estimates of P(class | x), or (2) of `simplex`; not in [0, 1]."""
        return self._code(q.astype(np.float64) @ self._weights(), self._moments.n)

    def probabilities(self, scores: F64, q: I16) -> F64:
        """See `Head.probabilities`. The distribution nearest to the scores."""
        return simplex_projection(scores)

    def frozen(self) -> Scorer:
        """See `Head.frozen`."""
        W, n, code = self._weights().copy(), self._moments.n.copy(), self._code
        return lambda q: code(q.astype(np.float64) @ W, n)

    def tensors(self) -> dict[str, F64]:
        """See `Head.tensors`."""
        return {"W": self._weights().copy()}  # lessons change W in place

    def restore(self, tensors: dict[str, F64]) -> None:
        """See `Head.restore`."""
        tensors = stored(tensors, {"W": (self._moments.d, self._moments.k)})
        self.refresh()
        self._stored = tensors["W"]

    def _weights(self) -> F64:
        if self._stored is not None:  # a class that came without samples has no column yet
            new = self._moments.k - self._stored.shape[1]
            self._stored = np.pad(self._stored, ((0, 0), (0, new))) if new else self._stored
            return self._stored
        if self._waiting:
            self._follow(self._waiting)
        if self._solution is None:
            self._solution, self._age = self._problem().solve(), 0  # (1)
        self._renew_if_due()
        self._solution.grow(self._moments.k)
        return self._solution.W

    def _problem(self) -> Problem:
        return Problem.of(self._moments, ridge=self._lambda, single=self._single)

    def _wait(self, q: I16, y: I64) -> None:
        if 4 * (count(self._waiting) + len(y)) > self._moments.d:
            self.refresh()
        else:
            self._waiting.append((q.copy(), y.copy(), +1))

    def _follow(self, rows: list[Rows]) -> None:
        self._waiting = []
        if self._solution is not None and not self._solution.take(rows):
            self.refresh()

    def _renew_if_due(self) -> None:
        solution = self._solution
        if solution is None or self._waiting or self._solve is not None:
            return
        if self._age >= self._age_limit or solution.inverse.worn:
            start = time.perf_counter()
            solution.grow(self._moments.k)
            self._solve = BackgroundSolve(self._problem(), solution.W)
            self._pause = time.perf_counter() - start

    def _swap(self) -> None:
        """Put the solution from the background in place, if it has ended. Only updates do."""
        solve = self._solve
        if solve is None or solve.running:
            return
        start = time.perf_counter()
        solution = solve.result()
        if solution is None:
            self.refresh()  # so that the next weights are solved here, where an error is seen
        else:
            self._solution, self._solve = solution, None
            self._waiting, self._age = [], solve.noted
            self.renewal = solve.renewal(self._pause + time.perf_counter() - start)
        if solve.error is not None:
            text = f"weights could not be solved in the background: {solve.error!r}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
