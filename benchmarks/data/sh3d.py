"""The SH3D stream: 272 objects of 49 classes, filmed in eight sessions, 10,880 frames of 128 px.

From the Debian package `sweethome3d-furniture`: 3D models under CC-BY 3.0 or CC0 (credits: see
its `copyright`, and the catalogues inside). They are drawn by the renderer of `examples/data` in
front of generated backgrounds, so the frames may be passed on with credit to the creators. These
are not photographs.

Every object turns on a turntable, five frames in each session, and is seen from any side. The
sessions differ in background, light, height of the camera, blur and noise (`sh3d_sessions.py`).
The models (`sh3d_models.json`) were drawn by lot: up to six a class, none above 90,000
triangles. Frames of one clip are near-copies of each other: split by session or by object
(`protocols.py`), never by frame.

    python benchmarks/data/sh3d.py [--cache CACHE]     # builds the stream, says what is in it
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))  # for `data`, when this file is run
sys.path.append(str(Path(__file__).parents[2] / "examples" / "data"))  # one renderer for all
from clips import PICTURE_SIZE, film, load_furniture
from data.packages import default_cache, package_root
from data.sh3d_sessions import SESSIONS
from furniture import LIBRARIES, LIBRARY_FOLDER, read_catalogue

from edge_cl.arrays import I64, U8

PACKAGE = "sweethome3d-furniture"
MODELS: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("sh3d_models.json").read_text(encoding="utf-8")
)
"""Class name -> catalogue keys of its objects."""

FRAMES = 5
_VERSION = 1  # of the frames: to be raised with any change that alters them
_SEED = 3
_ALL_SIDES = np.pi  # radians from the front at which a clip may start


@dataclass(frozen=True, kw_only=True)
class Index:
    """What each of n frames shows, (n,) each.

    label : index of the class in `MODELS`.
    instance : index of the object, over all classes.
    number : of the object within its class.
    session : index in `SESSIONS`.
    frame : position in the clip.
    """

    label: I64
    instance: I64
    number: I64
    session: I64
    frame: I64


def index() -> Index:
    """Return what the frames show, in their order: object by object, session by session."""
    rows = [
        (label, number, session, frame)
        for label, keys in enumerate(MODELS.values())
        for number in range(len(keys))
        for session in range(len(SESSIONS))
        for frame in range(FRAMES)
    ]
    label, number, session, frame = np.array(rows, np.int64).T
    instance = np.repeat(np.arange(len(rows) // (len(SESSIONS) * FRAMES)), len(SESSIONS) * FRAMES)
    return Index(label=label, instance=instance, number=number, session=session, frame=frame)


def load_frames(cache: Path) -> U8:
    """Return all frames (n, 128, 128, 3), in the order of `index`.

    They are drawn once, in some ten minutes, and kept in the folder `cache`.
    """
    kept = cache / f"sh3d-{_VERSION}.npy"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        frames = np.stack(list(_draw(cache)))
        partial = kept.with_suffix(".partial.npy")
        np.save(partial, frames)
        partial.rename(kept)
    frames = np.load(kept, mmap_mode="r")
    expected = (len(index().label), PICTURE_SIZE, PICTURE_SIZE, 3)
    if frames.shape != expected:
        raise SystemExit(f"expected frames {expected} in {kept}, got {frames.shape}: remove it")
    return frames


def _draw(cache: Path) -> Iterator[U8]:
    member = LIBRARY_FOLDER / LIBRARIES[0].file_name
    catalogue = read_catalogue(package_root(PACKAGE, member, cache))
    start = time.perf_counter()
    for name, keys in MODELS.items():
        for key in keys:
            mesh = load_furniture(catalogue[key])
            for session in SESSIONS:
                clip = film(mesh, key, session, frames=FRAMES, seed=_SEED, yaw_limit=_ALL_SIDES)
                yield from map(np.asarray, clip)
        print(f"{name}: {len(keys)} objects, {time.perf_counter() - start:.0f} s", flush=True)


def main() -> int:
    """Draw the stream and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cache", type=Path, default=default_cache())
    frames, shown = load_frames(parser.parse_args().cache), index()
    print(
        f"{len(frames)} frames, {len(MODELS)} classes, {shown.instance.max() + 1} objects, "
        f"sessions: {', '.join(session.name for session in SESSIONS)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
