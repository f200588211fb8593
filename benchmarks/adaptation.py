"""First Session Adaptation: what the body gains on sessions, and on classes, it has not seen.

    python benchmarks/adaptation.py --out benchmarks/results/adaptation-x86-64.json
    python benchmarks/adaptation.py --sh3d CACHE ...      # the SH3D stream too

EfficientNet-Lite0 at the size of the pictures, adapted by film and by body to the household
pictures that ship: of their four sessions two train, one stops and one judges. Of SH3D it adapts
to every other class in the sessions 0 to 5; the sessions 6 and 7 are asked, of the classes that it
adapted to and of the others, which it met in no session: those a device is taught later.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from report import write_results
from torch import nn

from edge_cl import assets
from edge_cl.arrays import F32
from edge_cl.errors import FidelityError
from edge_cl_export.adapt import Adapted, Sides, adapt, gain
from edge_cl_export.graph.embedding import Embedding, embed
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.pictures.calibration import Pictures, open_pictures
from edge_cl_export.sources import open_source

BACKBONE = "efficientnet-lite0"
MODES = ("film", "body")
TAUGHT = 6  # sessions of SH3D that are learned
FRAMES = 6  # of a class in a session


def features(module: nn.Module, preparation: Preparation, pictures: Pictures) -> F32:
    embedding = Embedding(module, preparation).eval()
    return np.concatenate([embed(embedding, b) for b in pictures.batches(preparation.spec, 16)])


def sh3d(cache: Path) -> Pictures:
    """Return `FRAMES` frames of each class in each session, of as many objects as there are."""
    from data.sh3d import index, load_frames

    frames, shown = load_frames(cache), index()
    by_turn = np.lexsort((shown.number, shown.frame, shown.session, shown.label))
    clip = shown.label[by_turn] * 100 + shown.session[by_turn]
    first = np.searchsorted(clip, clip)  # where the frames of a class and session begin
    rows = by_turn[np.arange(len(clip)) - first < FRAMES]
    names = tuple(f"sh3d[{i}]" for i in rows)
    return Pictures(names, shown.label[rows], lambda i: frames[rows[i]], shown.session[rows])


def timed(
    module: nn.Module, preparation: Preparation, pictures: Pictures, mode: str, seed: int
) -> tuple[Adapted | None, dict[str, object]]:
    """Return what came of adapting, and a record of it."""
    wall, cpu = time.perf_counter(), time.process_time()
    record: dict[str, object] = {}
    adapted = None
    try:
        adapted = adapt(module, preparation, pictures, mode=mode, seed=seed)
        record.update(adapted.report)
        said = adapted.sentence
    except FidelityError as error:
        said = record["refused"] = str(error)
    record["seconds"] = round(time.perf_counter() - wall, 1)
    record["cpu_seconds"] = round(time.process_time() - cpu, 1)
    print(f"{mode}: {said} ({record['seconds']} s, {record['cpu_seconds']} s of CPU)", flush=True)
    return adapted, record


def measured_on_sh3d(
    module: nn.Module, preparation: Preparation, pictures: Pictures, seed: int
) -> dict[str, object]:
    label, session = np.asarray(pictures.labels), np.asarray(pictures.groups)
    known, taught = label % 2 == 0, session < TAUGHT
    before = features(module, preparation, pictures)
    found: dict[str, object] = {}
    for mode in MODES:
        chosen = pictures.pick(np.flatnonzero(known & taught))
        adapted, record = timed(module, preparation, chosen, mode, seed)
        if adapted is not None:
            after = features(adapted.module, preparation, pictures)
            for what, asked in (("classes adapted to", known), ("other classes", ~known)):
                parted = Sides(
                    kept=np.flatnonzero(asked & taught), held_out=np.flatnonzero(asked & ~taught)
                )
                judged = gain(before, after, label, parted)
                print(f"  {what}, two more sessions: {judged}", flush=True)
                record[what] = judged.report
        found[mode] = record
    return found


def main() -> None:
    """Measure, print, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sh3d", type=Path, metavar="CACHE", help="where its frames are kept")
    parser.add_argument("--size", type=int, default=128, help="of the network's input, in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the results here, as JSON")
    options = parser.parse_args()
    backbone = open_source(BACKBONE, size=(options.size, options.size))
    module, preparation = backbone.module, backbone.preparation
    results: dict[str, object] = {
        "backbone": BACKBONE,
        "size": options.size,
        "seed": options.seed,
        "threads": torch.get_num_threads(),
    }
    pictures = open_pictures(assets.household_pictures())
    results["household"] = {
        mode: timed(module, preparation, pictures, mode, options.seed)[1] for mode in MODES
    }
    if options.out:
        write_results(options.out, {"adaptation": results}, ["torch"])
    if options.sh3d:
        stream = sh3d(options.sh3d)
        results["sh3d"] = measured_on_sh3d(module, preparation, stream, options.seed)
    if options.out:
        write_results(options.out, {"adaptation": results}, ["torch"])


if __name__ == "__main__":
    main()
