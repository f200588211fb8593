"""What is learned of the SH3D stream, and what is asked afterwards.

A frame resembles the other frames of its clip so much that it must never be asked for when
these were learned. So whole sessions are held out, or whole objects:

| | asked for | learned | tested |
|---|---|---|---|
| B | the class, in two unseen sessions | sessions 0-5 | sessions 6-7 of the same objects |
| C | the class, of unseen objects | sessions 0-5 | the last object of each class, same sessions |
| E | the class, after the studio alone | session 0 | sessions 1-7 of the same objects |
| G | which of the 272 objects, in two unseen sessions | sessions 0-5 | sessions 6-7 |

B and C learn the same frames: in both, the last object of each class stays out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from data.sh3d import Index
from data.sh3d_sessions import SESSIONS

from edge_cl.arrays import I64

_FOLDS = 10


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which frames are learned and which are tested.

    learn, test : frame numbers.
    label : (n,) what is asked of each of all n frames.
    group : (n,) what hangs together when λ is chosen: a session, or a tenth of the objects.
    """

    learn: I64
    test: I64
    label: I64
    group: I64


def sh3d_splits(shown: Index) -> dict[str, Split]:
    """Return the protocols by their letters."""
    last = np.zeros(shown.label.max() + 1, np.int64)
    np.maximum.at(last, shown.label, shown.number)
    held_out = shown.number == last[shown.label]
    unseen = np.array([session.is_test for session in SESSIONS])[shown.session]
    studio = shown.session == 0
    # objects of one class have consecutive numbers: no two of them are in one fold
    fold = shown.instance % _FOLDS
    return {
        "B": _split(~unseen & ~held_out, unseen & ~held_out, shown.label, shown.session),
        "C": _split(~unseen & ~held_out, ~unseen & held_out, shown.label, fold),
        "E": _split(studio, ~studio, shown.label, fold),
        "G": _split(~unseen, unseen, shown.instance, shown.session),
    }


def _split(
    learn: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    test: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    label: I64,
    group: I64,
) -> Split:
    return Split(learn=np.flatnonzero(learn), test=np.flatnonzero(test), label=label, group=group)
