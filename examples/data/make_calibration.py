"""Make pictures on which an int8 encoder is calibrated; none of them is in the demo.

Models that the demo does not show, one picture each, in the sessions that the demo learns from;
and, if asked for, training pictures of Fashion-MNIST that the demo does not use.
"""

import argparse
import zlib
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from pathlib import Path

from clips import encode_jpeg, film, load_furniture
from fashion_mnist import CLASSES, read_split
from furniture import Furniture, read_catalogue
from household_models import HOUSEHOLD_MODELS
from PIL import Image
from scenery import SESSIONS

SEED = 2
FASHION_START = 30_000
"""First training picture that may be used; the demo takes its pictures from the beginning."""

FASHION_SIZE = 224


def main() -> None:
    """Parse the command line and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("furniture", type=Path, help="unpacked sweethome3d-furniture")
    parser.add_argument("output", type=Path, help="folder for the pictures")
    parser.add_argument("--count", type=int, default=500, help="pictures of furniture")
    parser.add_argument("--fashion", type=Path, help="unpacked dataset-fashion-mnist")
    parser.add_argument("--fashion-count", type=int, default=100, help="pictures of clothes")
    arguments = parser.parse_args()

    arguments.output.mkdir(parents=True, exist_ok=True)
    chosen = choose_models(read_catalogue(arguments.furniture))
    with ProcessPoolExecutor() as pool:
        for name, picture in pool.map(picture_model, chosen[: arguments.count]):
            (arguments.output / name).write_bytes(picture)
    if arguments.fashion:
        write_fashion(arguments.fashion, arguments.output, arguments.fashion_count)


def choose_models(catalogue: dict[str, Furniture]) -> list[Furniture]:
    """Return the models that the demo does not show, in a mixed order that never changes."""
    shown = set(chain.from_iterable(HOUSEHOLD_MODELS.values()))
    mixed = sorted(catalogue, key=lambda key: zlib.crc32(f"{SEED} {key}".encode()))
    return [catalogue[key] for key in mixed if key not in shown]


def picture_model(furniture: Furniture) -> tuple[str, bytes]:
    """Return file name and JPEG of one model."""
    digest = zlib.crc32(furniture.key.encode())
    mesh = load_furniture(furniture)
    lessons = [session for session in SESSIONS if not session.is_test]
    session = lessons[digest % len(lessons)]
    (picture,) = film(mesh, furniture.key, session, frames=1, seed=SEED)
    words = "".join(c if c.isalnum() and c.isascii() else " " for c in furniture.name.lower())
    return f"{'-'.join(words.split())}-{digest:08x}-{session.name}.jpg", encode_jpeg(picture)


def write_fashion(package_root: Path, output: Path, count: int) -> None:
    """Write training pictures of Fashion-MNIST, enlarged, as RGB."""
    pictures, labels = read_split(package_root, "train")
    for index in range(FASHION_START, FASHION_START + count):
        picture = Image.fromarray(pictures[index])
        picture = picture.resize((FASHION_SIZE, FASHION_SIZE), Image.Resampling.BICUBIC)
        name = f"fashion-{CLASSES[labels[index]]}-{index:05d}.png"
        picture.convert("RGB").save(output / name)


if __name__ == "__main__":
    main()
