"""What is counted: run inside the emulator by `instructions.py`, which says how.

    instructions_guest.py INPUTS [BUNDLE]

INPUTS holds a picture, and vectors with classes. For each region a line with its name and by how
much its counts are to be divided goes to stdout; the plugin writes the counts in the same order.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

import numpy as np

from edge_cl import Learner, features_bundle, open_bundle
from edge_cl.encoders import load_encoder

MARK = 0x51AB00
LESSONS, PREDICTIONS = 256, 16  # so many rows wait before they enter G together
_BEFORE = 130


def main() -> None:
    """Count encoders first, then a head over vectors of the same length."""
    inputs = np.load(sys.argv[1])
    counted("nothing", 1, lambda: None)
    if len(sys.argv) > 2:
        encoders(inputs["picture"], sys.argv[2])
    head(inputs["x"], inputs["y"])


def counted(name: str, divisor: int, call: Callable[[], object]) -> None:
    """Count the instructions of a call."""
    mark(0)
    call()
    mark(1)
    print(name, divisor, flush=True)


def mark(which: int) -> None:
    with contextlib.suppress(OSError):  # EINVAL: there is no such policy
        os.sched_get_priority_max(MARK + which)


def encoders(picture: np.ndarray, path: str) -> None:
    """Encode one prepared picture by each encoder of a bundle, once warm."""
    bundle = open_bundle(path)
    for spec in bundle.manifest.encoders:
        encoder = load_encoder(bundle, spec, threads=1)
        batch = encoder.prepare(picture)[None]
        encoder.encode(batch)
        name = f"encode-{spec.runtime}-{spec.precision}"
        counted(name, 1, lambda e=encoder, b=batch: e.encode(b))


def head(x: np.ndarray, y: np.ndarray) -> None:
    """Learn and predict vectors with ridge, as a program that calls the learner does."""
    classes = int(y.max()) + 1
    learner = Learner.open(bundle=features_bundle(x[:200]), head="ridge")
    labels = [f"class {c}" for c in y]
    vectors = iter(zip(x, labels, strict=True))

    def learn(count: int) -> None:
        for _ in range(count):
            learner.learn(*next(vectors))

    def predict(count: int) -> None:
        for i in range(count):
            learner.predict(x[i])

    size = f"d{x.shape[1]}-k{classes}"
    learn(_BEFORE)
    predict(1)  # weights are solved, and followed from now on
    counted(f"learn-ridge-{size}", LESSONS, lambda: learn(LESSONS))
    counted(f"predict-ridge-{size}", PREDICTIONS, lambda: predict(PREDICTIONS))


main()
