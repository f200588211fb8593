"""Fashion-MNIST as the shipped encoder sees it: idx files in, features out, kept in a cache.

The pictures (Xiao, Rasul, Vollgraf 2017; MIT licence) are 28 x 28 grey; they are enlarged to
224 x 224 (bicubic), grey becomes RGB, and the encoder runs once a picture.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_cl.arrays import F32, I64, U8
from edge_cl.assets import shipped_bundle
from edge_cl.bundle import open_bundle
from edge_cl.encoders import Encoder, open_encoder

_SIDE = 224


@dataclass(frozen=True, kw_only=True)
class Features:
    """x : (n, d) float32 features, y : (n,) class index; for learning and for testing."""

    x: F32
    y: I64
    x_test: F32
    y_test: I64

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.y.max()) + 1


def load_features(folder: Path, cache: Path, *, learn: int) -> Features:
    """Return features of the first `learn` training pictures and of all test pictures.

    What was computed before with the same encoder file is taken from the folder `cache`.
    """
    bundle = open_bundle(shipped_bundle())
    kept = cache / f"fashion-{learn}-{bundle.sha256[:12]}.npz"
    if not kept.exists():
        encoder = open_encoder(bundle, threads=2)
        x = encode_grey(encoder, read_idx(folder, "train-images-idx3-ubyte")[:learn])
        x_test = encode_grey(encoder, read_idx(folder, "t10k-images-idx3-ubyte"))
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(
            kept,
            x=x,
            y=read_idx(folder, "train-labels-idx1-ubyte")[:learn].astype(np.int64),
            x_test=x_test,
            y_test=read_idx(folder, "t10k-labels-idx1-ubyte").astype(np.int64),
        )
    with np.load(kept) as held:
        return Features(x=held["x"], y=held["y"], x_test=held["x_test"], y_test=held["y_test"])


def read_idx(folder: Path, name: str) -> U8:
    """Read an idx file, packed or not."""
    plain, packed = folder / name, folder / f"{name}.gz"
    data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3])]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def encode_grey(encoder: Encoder, pictures: U8) -> F32:
    """Return the features (n, d) of grey pictures (n, 28, 28)."""
    from PIL import Image

    rows = []
    for picture in pictures:
        large = Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        rgb = np.repeat(np.asarray(large)[:, :, None], 3, axis=2)
        rows.append(encoder.encode(encoder.prepare(rgb)[None])[0])
    return np.stack(rows)
