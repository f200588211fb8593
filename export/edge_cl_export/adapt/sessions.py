"""Which sessions the network adapts to, and which judge it: whole groups, every class on both.

A group (a session, a clip) is held out where its classes have pictures elsewhere, until a third
of the pictures of some of its classes would be gone; the first of a class always is. Groups are
visited in an order drawn by a seed. Where no group can be spared so, a group may be held out
whole although it holds all pictures of some class: nothing is asked of that class then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_cl.arrays import I64

__all__ = ["SHARE", "Sides", "sides"]

SHARE = 1 / 3  # of a class, to be held out


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Indices of pictures, ascending, no group on both sides.

    kept : what is learned from.
    held_out : pictures of classes that are kept too.
    """

    kept: I64
    held_out: I64


def sides(labels: I64, groups: I64, seed: int) -> Sides | None:
    """Return pictures of class `labels` (n,) and `groups` (n,) parted; None: too few groups.

    There are two classes at least on each side.
    """
    for sparing in (True, False):
        out = np.isin(groups, _held_out(labels, groups, np.random.default_rng(seed), sparing))
        kept = np.flatnonzero(~out)
        asked = np.flatnonzero(out & np.isin(labels, labels[kept]))
        if len(np.unique(labels[asked])) > 1:
            return Sides(kept=kept, held_out=asked)
    return None


def _held_out(labels: I64, groups: I64, rng: np.random.Generator, sparing: bool) -> list[int]:
    names, group = np.unique(groups, return_inverse=True)
    classes, label = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(names), len(classes)), np.int64)
    np.add.at(counts, (group, label), 1)
    total = counts.sum(axis=0)
    held = np.zeros(len(classes), np.int64)
    chosen = []
    for g in rng.permutation(len(names)):
        its = counts[g] > 0
        after = (held + counts[g])[its]
        few = (after <= SHARE * total[its]) | (held[its] == 0)
        left = after < total[its] if sparing else (held + counts[g] < total).sum() > 1
        if few.all() and np.all(left):
            held += counts[g]
            chosen.append(int(names[g]))
    return chosen
