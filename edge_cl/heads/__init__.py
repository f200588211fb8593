"""Closed-form heads: solvers over moments, one algorithm a file.

A head holds no data of its own that could not be computed again from the moments; what it
keeps is derived, to make the next prediction fast. To add a head, write a file with an
options struct and a class that satisfies `Head`, and add one line to `HEADS`: the contract
suite (tests/test_head_contract.py) picks it up.

Heads are not thread-safe by themselves; the learner's lock makes them so.

References
----------
Hayes, Kanan. Lifelong machine learning with deep streaming linear discriminant analysis.
    CVPR workshops 2020.
Janson et al. A simple baseline that questions the use of pretrained-models in continual
    learning. arXiv 2210.04428, 2022.
Zhuang et al. ACIL: Analytic class-incremental learning. NeurIPS 2022.
"""

from __future__ import annotations

from typing import Protocol

from edge_cl.arrays import F64, I16, I64
from edge_cl.errors import InputError
from edge_cl.heads.lda import LDA, LDAOptions
from edge_cl.heads.nearest_mean import NearestMean, NearestMeanOptions
from edge_cl.heads.ridge import Ridge, RidgeOptions
from edge_cl.moments import Moments

__all__ = [
    "HEADS",
    "LDA",
    "Head",
    "HeadOptions",
    "LDAOptions",
    "NearestMean",
    "NearestMeanOptions",
    "Ridge",
    "RidgeOptions",
    "build_head",
    "head_options",
]

HeadOptions = NearestMeanOptions | LDAOptions | RidgeOptions


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

    def probabilities(self, scores: F64) -> F64:
        """Return class probabilities (n, k) for scores (n, k); the order of classes is kept."""

    def tensors(self) -> dict[str, F64]:
        """Return what must be stored for a reopened head to give the same bits."""

    def restore(self, tensors: dict[str, F64]) -> None:
        """Take back what `tensors` returned; the moments are in place."""


# name -> options; a name is what users type
HEADS: dict[str, HeadOptions] = {
    "ridge": RidgeOptions(),
    "lda": LDAOptions(),
    "ncm": NearestMeanOptions(metric="cosine"),
    "ncm-euclidean": NearestMeanOptions(metric="euclidean"),
}


def head_options(head: str | HeadOptions) -> HeadOptions:
    """Return the options that a name stands for, or the options given."""
    if isinstance(head, HeadOptions):
        return head
    try:
        return HEADS[head]
    except KeyError:
        raise InputError(f"unknown head {head!r}", hint=f"one of: {', '.join(HEADS)}") from None


def build_head(
    options: HeadOptions, moments: Moments, *, scale: float, mean_square_norm: float
) -> Head:
    """Return the head over `moments`, whose features are q·`scale`."""
    if isinstance(options, RidgeOptions):
        return Ridge(moments, options, scale=scale, mean_square_norm=mean_square_norm)
    if isinstance(options, LDAOptions):
        return LDA(moments, options, scale=scale)
    return NearestMean(moments, options)
