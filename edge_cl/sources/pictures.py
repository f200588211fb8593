"""Pictures in files: one, a list, or a folder with a folder for each class."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_cl.arrays import U8
from edge_cl.errors import SourceError
from edge_cl.sources.sample import Item, Sample, Unusable

__all__ = ["PICTURE_SUFFIXES", "PictureFiles", "picture_folder", "read_picture"]

PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
)
MAX_PIXELS = 1 << 26  # 64 megapixels: 200 MB once decoded


def read_picture(path: Path) -> U8:
    """Decode a picture: RGB, uint8 (height, width, 3), turned as its EXIF tag says.

    What is transparent is laid over white. Sixteen-bit grey keeps its upper eight bits. Of an
    animation the first frame is taken.

    Raises
    ------
    SourceError : missing, empty, cut short, not a picture, or larger than 64 megapixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with path.open("rb") as stream:
                if not stream.read(1):
                    raise SourceError(f"{path} is empty")
                stream.seek(0)
                with Image.open(stream) as picture:
                    width, height = picture.size
                    if width * height > MAX_PIXELS:
                        raise SourceError(
                            f"{path} has {width} x {height} pixels, expected at most {MAX_PIXELS}",
                            hint="make it smaller first",
                        )
                    return _rgb(ImageOps.exif_transpose(picture), path)
    except SourceError:
        raise
    except UnidentifiedImageError as error:
        raise SourceError(f"{path} is not a picture") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise SourceError(
            f"{path} has more than {MAX_PIXELS} pixels", hint="make it smaller first"
        ) from error
    except Exception as error:  # Pillow raises many kinds on damaged files
        if isinstance(error, OSError) and error.strerror:
            raise SourceError(f"cannot read {path}: {error.strerror}") from error
        first = str(error).partition("\n")[0] or type(error).__name__
        raise SourceError(f"{path} is a damaged picture: {first}") from error


def picture_folder(folder: Path, *, shuffle: int | None = None) -> PictureFiles:
    """Return the pictures of `folder`, sorted by path, or drawn in an order by seed `shuffle`.

    The label of a picture is the folder below `folder` that it lies in, however deep; one
    that lies directly in `folder` has none. Hidden files are passed over; a file whose name
    does not end like a picture's is reported as a stray.

    Raises
    ------
    SourceError : the folder cannot be read, or there is no picture in it.
    """
    entries = []
    strays = []
    for path in _walk(folder, frozenset()):
        inside = path.relative_to(folder)
        if path.suffix.lower() in PICTURE_SUFFIXES:
            entries.append(Entry(path, inside.parts[0] if len(inside.parts) > 1 else None))
        else:
            strays.append(path)
    if not entries:
        raise SourceError(
            f"{folder} holds no pictures",
            hint="expected picture files, or a folder of them for each class",
        )
    if shuffle is not None:
        random.Random(shuffle).shuffle(entries)
    return PictureFiles(entries, strays)


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture that is still in its file."""

    path: Path
    label: str | None = None


class PictureFiles:
    """A list of picture files, each decoded when its turn comes. See `Source`."""

    live = False
    dropped = 0

    def __init__(self, entries: list[Entry], strays: list[Path] | None = None) -> None:
        self.entries = entries
        self._strays = strays or []

    @property
    def total(self) -> int:
        """Items that will come."""
        return len(self.entries) + len(self._strays)

    def __iter__(self) -> Iterator[Item]:
        """Hand out what there is; strays first."""
        for path in self._strays:
            error = SourceError(f"{path} is not a picture, left out")
            yield Unusable(name=str(path), error=error, stray=True)
        for entry in self.entries:
            name = str(entry.path)
            try:
                yield Sample(x=read_picture(entry.path), label=entry.label, name=name)
            except SourceError as error:
                yield Unusable(name=name, error=error)


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    """Yield the files below `folder`, sorted, through links, but in no circle."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        with os.scandir(folder) as scan:
            found = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        raise SourceError(f"cannot read {folder}: {error.strerror}") from error
    for entry in found:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(folder / entry.name, above | {real})
        else:
            yield folder / entry.name


def _rgb(picture: Any, path: Path) -> U8:
    from PIL import Image

    if picture.mode.startswith("I;16"):
        grey: U8 = (np.asarray(picture) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if picture.mode in ("I", "F"):
        raise SourceError(
            f"{path} has pixels of 32 bits, expected 8 or 16", hint="convert it to 8 bits first"
        )
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        over = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
    return np.asarray(picture.convert("RGB"))
