"""Which of several settings is the fastest, when the machine that measures them is not quiet.

Settings take turns: round i times a few pictures with each of them, in an order that is drawn
anew, and keeps the median, t_s(i). A drift of the machine touches all settings of a round alike,
so settings are compared by their quotient within rounds,

    r_s(i) = t_s(i) / t_b(i),        ratio_s = median of r_s(i),                              (1)

b being the baseline. Its standard error, for n rounds, from the median absolute deviation:

    e_s = 1.2533 · 1.4826 · MAD(r_s) / √n                                                     (2)

The winner. Only what is surely not slower than the baseline can be taken, and the baseline,

    ratio_s + 2 e_s <= 1.                                                                     (3)

L is the one of least ratio among these. Others are as fast as far as anyone can tell when

    ratio_s <= ratio_L + m,    m = 2 √(e_s² + e_L²), but within 0.02 .. 0.10 of ratio_L,      (4)

and of these the one that burdens the machine least is taken.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from statistics import median
from typing import TypeVar

__all__ = ["Standing", "rounds", "standings", "winner"]

S = TypeVar("S", bound=Hashable)
_EQUAL = (0.02, 0.10)  # of the leader's ratio: nobody notices; somebody does, however noisy
_LEAST = 3  # rounds


class Standing:
    """How a setting did: its ratio to the baseline (1), and the standard error of that (2)."""

    def __init__(self, quotients: Sequence[float]) -> None:
        self.ratio = median(quotients)
        spread = median(abs(r - self.ratio) for r in quotients)
        self.error: float = 1.2533 * 1.4826 * spread / len(quotients) ** 0.5  # (2)


def rounds(
    timed: Mapping[S, Callable[[], float]],
    *,
    seconds: float,
    clock: Callable[[], float],
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[S, list[float]]:
    """Return the times of every setting, round by round, until `seconds` are over.

    Parameters
    ----------
    timed : setting -> what times it once.
    clock : seconds; three rounds are made, however long they take.
    """
    order = list(timed)
    draw = random.Random(seed)
    found: dict[S, list[float]] = {setting: [] for setting in order}
    began, done = clock(), 0
    while done < _LEAST or clock() - began < seconds:
        draw.shuffle(order)
        for setting in order:
            found[setting].append(timed[setting]())
        done += 1
        progress(min(1.0, max(done / _LEAST / 10, (clock() - began) / max(seconds, 1e-9))))
    return found


def standings(times: Mapping[S, Sequence[float]], baseline: S) -> dict[S, Standing]:
    """Return how each setting did against the baseline, the baseline with ratio 1 among them."""
    return {
        setting: Standing([t / b for t, b in zip(own, times[baseline], strict=True)])  # (1)
        for setting, own in times.items()
    }


def winner(found: Mapping[S, Standing], baseline: S, burden: Callable[[S], tuple[float, ...]]) -> S:
    """Return the setting to take; `burden`: the less the better, among those equally fast."""
    sure = {s: one for s, one in found.items() if s == baseline or one.ratio + 2 * one.error <= 1}
    best = min(sure.values(), key=lambda one: one.ratio)  # among (3)
    equal = [s for s, one in sure.items() if one.ratio <= best.ratio + _margin(one, best)]  # (4)
    return min(equal, key=lambda s: (burden(s), found[s].ratio))


def _margin(one: Standing, best: Standing) -> float:
    least, most = (share * best.ratio for share in _EQUAL)
    apart = 2 * math.hypot(one.error, best.error)
    return min(max(apart, least), most)  # (4)
