"""Pictures through an encoder, once; features are kept in a cache."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from edge_cl.arrays import F32, U8
from edge_cl.encoders import Encoder


def encoded(encoder: Encoder, pictures: Iterable[U8]) -> F32:
    """Return the features (n, d) of uint8 RGB pictures (height, width, 3), one after another."""
    return np.stack([encoder.encode(encoder.prepare(picture)[None])[0] for picture in pictures])


def kept_features(encoder: Encoder, pictures: Iterable[U8], cache: Path, name: str) -> F32:
    """Return the features of pictures that `name` stands for, from the folder `cache` if there.

    The digest of the network is part of the file's name: another encoder has other features.
    """
    kept = cache / f"{name}-{encoder.sha256[:12]}.npz"
    if not kept.exists():
        start = time.perf_counter()
        x = encoded(encoder, pictures)
        cache.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial.npz")
        np.savez(partial, x=x)
        partial.rename(kept)
        print(f"{name}: {len(x)} pictures encoded in {time.perf_counter() - start:.0f} s")
    with np.load(kept) as held:
        x = held["x"]
    return np.asarray(x, np.float32)
