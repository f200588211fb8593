"""Groups of samples as grid features, for choosing λ by leaving groups out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike

from edge_cl.arrays import I16, I64
from edge_cl.labels import Labels
from edge_cl.pipeline import Pipeline
from edge_cl.stopwatch import Stopwatch

Groups = Mapping[str, Iterable[tuple[ArrayLike, str]]]


def group_features(pipeline: Pipeline, groups: Groups) -> dict[str, tuple[I16, I64]]:
    """Return grid features (n, d) and class indices (n,) of each group; class c is one in all.

    Raises
    ------
    InputError : an input or a label is not acceptable.
    """
    names, found = Labels(), {}
    for group, samples in groups.items():
        y: list[int] = []
        q = pipeline.grid(_inputs(samples, names, y), Stopwatch())
        found[group] = q, np.array(y, np.int64)
    return found


def _inputs(
    samples: Iterable[tuple[ArrayLike, str]], names: Labels, y: list[int]
) -> Iterator[ArrayLike]:
    for x, label in samples:
        y.append(names.index(label))
        yield x
