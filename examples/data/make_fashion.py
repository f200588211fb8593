"""Make ``fashion.zip``: the first pictures of every class of Fashion-MNIST, as lossless PNG.

Members are ``train/<class>/<nnnnn>.png`` and ``test/<class>/<nnnnn>.png``, where nnnnn is the
position of the picture in the original file, and ``index.json``.
"""

import argparse
import io
import json
import sys
from pathlib import Path

import numpy as np
from fashion_mnist import CLASSES, Bytes, read_split
from PIL import Image
from stored_zip import write_stored_zip

PICTURES_PER_CLASS = {"train": 100, "test": 60}


def main() -> None:
    """Parse the command line and write the archive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fashion", type=Path, help="unpacked dataset-fashion-mnist")
    parser.add_argument("output", type=Path, help="folder for fashion.zip")
    arguments = parser.parse_args()

    arguments.output.mkdir(parents=True, exist_ok=True)
    members = {"index.json": describe()}
    for split, count in PICTURES_PER_CLASS.items():
        pictures, labels = read_split(arguments.fashion, split)
        for label, class_name in enumerate(CLASSES):
            for position in np.flatnonzero(labels == label)[:count]:
                name = f"{split}/{class_name}/{position:05d}.png"
                members[name] = encode_png(pictures[position])
    archive = arguments.output / "fashion.zip"
    write_stored_zip(archive, members)
    sys.stdout.write(
        f"{archive}: {len(members) - 1} pictures, {archive.stat().st_size / 1e6:.2f} MB\n"
    )


def encode_png(picture: Bytes) -> bytes:
    """Return a grey picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def describe() -> bytes:
    """Return ``index.json``."""
    index = {
        "format": 1,
        "made_by": "examples/data/make_fashion.py",
        "source": "Fashion-MNIST, https://github.com/zalandoresearch/fashion-mnist",
        "copyright": "2017 Zalando SE, https://tech.zalando.com",
        "licence": "MIT",
        "picture_size": 28,
        "classes": CLASSES,
        "pictures_per_class": PICTURES_PER_CLASS,
    }
    return (json.dumps(index, indent=1) + "\n").encode()


if __name__ == "__main__":
    main()
