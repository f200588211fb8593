"""Sums of groups of samples, for choosing λ by leaving groups out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike

from edge_cl.labels import Labels
from edge_cl.moments import Moments
from edge_cl.pipeline import Pipeline
from edge_cl.stopwatch import Stopwatch

Groups = Mapping[str, Iterable[tuple[ArrayLike, str]]]


def group_moments(pipeline: Pipeline, groups: Groups) -> dict[str, Moments]:
    """Return the moments of each group, class c the same class in all; nothing else is kept.

    Raises
    ------
    InputError : an input or a label is not acceptable.
    """
    names, sums = Labels(), {}
    for group, samples in groups.items():
        y: list[int] = []
        q = pipeline.grid(_inputs(samples, names, y), Stopwatch())
        sums[group] = Moments(pipeline.d)
        sums[group].add(q, np.array(y, np.int64))
    return sums


def _inputs(
    samples: Iterable[tuple[ArrayLike, str]], names: Labels, y: list[int]
) -> Iterator[ArrayLike]:
    for x, label in samples:
        y.append(names.index(label))
        yield x
