"""What a head is to the rest of the program: a protocol, and what it may promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge_cl.arrays import F64, I16, I64

Scorer = Callable[[I16], F64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What holds for a head with given options.

    from_moments : it is a function of the moments: any order and any split of the stream give
        the same head, a sample can be taken back, two learners can be merged. Where False, it
        depends on the order in which samples came, and what it has learned stays learned.
    statistics : what the moments must keep beside n, Q and G; `edge_cl.statistics` has them.
    """

    from_moments: bool = True
    statistics: tuple[str, ...] = ()


class Head(Protocol):
    """What the learner needs of a head."""

    @property
    def nbytes(self) -> int:
        """Memory held now, in bytes, without the moments."""

    def update(self, q: I16, y: I64, sign: int) -> None:
        """Follow the moments, which have just gained (+1) or lost (-1) these samples."""

    def refresh(self) -> None:
        """Forget everything derived; it is computed again from the moments when needed."""

    def scores(self, q: I16) -> F64:
        """Return one score a class, (n, k), for grid features (n, d); -inf where n_c = 0."""

    def probabilities(self, scores: F64, q: I16) -> F64:
        """Return class probabilities (n, k), given the `scores` of the grid features `q`.

        The order of classes is kept; where a caller has set a score to -inf, it is 0.
        """

    def frozen(self) -> Scorer:
        """Return `scores` as it is now, whatever is learned afterwards."""

    def tensors(self) -> dict[str, F64]:
        """Return what must be stored for a reopened head to give the same bits."""

    def restore(self, tensors: dict[str, F64]) -> None:
        """Take back what `tensors` returned; the moments are in place."""
