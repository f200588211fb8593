r"""Several heads over one set of moments, compared on samples before these are learned.

Every sample is a test before it is a lesson (prequential evaluation, Dawid 1984). Heads are
tested as they were when a block of 32 samples began, all as of the same moment: one of them
may have to be solved anew to answer, and so it is solved once a block. Older tests fade by
α = 0.999 a sample (Gama et al. 2013), so that about the last thousand count:

    R_i = Σ_t α^(T-t) [head i right at t]                                              (1)
    B_ij = Σ_t α^(T-t) [head i right and head j wrong at t]                            (2)

Two heads are told apart by the samples on which one alone was right (McNemar 1947): head i
is better than j where

    B_ij - B_ji > 3 √(B_ij + B_ji)                                                     (3)

Three standard errors and not two, because the question is asked after every block.

References
----------
Dawid. Statistical theory: the prequential approach. J. R. Stat. Soc. A 147 (1984).
Gama, Sebastião, Rodrigues. On evaluating stream learning algorithms. Mach. Learn. 90 (2013).
McNemar. Note on the sampling error of the difference between correlated proportions or
    percentages. Psychometrika 12 (1947).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_cl.arrays import F64, I16, I64
from edge_cl.errors import StateError
from edge_cl.heads import Head, Scorer
from edge_cl.heads.stored import stored

BLOCK = 32

_FADING = 0.999
_STANDARD_ERRORS = 3.0


class Contest:
    """The tally of `count` heads."""

    def __init__(self, count: int) -> None:
        self._tested = 0.0
        self._right: F64 = np.zeros(count)
        self._better: F64 = np.zeros((count, count))
        self._scorers: list[Scorer] = []
        self._age = 0

    @property
    def tested(self) -> float:
        """How many samples count, the faded ones in part."""
        return self._tested

    @property
    def accuracy(self) -> F64:
        """Share of right answers of each head; nan before the first test."""
        return self._right / self._tested if self._tested else np.full(len(self._right), np.nan)

    def test(self, heads: Sequence[Head], q: I16, y: I64, samples: int) -> None:
        """Test on rows (n, d) of class `y`, n <= BLOCK, that are about to be learned.

        Parameters
        ----------
        samples : how many the heads have learned; with none there is nothing to test.
        """
        if not samples:
            return
        if not self._scorers or self._age + len(q) > BLOCK:
            self._scorers, self._age = [head.frozen() for head in heads], 0
        self._age += len(q)
        right = np.stack([scorer(q).argmax(axis=1) == y for scorer in self._scorers])  # (m, n)
        weight = _FADING ** np.arange(len(q))[::-1]
        fade = _FADING ** len(q)
        self._tested = fade * self._tested + float(weight.sum())
        self._right = fade * self._right + right @ weight  # (1)
        self._better = fade * self._better + (right * weight) @ ~right.T  # (2)

    def begin_block(self) -> None:
        """Let the next test see the heads as they are then; something was taken back."""
        self._scorers = []

    def best(self) -> int:
        """Return the head that should serve, where 0 serves now."""
        gained, given = self._better[:, 0], self._better[0]
        return int(np.argmax(np.where(apart(gained, given), gained - given, 0.0)))

    def is_better(self, i: int) -> bool:
        """Say whether head `i` is better than head 0, which serves."""
        return bool(apart(self._better[i, 0], self._better[0, i]))

    def swap(self, i: int) -> None:
        """Let head `i` be head 0, and the other way round."""
        order = np.arange(len(self._right))
        order[[0, i]] = i, 0
        self._right, self._better = self._right[order], self._better[np.ix_(order, order)]
        self._scorers = []

    def tensors(self) -> dict[str, F64]:
        """Return what has to be stored."""
        return {"tested": np.array([self._tested]), "right": self._right, "better": self._better}

    def restore(self, tensors: dict[str, F64]) -> None:
        """Take back what `tensors` returned.

        Raises
        ------
        StateError : not the tally of that many heads.
        """
        m = len(self._right)
        tensors = stored(tensors, {"tested": (1,), "right": (m,), "better": (m, m)})
        tested, right, better = tensors["tested"][0], tensors["right"], tensors["better"]
        most = (1.0 + 1e-9) / (1.0 - _FADING)
        if (
            any((a < 0).any() for a in tensors.values())
            or tested > most
            or (right > tested * (1 + 1e-9)).any()
            or (better > right[:, None] * (1 + 1e-9)).any()
        ):
            raise StateError("the tally of the compared heads is not one")
        self._tested, self._right, self._better = float(tested), right.copy(), better.copy()


def apart(gained: F64, given: F64) -> NDArray[np.bool_]:
    """Say whether a head that was alone right on `gained` rows, wrong on `given`, is better."""
    found: NDArray[np.bool_] = gained - given > _STANDARD_ERRORS * np.sqrt(gained + given)  # (3)
    return found
