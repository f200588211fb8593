"""Every head and preset on real streams: one pass, any order, equal to a fit to all at once.

    edge-cl export efficientnet-lite0 --format onnx-fp32 --out fp32.edgecl
    python benchmarks/streams.py --precisions fp32.edgecl

Fashion-MNIST (20,000 pictures learned, 10,000 asked) and four protocols of the SH3D stream
(`data/protocols.py`). The int8 features of the shipped encoder are learned one by one, class
after class and shuffled, with some questions on the way, and in one call; at the end the three
must answer alike. The fp32 features of the same network are learned in one call. One call is
shuffled too, for heads that depend on the order. Heads are those of `edge_cl.heads.HEADS`, and
all presets, with their defaults. Heads that are a function of n, Q and G alone go behind four
maps, the others, which take more memory or time, behind the identity only. Streams and features
are built once and kept in the cache. It writes results, tables and picture; it takes some
twenty minutes, and ten more to build streams and features.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from data.encoding import kept_features
from data.fashion import idx_folder, load_features
from data.packages import default_cache
from data.protocols import sh3d_splits
from data.sh3d import index, load_frames
from report import write_results, write_section
from stream_fits import Budget, Follower, Stream, taught
from stream_report import Row, draw, tables, title
from stream_ridge import choices
from threadpoolctl import threadpool_limits

from edge_cl.arrays import I64
from edge_cl.assets import shipped_bundle
from edge_cl.bundle import EmbeddingSpec, open_bundle
from edge_cl.encoders import Encoder, open_encoder
from edge_cl.features import FeatureMap, MapSpec, feature_map, map_named
from edge_cl.heads import HEADS, HeadOptions, KalmanOptions
from edge_cl.presets import PRESETS

RESULTS = Path(__file__).parent / "results" / "streams-x86-64.json"
PICTURE = Path(__file__).parent.parent / "docs" / "streams.png"
MAPS = ("identity", "l2", "power", "random-relu:2048")
BUDGET = Budget(seconds=300, gigabytes=2)  # a head, a stream and an order
VARIANTS: dict[str, HeadOptions] = {"kalman (γ=1)": KalmanOptions(forgetting=1.0)}
"""Heads beside those of `HEADS`: with γ learned, the order of a stream changes what is left."""

_LEARN = 20_000  # of Fashion-MNIST
_RIDGE_ON = ("SH3D B", "SH3D C")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A head behind a map. name : of the head or preset; preset : whether it is one."""

    name: str
    map: str
    spec: MapSpec
    options: HeadOptions
    preset: bool


def candidates(embedding: EmbeddingSpec) -> list[Candidate]:
    """Return all heads behind all maps, and the presets that are none of these."""
    found = [
        Candidate(name=name, map=text, spec=map_named(text), options=options, preset=False)
        for text in MAPS
        for name, options in (HEADS | VARIANTS).items()
        if text == MAPS[0] or _is_light(options)
    ]
    for name, preset in PRESETS.items():
        options = preset.head_for(embedding)
        if not any((c.spec, c.options) == (preset.map, options) for c in found):
            found.append(
                Candidate(name=name, map="", spec=preset.map, options=options, preset=True)
            )
    return found


def _is_light(options: HeadOptions) -> bool:
    """Say whether n, Q and G are all that a head asks for: such heads go behind every map."""
    return options.promise.from_moments and not options.promise.statistics


def streams(cache: Path, encoder: Encoder) -> Iterator[Stream]:
    """Yield all streams as an encoder sees them; protocols that learn the same are one."""
    fashion = load_features(idx_folder(cache), cache, learn=_LEARN, encoder=encoder)
    yield Stream(
        x=fashion.x,
        y=fashion.y,
        x_test=fashion.x_test,
        y_test=fashion.y_test,
        parts={"Fashion": slice(None)},
        groups={},
    )
    x, splits = kept_features(encoder, load_frames(cache), cache, "sh3d"), sh3d_splits(index())
    for letters in ("BC", "E", "G"):
        chosen = {f"SH3D {letter}": splits[letter] for letter in letters}
        first = chosen[f"SH3D {letters[0]}"]
        ends = np.cumsum([0] + [len(split.test) for split in chosen.values()]).tolist()
        test = np.concatenate([split.test for split in chosen.values()])
        yield Stream(
            x=x[first.learn],
            y=first.label[first.learn],
            x_test=x[test],
            y_test=first.label[test],
            parts={name: slice(*at) for name, at in zip(chosen, pairwise(ends), strict=True)},
            groups={name: split.group[split.learn] for name, split in chosen.items()},
        )


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cache", type=Path, default=default_cache(), help="default: %(default)s")
    parser.add_argument("--precisions", type=Path, help="a bundle with the fp32 ONNX encoder")
    parser.add_argument("--only", help="names that contain this; nothing is written")
    parser.add_argument("--ridge", action="store_true", help="measure λ anew, keep the rest")
    parser.add_argument("--redraw", action="store_true", help="measure nothing, use the results")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    kept: dict[str, Any] = {}
    if arguments.redraw or arguments.ridge:
        kept = json.loads(arguments.out.read_text(encoding="utf-8"))["results"]["streams"]
    if arguments.redraw:
        _show(kept)
        return 0
    with threadpool_limits(1):
        if arguments.ridge:
            shipped = open_bundle(shipped_bundle())
            int8 = list(streams(arguments.cache, open_encoder(shipped, runtime="onnx", threads=1)))
            results = kept | {"ridge": _ridge(int8, shipped.manifest.embedding)}
        else:
            results = _measure(arguments.cache, arguments.precisions, arguments.only)
    if arguments.only:
        return 0
    write_results(arguments.out, {"streams": results}, ["pillow"])
    _show(results)
    return 0


def _measure(cache: Path, precisions: Path | None, only: str | None) -> dict[str, Any]:
    shipped = open_bundle(shipped_bundle())
    embedding = shipped.manifest.embedding
    chosen = [c for c in candidates(embedding) if not only or only in c.name]
    start = time.perf_counter()
    int8 = list(streams(cache, open_encoder(shipped, runtime="onnx", threads=1)))
    fp32: list[Stream] = []
    if precisions:
        bundle = open_bundle(precisions)
        encoder = open_encoder(bundle, runtime="onnx", precision="fp32", threads=1)
        fp32 = list(streams(cache, encoder))
    seconds = {"features": round(time.perf_counter() - start, 1)}  # little, where they were kept
    rows: list[Row] = []
    for stream, precise in zip_longest(int8, fp32):
        start = time.perf_counter()
        for row in _rows(stream, precise, chosen, embedding):
            rows.append(row)
            answers = ", ".join(f"{how} {value:.4f}" for how, value in row.accuracy.items())
            called = f"{row.stream}, {title(row.head, row.map)}"
            print(f"{called}: {answers or row.not_run}; {row.seconds} s", flush=True)
        seconds[", ".join(stream.parts)] = round(time.perf_counter() - start, 1)
    start = time.perf_counter()
    ridge = {} if only else _ridge(int8, embedding)
    seconds["choices of λ"] = round(time.perf_counter() - start, 1)
    return {
        "budget": asdict(BUDGET),
        "seconds": seconds,
        "sizes": {
            name: [len(s.y), len(s.y_test[rows]), int(s.y.max()) + 1]
            for s in int8
            for name, rows in s.parts.items()
        },
        "rows": [asdict(row) for row in rows],
        "ridge": ridge,
    }


def _ridge(int8: list[Stream], embedding: EmbeddingSpec) -> dict[str, dict[str, dict[str, float]]]:
    return {
        f"{name}, {text}": {
            way: asdict(choice)
            for way, choice in choices(
                stream, name, feature_map(map_named(text), embedding)
            ).items()
        }
        for stream in int8
        for name in stream.parts
        for text in MAPS
        if name in _RIDGE_ON
    }


def _rows(
    int8: Stream,
    fp32: Stream | None,
    chosen: list[Candidate],
    embedding: EmbeddingSpec,
) -> Iterator[Row]:
    """Yield what all candidates answered to one stream; those behind one map go together."""
    for spec in dict.fromkeys(c.spec for c in chosen):
        behind = {title(c.name, c.map): c for c in chosen if c.spec == spec}
        heads = {key: c.options for key, c in behind.items()}
        to_grid = feature_map(spec, embedding)
        q, q_test = to_grid(int8.x), to_grid(int8.x_test)
        found: dict[str, dict[str, Follower]] = {}
        for order, rows in int8.orders().items():
            found[order] = taught(
                heads, q[rows], int8.y[rows], q_test, to_grid=to_grid, budget=BUDGET
            )
            heads = {key: o for key, o in heads.items() if not found[order][key].stopped}
        found["at once"] = _at_once(heads, int8, to_grid)
        if fp32:
            found["fp32"] = _at_once(heads, fp32, to_grid)
        for key, candidate in behind.items():
            mine = {how: followers[key] for how, followers in found.items() if key in followers}
            for name, asked in int8.parts.items():
                yield _row(name, candidate, int8.y_test[asked], asked, mine)


def _at_once(
    heads: dict[str, HeadOptions], stream: Stream, to_grid: FeatureMap
) -> dict[str, Follower]:
    rows = stream.orders()["shuffled"]
    q, q_test = to_grid(stream.x[rows]), to_grid(stream.x_test)
    y, whole = stream.y[rows], len(rows)
    return taught(heads, q, y, q_test, to_grid=to_grid, batch=whole, budget=BUDGET)


def _row(
    stream: str, candidate: Candidate, y_test: I64, asked: slice, mine: dict[str, Follower]
) -> Row:
    answered = {how: f.answers[asked] for how, f in mine.items() if not f.stopped}
    differing: dict[str, int] = {
        how: int((answered[how] != answered["at once"]).sum())
        for how in ("by class", "shuffled")
        if how in answered and "at once" in answered
    }
    return Row(
        stream=stream,
        head=candidate.name,
        map=candidate.map,
        preset=candidate.preset,
        from_moments=candidate.options.promise.from_moments,
        accuracy={how: round(float((a == y_test).mean()), 5) for how, a in answered.items()},
        differing=differing,
        seconds=round(mine["by class"].seconds, 2),
        not_run="; ".join(f"{how}: {f.stopped}" for how, f in mine.items() if f.stopped),
    )


def _show(results: dict[str, Any]) -> None:
    rows = [Row(**row) for row in results["rows"]]
    shown = tables(rows, results["ridge"], results["sizes"])
    write_section("streams", shown)
    draw(rows, results["sizes"], PICTURE)
    print(shown)


if __name__ == "__main__":
    sys.exit(main())
