"""Which pictures are calibrated on and which are judged on: whole groups, class by class.

Of the groups of each class, drawn in an order by a seed, a share goes to calibration: as much
as calibration takes of all pictures that are used, at least one group, and never all. Groups
of several classes, and those that are the only one of their class, are drawn from together.
From each side pictures are then taken in turn, class after class and within it group after
group, until there are enough: few pictures of each group are worth more than many of one.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edge_cl.arrays import I64

__all__ = ["split_by_group"]


def split_by_group(
    labels: I64 | None,
    groups: I64,
    calibration: int,
    validation: int,
    fewest: int,
    rng: np.random.Generator,
) -> tuple[list[int], list[int]] | None:
    """Return disjoint indices to calibrate and to validate on, no group on both sides.

    None if there are too few groups: one side would have less than `fewest` pictures, or the
    validation pictures one class only though there are more.

    Parameters
    ----------
    labels : (n,) class index, or None.
    groups : (n,) group index.
    calibration, validation : at most so many pictures.
    """
    n = len(groups)
    classes = np.zeros(n, dtype=np.int64) if labels is None else labels
    first = min(calibration, n // 2)
    share = first / min(n, first + validation)
    chosen = _chosen_groups(classes, groups, share, rng)
    inside = np.isin(groups, chosen)
    calibrated = _in_turn(np.flatnonzero(inside), classes, groups, calibration, rng)
    judged = _in_turn(np.flatnonzero(~inside), classes, groups, validation, rng)
    if min(len(calibrated), len(judged)) < fewest:
        return None
    if len(np.unique(classes[judged])) == 1 < len(np.unique(classes)):
        return None
    return calibrated, judged


def _chosen_groups(classes: I64, groups: I64, share: float, rng: np.random.Generator) -> list[int]:
    """Return the groups to calibrate on."""
    pairs = np.unique(np.stack([groups, classes], axis=1), axis=0)  # each group's classes
    groups_with, times = np.unique(pairs[:, 0], return_counts=True)
    single = dict(zip(groups_with.tolist(), (times == 1).tolist(), strict=True))
    strata: dict[int, list[int]] = {}
    for group, label in pairs.tolist():
        if single[group]:
            strata.setdefault(label, []).append(group)
    together = [group for group, alone in single.items() if not alone]
    together += [members[0] for members in strata.values() if len(members) == 1]
    chosen: list[int] = []
    for members in [*(m for m in strata.values() if len(m) > 1), together]:
        if len(members) > 1:
            count = max(1, round(share * len(members)))  # share <= 1/2: never all of them
            chosen += rng.permutation(members)[:count].tolist()
    return chosen


def _in_turn(
    members: I64, classes: I64, groups: I64, most: int, rng: np.random.Generator
) -> list[int]:
    """Return at most `most` of `members`, from every class and every group in turn."""
    order = rng.permutation(members)
    turn = _rank(zip(classes[order].tolist(), groups[order].tolist(), strict=True))
    order = order[np.argsort(turn, kind="stable")]  # a picture of each group, then a second
    turn = _rank((label,) for label in classes[order].tolist())
    order = order[np.argsort(turn, kind="stable")]  # one of each class, then a second
    return [int(i) for i in order[:most]]


def _rank(keys: Iterable[tuple[int, ...]]) -> list[int]:
    """Return of each key how many equal ones came before it."""
    seen: dict[tuple[int, ...], int] = {}
    ranks = []
    for key in keys:
        ranks.append(seen.get(key, 0))
        seen[key] = ranks[-1] + 1
    return ranks
