"""Pictures that ranges are measured on, and other pictures that the result is judged on.

A source is a folder, a ZIP archive, an `.npy` array (n, h, w, 3) or an `.npz` archive with
`images` and, if known, `labels` and `groups`. In folders and archives, the folders that a
picture lies in are its class and its group (`folder_layout`). Pictures are read one at a
time, when needed, by the rules by which a device reads them.

`split` draws two disjoint sets: what was calibrated on is never judged on. Where groups are
known (sessions, clips, objects), no group is on both sides.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from edge_cl import arrays, assets
from edge_cl.arrays import I64, U8
from edge_cl.bundle import InputSpec
from edge_cl.encoders.picture import fit_picture
from edge_cl.errors import InputError, SourceError
from edge_cl.sources import PICTURE_SUFFIXES, picture_folder, read_picture
from edge_cl_export.pictures.augment import augmented
from edge_cl_export.pictures.folder_layout import classes_and_groups
from edge_cl_export.pictures.group_split import split_by_group

__all__ = ["Pictures", "Split", "demo_pictures", "open_pictures"]

CALIBRATION, VALIDATION = 128, 1024  # at most so many pictures
FEWEST = 8


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures by index, not yet read.

    Attributes
    ----------
    names : where each comes from, for messages.
    labels : (n,) class index, or None where classes are not known.
    read : returns picture i as (h, w, 3) uint8, of any size.
    groups : (n,) index of the session, clip or object, or None where they are not known.
    """

    names: tuple[str, ...]
    labels: I64 | None
    read: Callable[[int], U8]
    groups: I64 | None = None

    def __len__(self) -> int:
        return len(self.names)

    def split(self, seed: int) -> Split:
        """Return disjoint calibration and validation pictures, drawn by `seed`.

        By group where groups are known; by picture where they are not, or are too few.

        Raises
        ------
        InputError : fewer than `FEWEST` pictures.
        """
        n = len(self)
        if n < FEWEST:
            raise InputError(f"expected at least {FEWEST} calibration pictures, got {n}")
        if self.groups is not None:
            sides = split_by_group(
                self.labels, self.groups, CALIBRATION, VALIDATION, FEWEST // 2,
                np.random.default_rng(seed),
            )  # fmt: skip
            if sides is not None:
                return Split(self.pick(sides[0]), self.pick(sides[1]))
        order = np.random.default_rng(seed).permutation(n)
        first = min(CALIBRATION, n // 2)
        return Split(self.pick(order[:first]), self.pick(order[first : first + VALIDATION]))

    def pick(self, which: Sequence[int] | I64) -> Pictures:
        """Return some of the pictures, in the order of `which`."""
        chosen = [int(i) for i in which]
        labels = None if self.labels is None else self.labels[chosen]
        groups = None if self.groups is None else self.groups[chosen]
        names = tuple(self.names[i] for i in chosen)
        return Pictures(names, labels, lambda i: self.read(chosen[i]), groups)

    def augmented(self, copies: int, seed: int) -> Pictures:
        """Return the pictures and `copies` changed copies of each, for calibration only.

        A picture and its copies are of one group: a split does not part them.

        Raises
        ------
        InputError : fewer than no copies.
        """
        if copies < 0:
            raise InputError(f"expected 0 or more changed copies of a picture, got {copies}")
        n = len(self)

        def read(i: int) -> U8:
            if i < n:
                return self.read(i)
            picture = arrays.image(self.read(i % n))
            return augmented(picture, np.random.default_rng([seed, i]))

        copy = ("", *(f" (copy {k})" for k in range(1, copies + 1)))
        names = tuple(name + which for which in copy for name in self.names)
        labels = None if self.labels is None else np.tile(self.labels, copies + 1)
        groups = np.arange(n) if self.groups is None else self.groups
        return Pictures(names, labels, read, np.tile(groups, copies + 1))

    def batches(self, spec: InputSpec, size: int) -> Iterator[U8]:
        """Yield all pictures as `spec` wants them, (n <= size, h, w, 3) uint8 a time."""
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            yield np.stack([self._fitted(i, spec) for i in range(start, stop)])

    def _fitted(self, i: int, spec: InputSpec) -> U8:
        picture = self.read(i)  # whose errors name the picture
        try:
            return fit_picture(arrays.image(picture), spec)
        except InputError as error:
            raise InputError(f"{self.names[i]}: {error}", hint=error.hint) from error


class Split(NamedTuple):
    """What to calibrate on, and what to judge on."""

    calibration: Pictures
    validation: Pictures

    @property
    def by(self) -> Literal["group", "picture"]:
        """What the two sides have nothing of in common."""
        ours, theirs = self.calibration.groups, self.validation.groups
        if ours is None or theirs is None or np.isin(ours, theirs).any():
            return "picture"
        return "group"


def open_pictures(path: Path) -> Pictures:
    """Return the pictures at `path`; see the module for what it may be.

    Raises
    ------
    InputError : nothing there, no picture in it, or an array of another shape or dtype.
    """
    if path.is_dir():
        try:
            files = [entry.path for entry in picture_folder(path).entries]
        except SourceError as error:
            raise InputError(str(error), hint=error.hint) from error
        return _from_files([file.relative_to(path).as_posix() for file in files], files)
    if not path.is_file():
        raise InputError(f"no such folder or file: {path}")
    if path.suffix == ".zip":
        names, members = _members(path)
        return _from_files(names, members)
    if path.suffix in (".npy", ".npz"):
        return _from_arrays(path)
    raise InputError(
        f"cannot calibrate on {path}", hint="give a folder of pictures, a .zip, .npz or .npy"
    )


def demo_pictures() -> Pictures:
    """Return the training pictures that ship with edge-cl: household objects and clothes.

    The demo's test pictures stay unseen. Pictures of one object are a group; clothes are
    each their own.
    """
    names, members = _members(assets.household_pictures())
    kept = [i for i, name in enumerate(names) if not name.startswith("evening/")]
    files = [members[i] for i in kept]
    # SESSION/CLASS/OBJECT-FRAME.jpg: the same object is in every session.
    paths = [PurePosixPath(names[i]) for i in kept]
    labels: list[str] = [path.parent.name for path in paths]
    groups: list[Hashable] = [(path.parent.name, path.stem.partition("-")[0]) for path in paths]
    names, members = _members(assets.fashion_pictures())
    for name, member in zip(names, members, strict=True):
        part, label, _ = name.split("/")
        if part == "train":
            files.append(member)
            labels.append(f"fashion/{label}")  # a class apart, if of the same name
            groups.append(name)
    return _pictures(files, labels, groups)


def _from_files(names: list[str], files: Sequence[Any]) -> Pictures:
    """Return pictures with what the folders in `names` say; `files` are read when needed."""
    labels, groups = classes_and_groups(names)
    return _pictures(files, labels, groups)


def _pictures(
    files: Sequence[Any], labels: Sequence[str] | None, groups: Sequence[Hashable] | None
) -> Pictures:
    if labels is not None and len(set(labels)) == 1:
        labels = None  # nothing to tell apart

    def read(i: int) -> U8:
        try:
            # The members of an archive open as paths do.
            return read_picture(cast(Path, files[i]))
        except SourceError as error:
            raise InputError(str(error), hint=error.hint) from error

    return Pictures(
        tuple(str(file) for file in files),
        None if labels is None else _indices(labels),
        read,
        None if groups is None else _indices(groups),
    )


def _indices(keys: Sequence[Any]) -> I64:
    """Return the place of each key among all that there are, sorted."""
    place = {key: i for i, key in enumerate(sorted(set(keys), key=repr))}
    return np.array([place[key] for key in keys], dtype=np.int64)


def _members(path: Path) -> tuple[list[str], list[zipfile.Path]]:
    """Return the names of the pictures in an archive, sorted, and how to open them."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    names = [
        name
        for name in sorted(archive.namelist())
        if PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES
        and not any(part.startswith(".") for part in name.split("/"))
    ]
    if not names:
        archive.close()
        raise InputError(
            f"{path} holds no pictures", hint=f"files: {', '.join(sorted(PICTURE_SUFFIXES))}"
        )
    return names, [zipfile.Path(archive, name) for name in names]


def _from_arrays(path: Path) -> Pictures:
    held = _load(path)
    images = held["images"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        raise InputError(
            f"{path}: expected images of shape (n, h, w, 3), uint8, "
            f"got {images.dtype} {images.shape}",
            hint="scale to 0..255 and convert: (x * 255).astype(numpy.uint8)"
            if images.dtype.kind == "f"
            else "",
        )
    if images.ndim == 4 and images.shape[3] not in (1, 3):
        raise InputError(f"{path}: expected 1 or 3 channels at the end, got {images.shape}")
    n = len(images)
    indices = {}
    for name in ("labels", "groups"):
        if name in held:
            if held[name].shape != (n,):
                raise InputError(f"{path}: expected {n} {name}, got shape {held[name].shape}")
            indices[name] = np.unique(held[name], return_inverse=True)[1].astype(np.int64)
    names = tuple(f"{path}[{i}]" for i in range(n))
    return Pictures(
        names, indices.get("labels"), lambda i: arrays.image(images[i]), indices.get("groups")
    )


def _load(path: Path) -> dict[str, NDArray[Any]]:
    wanted = ("images", "labels", "groups")
    try:
        if path.suffix == ".npy":
            return {"images": np.load(path, mmap_mode="r", allow_pickle=False)}
        # Opened here: NumPy leaves a file open that turns out to be damaged.
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise InputError(f"{path} is one array", hint="name it .npy")
            if "images" not in loaded.files:
                found = ", ".join(loaded.files) or "nothing"
                raise InputError(f"{path} holds {found}, expected images, labels, groups")
            return {name: loaded[name] for name in wanted if name in loaded.files}
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise many kinds on damaged files
        if str(error).startswith("Object arrays"):
            raise InputError(
                f"{path} holds Python objects, expected one uint8 array (n, h, w, 3)",
                hint="pictures of several sizes: give a folder or a .zip of them",
            ) from error
        first = str(error).partition("\n")[0] or type(error).__name__
        if "pickle" in first:
            first = "it is no array"  # NumPy takes what it does not know for a pickle
        raise InputError(f"cannot read {path}: {first}") from error
