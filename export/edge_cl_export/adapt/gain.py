"""What adapting gained: heads on the features of before and of after, asked on unseen sessions.

The heads of a device (nearest mean, LDA, ridge; `edge_cl.held_out`) learn the sessions that the
network adapted to, and are asked for those that it did not. Of n pictures let b be right before
only, and c after only:

    gain   (c - b) / n                                                                    (1)
    noise  2 √(b + c + 1) / n                                                             (2)

(2) is that of `fidelity`: two standard errors. It takes pictures to be independent. Those of one
session are not, so a gain just above it is less sure than it looks.

Which head a device uses is open, so what counts is the best one before against the best one
after: adapting often lifts the nearest mean to what LDA reaches without it, which is no gain.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from edge_cl.arrays import F32, I64
from edge_cl.held_out import JUDGED, Folds, answers
from edge_cl_export.adapt.sessions import Sides
from edge_cl_export.write import embedding_spec

__all__ = ["Gain", "HeadGain", "gain"]

NAMES = {"ncm": "nearest_mean", "lda": "lda", "ridge": "ridge"}
SPOKEN = {"ncm": "nearest mean", "lda": "LDA", "ridge": "ridge"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadGain:
    """Accuracy of one head with the features of before and of after.

    noise : (2).
    """

    before: float
    after: float
    noise: float

    @property
    def gain(self) -> float:
        """(1)."""
        return round(self.after - self.before, 4)

    @property
    def report(self) -> dict[str, object]:
        """Plain data."""
        return {**asdict(self), "gain": self.gain}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What adapting gained on `asked` pictures.

    heads : by the names of `edge_cl.held_out.JUDGED`.
    best : of the best head before and the best after, which may be two.
    best_before, best_after : their names.
    """

    asked: int
    heads: dict[str, HeadGain]
    best: HeadGain
    best_before: str
    best_after: str

    @property
    def lost(self) -> bool:
        """Whether the best head answers worse than before."""
        return self.best.gain < 0.0

    @property
    def sure(self) -> bool:
        """Whether the gain is more than chance explains."""
        return self.best.gain > self.best.noise

    @property
    def report(self) -> dict[str, object]:
        """Plain data."""
        return {
            "tested": self.asked,
            "best": {
                **self.best.report,
                "head_before": NAMES[self.best_before],
                "head_after": NAMES[self.best_after],
                "beyond_chance": self.sure,
            },
            **{NAMES[name]: head.report for name, head in self.heads.items()},
        }

    def __str__(self) -> str:
        """Say it in one line, in percent."""
        best = self.best
        return (
            f"{100 * best.after:.1f} % right ({SPOKEN[self.best_after]}), before "
            f"{100 * best.before:.1f} % ({SPOKEN[self.best_before]}): "
            f"{100 * best.gain:+.1f} points, chance explains {100 * best.noise:.1f}"
        )


def gain(before: F32, after: F32, labels: I64, parted: Sides) -> Gain:
    """Return what heads gain from features `before` (n, d) to `after` (n, d').

    Parameters
    ----------
    parted : heads learn `kept`, and are asked for `held_out`.
    """
    of = np.zeros(len(labels), np.int64)
    tested = np.zeros(len(labels), np.bool_)
    of[parted.held_out], tested[parted.held_out] = 1, True
    rows = np.sort(np.concatenate([parted.kept, parted.held_out]))
    folds = Folds(of=of[rows], tested=tested[rows], by="group")
    truth, at = labels[rows], tested[rows]
    right = []
    for x in (before[rows], after[rows]):
        given = answers(x, truth, folds, embedding_spec(x))
        right.append({name: (given[name] == truth)[at] for name in JUDGED})
    old, new = right
    heads = {name: _compared(old[name], new[name]) for name in JUDGED}
    best_old, best_new = (max(JUDGED, key=lambda name: side[name].mean()) for side in right)
    return Gain(
        asked=int(at.sum()),
        heads=heads,
        best=_compared(old[best_old], new[best_new]),
        best_before=best_old,
        best_after=best_new,
    )


def _compared(old: np.ndarray, new: np.ndarray) -> HeadGain:
    n = len(old)
    differ = int((old != new).sum())  # b + c
    return HeadGain(
        before=round(float(old.mean()), 4),
        after=round(float(new.mean()), 4),
        noise=round(2.0 * math.sqrt(differ + 1) / n, 4),  # (2)
    )
