"""Three sessions learned, a fourth tested: λ by default, GCV and group; LDA; presets.

    python benchmarks/sessions.py --out benchmarks/results/sessions-x86-64.json

The household pictures that ship with edge-cl, through the shipped encoder: the tables of
docs/concepts/heads.md and docs/decisions/0004. λ is given in units of E‖x‖².
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edge_cl.arrays import F32, I64
from edge_cl.assets import shipped_bundle
from edge_cl.bundle import EmbeddingSpec, open_bundle
from edge_cl.demo.pictures import household, unpack_household
from edge_cl.device import describe_machine
from edge_cl.encoders import open_encoder
from edge_cl.features import FeatureMap, feature_map, map_named
from edge_cl.heads import HeadOptions, LDAOptions, RidgeOptions, build_head
from edge_cl.heads.gcv import choose_ridge
from edge_cl.heads.group_choice import choose_ridge_by_group
from edge_cl.moments import Moments
from edge_cl.presets import PRESETS
from edge_cl.sources.pictures import read_picture

MAPS = ("identity", "l2", "power", "random-relu:2048")
LDAS = {
    "within, OAS": LDAOptions(),
    "within, shrinkage 0.1": LDAOptions(shrinkage=0.1),
    "within, shrinkage 0.5": LDAOptions(shrinkage=0.5),
    "total, OAS": LDAOptions(covariance="total"),
    "total, + I": LDAOptions(covariance="total", shrinkage=1e-6, absolute=1.0),
}


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """Features (n, d) with class indices and sessions (n,); `tested` is the held-out one."""

    embedding: EmbeddingSpec
    x: F32
    y: I64
    session: np.ndarray
    tested: str

    def moments(self, to_grid: FeatureMap, rows: np.ndarray) -> Moments:
        """Return the sums over some rows."""
        moments = Moments(to_grid.d)
        moments.grow(int(self.y.max()) + 1)
        moments.add(to_grid(self.x[rows]), self.y[rows])
        return moments

    def accuracy(self, to_grid: FeatureMap, options: HeadOptions) -> float:
        """Learn all sessions but the tested one with a head, and test on that."""
        test = self.session == self.tested
        head = build_head(
            options,
            self.moments(to_grid, ~test),
            scale=to_grid.scale,
            mean_square_norm=to_grid.mean_square_norm,
        )
        return float((head.scores(to_grid(self.x[test])).argmax(1) == self.y[test]).mean())


def load(folder: Path) -> Sessions:
    """Encode the pictures that ship; `folder` is for unpacking them."""
    unpack_household(folder)
    bundle = open_bundle(shipped_bundle())
    encoder = open_encoder(bundle)
    files = sorted(folder.glob("*/*/*.jpg"))
    classes = household(limit=1).classes
    x = [encoder.encode(encoder.prepare(read_picture(file))[None])[0] for file in files]
    return Sessions(
        embedding=bundle.manifest.embedding,
        x=np.stack(x),
        y=np.array([classes.index(file.parent.name) for file in files], np.int64),
        session=np.array([file.parent.parent.name for file in files]),
        tested="evening",
    )


def choices_of_ridge(data: Sessions) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Yield, for each map, how λ was chosen -> [λ in units of E‖x‖², accuracy]."""
    for name in MAPS:
        to_grid = feature_map(map_named(name), data.embedding)
        unit = to_grid.mean_square_norm
        known = {"scale": to_grid.scale, "mean_square_norm": unit}
        taught = data.session != data.tested
        groups = {
            str(group): (to_grid(data.x[data.session == group]), data.y[data.session == group])
            for group in np.unique(data.session[taught])
        }
        by_group = choose_ridge_by_group(groups, **known)
        chosen = {
            "default": 0.3 * unit,
            "gcv": choose_ridge(data.moments(to_grid, taught), **known).ridge,
            "by group": by_group.ridge,
        }
        found = {
            how: [value / unit, data.accuracy(to_grid, RidgeOptions(ridge=value))]
            for how, value in chosen.items()
        }
        sweep = [
            [float(c) / unit, data.accuracy(to_grid, RidgeOptions(ridge=float(c)))]
            for c in by_group.candidates
        ]
        found["best for the tested session"] = max(sweep, key=lambda pair: pair[1])
        yield name, found


def main() -> None:
    """Measure, print, and write what was found."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, help="write the results here, as JSON")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        data = load(Path(folder))
    identity = feature_map(map_named("identity"), data.embedding)
    results = {
        "ridge": dict(choices_of_ridge(data)),
        "lda": {name: data.accuracy(identity, options) for name, options in LDAS.items()},
        "presets": {
            name: data.accuracy(
                feature_map(preset.map, data.embedding), preset.head_for(data.embedding)
            )
            for name, preset in PRESETS.items()
        },
    }
    text = json.dumps(results, indent=2)
    print(text)
    if out:
        document = {"machine": asdict(describe_machine()), "results": results}
        out.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
