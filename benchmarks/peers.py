"""Heads of edge-cl beside their peers, on the same real features, in one run.

    python benchmarks/peers.py FOLDER --cache CACHE

FOLDER holds the four idx files of Fashion-MNIST. The first 10,000 training pictures go through
the shipped encoder and are learned twice: in class-incremental order (Split Fashion-MNIST,
five groups of two classes) and shuffled; all test pictures are asked afterwards. Times are
taken in turn, one sample at a time, one BLAS thread. It writes results, table and picture;
it takes about ten minutes.

A peer with a free parameter is given the value that is best on the test pictures, which
flatters it; heads of edge-cl run with their defaults.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from data.fashion import Features, load_features
from peer_models import PeerModel, edge_heads, river_models, sklearn_models, transcribed
from peer_report import Row, draw, tables
from report import write_results, write_section
from threadpoolctl import threadpool_limits

from edge_cl.arrays import I64

RESULTS = Path(__file__).parent / "results" / "peers-x86-64.json"
PICTURE = Path(__file__).parent.parent / "docs" / "peers.png"
_LEARN = 10_000
_GROUPS = 5
_ROUNDS = 8
_A_ROUND = 24  # samples timed a model and round
_SLOW_S = 8.0  # a model that used up more is timed no further, after three lessons


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One row of the comparison.

    make : parameter -> a model that has learned nothing.
    by_row : its calls are slow, so its parameter is chosen on blocks; then it learns row by row.
    """

    name: str
    library: str
    make: dict[str, Callable[[], PeerModel]]
    test: int = 10_000
    by_row: bool = False


def peers(features: Features) -> list[Peer]:
    """Return all that are compared, on these features."""
    d, k = features.x.shape[1], features.classes
    square = float(np.square(features.x[:1000]).sum(axis=1).mean())
    unit = square**-0.5  # gradient steps need features of a known size
    rates = [("optimal", alpha) for alpha in (1e-7, 1e-6, 1e-5, 1e-4, 1e-3)]
    rates += [("constant", rate) for rate in (0.1, 1.0, 10.0)]
    steps = {f"{s} {v:g}": _sgd(k, unit, s, v) for s, v in rates}
    river = {f"rate {r:g}": _river(unit, r) for r in (1.0, 10.0)}
    ridges = {f"alpha {a:.3g}": _ridge(a) for a in (1.0, 0.1 * square, 0.3 * square)}
    sk, ours, rv, paper = "scikit-learn", "edge-cl", "River", "transcribed"
    return [
        Peer(name="ridge", library=ours, make={"": lambda: edge_heads.EdgeHead("ridge")}),
        Peer(name="LDA", library=ours, make={"": lambda: edge_heads.EdgeHead("lda")}),
        Peer(name="nearest mean", library=ours, make={"": lambda: edge_heads.EdgeHead("ncm")}),
        Peer(
            name="ridge, random-relu:2048",
            library=ours,
            make={"": lambda: edge_heads.EdgeHead("ridge", "random-relu:2048")},
        ),
        Peer(name="SGDClassifier", library=sk, make=steps, by_row=True),
        Peer(name="GaussianNB", library=sk, make={"": lambda: sklearn_models.naive_bayes(k)}),
        Peer(name="RidgeClassifier, refitted", library=sk, make=ridges),
        Peer(name="LDA svd, refitted", library=sk, make={"": lambda: sklearn_models.lda("svd")}),
        Peer(
            name="LDA lsqr + OAS, refitted",
            library=sk,
            make={"": lambda: sklearn_models.lda("lsqr")},
        ),
        Peer(name="LogisticRegression 1-vs-rest", library=rv, make=river),
        Peer(name="GaussianNB", library=rv, make={"": river_models.gaussian_nb}, test=1000),
        Peer(
            name="SLDA as published",
            library=paper,
            make={"": lambda: transcribed.PublishedSLDA(d, k)},
        ),
        Peer(
            name="RanPAC, M = 2048",
            library=paper,
            make={"": lambda: transcribed.RanPAC(d, k, width=2048)},
        ),
    ]


def _sgd(k: int, unit: float, schedule: str, value: float) -> Callable[[], PeerModel]:
    return lambda: sklearn_models.sgd(k, unit, schedule=schedule, value=value)


def _river(unit: float, rate: float) -> Callable[[], PeerModel]:
    return lambda: river_models.logistic(unit, rate=rate)


def _ridge(alpha: float) -> Callable[[], PeerModel]:
    return lambda: sklearn_models.ridge(alpha)


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path, nargs="?", help="the idx files of Fashion-MNIST")
    parser.add_argument("--cache", type=Path, help="where features are kept")
    parser.add_argument("--redraw", action="store_true", help="measure nothing, use the results")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", help="names that contain this; nothing is written")
    options = parser.parse_args()
    if options.redraw:
        kept = json.loads(options.out.read_text(encoding="utf-8"))["results"]["peers"]
        _show([Row(**row) for row in kept])
        return 0
    if not (options.folder and options.cache):
        parser.error("expected FOLDER and --cache, or --redraw")
    features = load_features(options.folder, options.cache, learn=_LEARN)
    chosen = [p for p in peers(features) if not options.only or options.only in p.name]
    with threadpool_limits(1):
        rows = compare(chosen, features)
    if options.only:
        return 0
    versions = ["scikit-learn", "scipy", "river"]
    write_results(options.out, {"peers": [asdict(row) for row in rows]}, versions)
    _show(rows)
    return 0


def _show(rows: list[Row]) -> None:
    write_section("peers", tables(rows))
    draw(rows, PICTURE)


def compare(chosen: list[Peer], features: Features) -> list[Row]:
    """Teach everyone in both orders, then time them in turn."""
    groups = np.array_split(np.arange(features.classes), _GROUPS)
    by_class = [np.flatnonzero(np.isin(features.y, group)) for group in groups]
    shuffle = [np.random.default_rng(0).permutation(len(features.y))]
    models: list[PeerModel] = []
    found: list[tuple[float, str, float, str]] = []
    for peer in chosen:
        start = time.perf_counter()
        incremental, incremental_with, _ = _best(peer, features, by_class)
        shuffled, shuffled_with, model = _best(peer, features, shuffle)
        models.append(model)
        found.append((incremental, incremental_with, shuffled, shuffled_with))
        spent = time.perf_counter() - start
        print(f"{peer.library} {peer.name}: {found[-1]} in {spent:.0f} s", flush=True)
    sizes = [model.held_bytes() for model in models]
    times = _in_turn(models, features)
    rows = []
    for peer, accuracy, size, taken in zip(chosen, found, sizes, times, strict=True):
        learn, fresh, again = (statistics.median(t) * 1e3 for t in zip(*taken, strict=True))
        rows.append(
            Row(
                name=peer.name,
                library=peer.library,
                incremental=accuracy[0],
                incremental_with=accuracy[1],
                shuffled=accuracy[2],
                shuffled_with=accuracy[3],
                learn_ms=learn,
                lesson_ms=learn + max(0.0, fresh - again),
                predict_ms=again,
                timed=len(taken),
                held_bytes=size,
                tested=peer.test,
            )
        )
        print(rows[-1], flush=True)
    return rows


def _best(peer: Peer, features: Features, parts: list[I64]) -> tuple[float, str, PeerModel]:
    """Return accuracy, parameter and model of the parameter that ends best."""
    results = []
    x_test, y_test = features.x_test[: peer.test], features.y_test[: peer.test]
    for parameter, make in peer.make.items():
        model = make()
        for part in parts:
            model.learn(features.x[part], features.y[part])
            model.end_group()
        results.append((float((model.predict(x_test) == y_test).mean()), parameter, model))
    best = max(results, key=lambda result: result[0])
    if not peer.by_row:
        return best
    model = peer.make[best[1]]()
    for row in np.concatenate(parts):
        model.learn(features.x[row : row + 1], features.y[row : row + 1])
    return float((model.predict(x_test) == y_test).mean()), best[1], model


def _in_turn(models: list[PeerModel], features: Features) -> list[list[tuple[float, float, float]]]:
    """Time lessons in blocks, model after model, round after round: drift touches all alike.

    Returns, a model and sample: seconds to learn, to predict next, to predict once more.
    """
    clock = time.perf_counter
    taken: list[list[tuple[float, float, float]]] = [[] for _ in models]
    spent = [0.0] * len(models)
    gc.collect()
    for turn in range(_ROUNDS):
        for m, model in enumerate(models):
            for i in range(turn * _A_ROUND, (turn + 1) * _A_ROUND):
                if spent[m] > _SLOW_S and len(taken[m]) >= 3:
                    break
                x, y = features.x_test[i : i + 1], features.y_test[i : i + 1]
                start = clock()
                model.learn(x, y)
                learned = clock()
                model.predict(x)
                first = clock()
                model.predict(x)
                second = clock()
                taken[m].append((learned - start, first - learned, second - first))
                spent[m] += second - start
    return taken


if __name__ == "__main__":
    sys.exit(main())
