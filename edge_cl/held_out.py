"""What heads answer on data that they have not learned, held out by group.

Pictures of one clip, session or thing are alike: a head that learned some of them knows the
others. So whole groups are held out. There are two folds; what lies in one is answered by heads
that learned the other, so that every sample is tested once.

Groups enter the folds one after the other, the largest first, each into the fold that so far
holds less of its classes: with m_fc samples of class c in fold f and g_c in the group, the fold
of the least

    Σ_c m_fc g_c                                                                          (1)

A sample whose class only its own fold holds is not tested. Where groups leave fewer than two
classes to test, or are not known, every other sample of a class is held out, and `by` says so.

The heads are those of a device, with their default regularisation, over features on the grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge_cl.arrays import F32, F64, I64
from edge_cl.bundle import EmbeddingSpec
from edge_cl.features import to_grid
from edge_cl.heads import build_head, head_options
from edge_cl.moments import Moments

__all__ = ["JUDGED", "UNTESTED", "Folds", "answers", "two_folds"]

JUDGED = ("ncm", "lda", "ridge")  # names as in `edge_cl.heads.HEADS`
UNTESTED = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """Which of two folds each sample is in, (n,) 0 or 1, and what was held out whole.

    tested : (n,) whether the other fold holds the sample's class.
    """

    of: I64
    tested: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    by: Literal["group", "picture"]


def two_folds(labels: I64, groups: I64 | None) -> Folds | None:
    """Return the folds of samples with class `labels` (n,); None where no two classes can be.

    groups : (n,) what is held out together, or None where that is not known.
    """
    if groups is not None:
        folds = _folds(labels, _by_group(labels, groups), "group")
        if len(np.unique(labels[folds.tested])) > 1:
            return folds
    folds = _folds(labels, _by_sample(labels), "picture")
    return folds if len(np.unique(labels[folds.tested])) > 1 else None


def answers(x: F32, labels: I64, folds: Folds, embedding: EmbeddingSpec) -> Mapping[str, I64]:
    """Return the class (n,) that each head of `JUDGED` gives to features `x` (n, d).

    embedding : grid and norm, as a device has them.  `UNTESTED` stands where `tested` is False.
    """
    q = to_grid(x, embedding.scale)
    found = {name: np.full(len(x), UNTESTED, np.int64) for name in JUDGED}
    for fold in (0, 1):
        learn, test = folds.of != fold, (folds.of == fold) & folds.tested
        if not test.any():
            continue
        classes = np.unique(labels[learn])
        moments = Moments(embedding.d)
        moments.grow(len(classes))
        moments.add(q[learn], np.searchsorted(classes, labels[learn]))
        for name in JUDGED:
            head = build_head(
                head_options(name),
                moments,
                scale=embedding.scale,
                mean_square_norm=embedding.mean_square_norm,
            )
            found[name][test] = classes[head.scores(q[test]).argmax(axis=1)]
    return found


def _folds(labels: I64, of: I64, by: Literal["group", "picture"]) -> Folds:
    tested = np.zeros(len(labels), np.bool_)
    for fold in (0, 1):
        tested |= (of == fold) & np.isin(labels, labels[of != fold])
    return Folds(of=of, tested=tested, by=by)


def _by_group(labels: I64, groups: I64) -> I64:
    names, group = np.unique(groups, return_inverse=True)
    classes, label = np.unique(labels, return_inverse=True)
    counts: F64 = np.zeros((len(names), len(classes)))
    np.add.at(counts, (group, label), 1)
    held = np.zeros((2, len(classes)))
    fold_of = np.zeros(len(names), np.int64)
    for g in np.argsort(-counts.sum(axis=1), kind="stable"):
        alike = held @ counts[g]  # (1)
        fold = int(np.lexsort((held.sum(axis=1), alike))[0])
        fold_of[g] = fold
        held[fold] += counts[g]
    found: I64 = fold_of[group]
    return found


def _by_sample(labels: I64) -> I64:
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[members] = np.arange(len(members))
    return rank % 2
