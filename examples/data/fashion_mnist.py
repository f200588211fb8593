"""Read Fashion-MNIST as the Debian package ``dataset-fashion-mnist`` ships it (IDX, gzip)."""

import gzip
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

DATA_FOLDER = Path("usr/share/datasets/fashion-mnist")
FILE_PREFIXES = {"train": "train", "test": "t10k"}
UNSIGNED_BYTE = 0x08

CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle-boot",
)
"""Names in the order of the label numbers."""


def read_split(package_root: Path, split: str) -> tuple[Bytes, Bytes]:
    """Read all pictures of one split.

    Parameters
    ----------
    package_root : folder into which the Debian package was unpacked.
    split : ``train`` or ``test``.

    Returns
    -------
    pictures : (n, 28, 28) uint8, white on black.
    labels : (n,) uint8, index into `CLASSES`.
    """
    stem = package_root / DATA_FOLDER / FILE_PREFIXES[split]
    pictures = read_idx(stem.with_name(f"{stem.name}-images-idx3-ubyte.gz"))
    labels = read_idx(stem.with_name(f"{stem.name}-labels-idx1-ubyte.gz"))
    return pictures, labels


def read_idx(path: Path) -> Bytes:
    """Read one IDX file of unsigned bytes, packed if its name ends in ``.gz``."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    zero, element_type, dimensions = struct.unpack_from(">HBB", data)
    if zero != 0 or element_type != UNSIGNED_BYTE:
        raise ValueError(f"expected an IDX file of unsigned bytes, got another header in {path}")
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
