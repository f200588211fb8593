"""The pictures that ship: household objects in four sessions, and a slice of Fashion-MNIST."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edge_cl.arrays import U8
from edge_cl.assets import fashion_pictures, household_pictures
from edge_cl.errors import StorageError

__all__ = ["LabelledPictures", "PictureSet", "fashion", "household", "unpack_household"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPictures:
    """Pictures (uint8, height x width x 3) with their labels, in the archive's order."""

    pictures: list[U8]
    labels: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSet:
    """What to learn and what to test on; classes in the order in which they are taught."""

    name: str
    classes: list[str]
    groups: int
    train: LabelledPictures
    test: LabelledPictures


class _Session(msgspec.Struct):
    name: str
    role: str


class _HouseholdIndex(msgspec.Struct):
    classes: list[str]
    sessions: list[_Session]


class _FashionIndex(msgspec.Struct):
    classes: list[str]


def household(limit: int | None = None) -> PictureSet:
    """Return 20 household classes: three sessions to learn from, a fourth to be tested on.

    `limit` keeps that many pictures a class and part: for a quick look.
    """
    with zipfile.ZipFile(household_pictures()) as archive:
        index = msgspec.json.decode(archive.read("index.json"), type=_HouseholdIndex)
        role = {session.name: session.role for session in index.sessions}
        return PictureSet(
            name="household",
            classes=index.classes,
            groups=5,
            train=_read(archive, [s for s in role if role[s] == "train"], limit),
            test=_read(archive, [s for s in role if role[s] == "test"], limit),
        )


def fashion(limit: int | None = None) -> PictureSet:
    """Return ten kinds of clothing, two at a time: the slice of Split Fashion-MNIST."""
    with zipfile.ZipFile(fashion_pictures()) as archive:
        index = msgspec.json.decode(archive.read("index.json"), type=_FashionIndex)
        return PictureSet(
            name="fashion",
            classes=index.classes,
            groups=5,
            train=_read(archive, ["train"], limit),
            test=_read(archive, ["test"], limit),
        )


def unpack_household(folder: Path) -> int:
    """Write the household pictures as `folder`/SESSION/CLASS/NAME.jpg; return how many.

    Raises
    ------
    StorageError : the disk refused.
    """
    count = 0
    try:
        with zipfile.ZipFile(household_pictures()) as archive:
            for name in _pictures(archive):
                path = folder.joinpath(*name.split("/"))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))
                count += 1
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error.strerror or error}") from error
    return count


def _pictures(archive: zipfile.ZipFile) -> list[str]:
    return [n for n in sorted(archive.namelist()) if n.endswith((".jpg", ".png"))]


def _read(archive: zipfile.ZipFile, parts: list[str], limit: int | None) -> LabelledPictures:
    from PIL import Image

    pictures: list[U8] = []
    labels: list[str] = []
    taken: dict[tuple[str, str], int] = {}
    for name in _pictures(archive):
        part, label, _ = name.split("/")
        if part not in parts or (limit and taken.get((part, label), 0) >= limit):
            continue
        taken[part, label] = taken.get((part, label), 0) + 1
        with Image.open(io.BytesIO(archive.read(name))) as picture:
            pictures.append(np.asarray(picture.convert("RGB")))
        labels.append(label)
    return LabelledPictures(pictures=pictures, labels=labels)
