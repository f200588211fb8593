"""Pictures that ranges are measured on, and other pictures that the result is judged on.

A source is a folder, a ZIP archive, an `.npy` array (n, h, w, 3) or an `.npz` archive with
`images` and, if known, `labels`. In folders and archives the name of the folder that a picture
lies in is its class, if there are at least two. Pictures are read one at a time, when needed.

`split` draws two disjoint sets: what was calibrated on is never judged on.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from edge_cl import arrays, assets
from edge_cl.arrays import I64, U8
from edge_cl.bundle import InputSpec
from edge_cl.encoders.picture import fit_picture
from edge_cl.errors import InputError

__all__ = ["Pictures", "demo_pictures", "open_pictures"]

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}
CALIBRATION, VALIDATION = 128, 512  # at most so many pictures
FEWEST = 8


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures by index, not yet read.

    Attributes
    ----------
    names : where each comes from, for messages.
    labels : (n,) class index, or None where classes are not known.
    read : returns picture i as (h, w, 3) uint8, of any size.
    """

    names: tuple[str, ...]
    labels: I64 | None
    read: Callable[[int], U8]

    def __len__(self) -> int:
        return len(self.names)

    def split(self, seed: int) -> tuple[Pictures, Pictures]:
        """Return disjoint calibration and validation pictures, drawn by `seed`.

        Raises
        ------
        InputError : fewer than `FEWEST` pictures.
        """
        n = len(self)
        if n < FEWEST:
            raise InputError(f"expected at least {FEWEST} calibration pictures, got {n}")
        order = np.random.default_rng(seed).permutation(n)
        first = min(CALIBRATION, n // 2)
        return self.pick(order[:first]), self.pick(order[first : first + VALIDATION])

    def pick(self, which: Sequence[int] | I64) -> Pictures:
        """Return some of the pictures, in the order of `which`."""
        chosen = [int(i) for i in which]
        labels = None if self.labels is None else self.labels[chosen]
        names = tuple(self.names[i] for i in chosen)
        return Pictures(names, labels, lambda i: self.read(chosen[i]))

    def batches(self, spec: InputSpec, size: int) -> Iterator[U8]:
        """Yield all pictures as `spec` wants them, (n <= size, h, w, 3) uint8 a time."""
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            yield np.stack([self._fitted(i, spec) for i in range(start, stop)])

    def _fitted(self, i: int, spec: InputSpec) -> U8:
        try:
            return fit_picture(arrays.image(self.read(i)), spec)
        except InputError as error:
            raise InputError(f"{self.names[i]}: {error}") from error


def open_pictures(path: Path) -> Pictures:
    """Return the pictures at `path`; see the module for what it may be.

    Raises
    ------
    InputError : nothing there, no picture in it, or an array of another shape or dtype.
    """
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        names = [p.relative_to(path).as_posix() for p in files]
        return _from_files(names, str(path), lambda name: (path / name).read_bytes())
    if not path.is_file():
        raise InputError(f"no such folder or file: {path}")
    if path.suffix == ".zip":
        return _from_archive(path, lambda _: True)
    if path.suffix in (".npy", ".npz"):
        return _from_arrays(path)
    raise InputError(
        f"cannot calibrate on {path}", hint="give a folder of pictures, a .zip, .npz or .npy"
    )


def demo_pictures() -> Pictures:
    """Return the training pictures that ship with edge-cl: household objects and clothes.

    The demo's test pictures stay unseen.
    """
    household = _from_archive(
        assets.household_pictures(), lambda name: not name.startswith("evening/")
    )
    fashion = _from_archive(assets.fashion_pictures(), lambda name: name.startswith("train/"))
    return _joined(household, fashion)


def _joined(a: Pictures, b: Pictures) -> Pictures:
    """Return the pictures of both; classes of the same name stay two."""
    labels = None
    if a.labels is not None and b.labels is not None:
        labels = np.concatenate([a.labels, b.labels + 1 + a.labels.max()])
    return Pictures(
        a.names + b.names, labels, lambda i: a.read(i) if i < len(a) else b.read(i - len(a))
    )


def _from_archive(path: Path, wanted: Callable[[str], bool]) -> Pictures:
    def load(name: str) -> bytes:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)

    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(
                name
                for name in archive.namelist()
                if PurePosixPath(name).suffix.lower() in SUFFIXES and wanted(name)
            )
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    return _from_files(names, str(path), load)


def _from_files(names: list[str], where: str, load: Callable[[str], bytes]) -> Pictures:
    if not names:
        raise InputError(f"no picture in {where}", hint=f"files: {', '.join(sorted(SUFFIXES))}")
    folders = [PurePosixPath(name).parent.name for name in names]
    classes = sorted(set(folders))
    labels = None
    if len(classes) > 1 and "" not in classes:
        labels = np.array([classes.index(folder) for folder in folders], dtype=np.int64)
    return Pictures(
        tuple(f"{where}/{name}" for name in names),
        labels,
        lambda i: _decode(load(names[i]), f"{where}/{names[i]}"),
    )


def _decode(data: bytes, where: str) -> U8:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{where} is not a picture: {error}") from error


def _from_arrays(path: Path) -> Pictures:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if path.suffix == ".npy":
            images, labels = loaded, None
        else:
            with loaded:
                images = loaded["images"]
                labels = loaded["labels"] if "labels" in loaded.files else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or len(images) == 0:
        raise InputError(
            f"{path}: expected images of shape (n, h, w, 3), uint8, "
            f"got {images.dtype} {images.shape}"
        )
    n = len(images)
    indices = None
    if labels is not None:
        if labels.shape != (n,):
            raise InputError(f"{path}: expected {n} labels, got shape {labels.shape}")
        indices = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    names = tuple(f"{path}[{i}]" for i in range(n))
    return Pictures(names, indices, lambda i: arrays.image(images[i]))
