"""Rows of an `.npz` file: features or pictures in `x`, and labels in `y` where it has them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl.errors import SourceError
from edge_cl.sources.sample import Item, Sample


class FeatureRows:
    """The samples of an `.npz` file. See `Source`.

    Parameters
    ----------
    path : holds `x`, (n, d) numbers, or (n, height, width) or (n, height, width, 3) uint8
        pictures; and maybe `y`, (n,) text or integers. Pickled objects are refused.
    shuffle : seed of the order; None keeps the file's.

    Raises
    ------
    SourceError : the file cannot be read, or holds something else.
    """

    live = False
    dropped = 0

    def __init__(self, path: Path, *, shuffle: int | None = None) -> None:
        self._path = path
        arrays = _load(path)
        self.x = arrays["x"]
        self.labels = _labels(arrays["y"], len(self.x), path) if "y" in arrays else None
        self._order = list(range(len(self.x)))
        if shuffle is not None:
            random.Random(shuffle).shuffle(self._order)

    @property
    def total(self) -> int:
        """Items that will come."""
        return len(self._order)

    def __iter__(self) -> Iterator[Item]:
        """Hand out what there is."""
        for i in self._order:
            label = self.labels[i] if self.labels is not None else None
            yield Sample(x=self.x[i], label=label, name=f"{self._path}[{i}]")


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise SourceError(f"{path} is one array, expected an .npz file with x, and y")
            if "x" not in archive.files:
                names = ", ".join(archive.files) or "nothing"
                raise SourceError(f"{path} holds {names}, expected an array x, and maybe y")
            held = [name for name in ("x", "y") if name in archive.files]
            arrays: dict[str, NDArray[Any]] = {name: archive[name] for name in held}
    except SourceError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise many kinds on damaged files
        if isinstance(error, OSError) and error.strerror:
            raise SourceError(f"cannot read {path}: {error.strerror}") from error
        if "pickle" in str(error):
            raise SourceError(
                f"{path} holds pickled objects, which can run code; refused",
                hint="save plain arrays: numbers in x, text or integers in y",
            ) from error
        first = str(error).partition("\n")[0] or type(error).__name__
        raise SourceError(f"{path} is a damaged .npz file: {first}") from error
    x = arrays["x"]
    if x.ndim < 2 or x.dtype.kind not in "fiu":
        raise SourceError(f"{path}: expected x as numbers (n, d), got {x.dtype} {x.shape}")
    if not len(x):
        raise SourceError(f"{path} holds no rows: x has shape {x.shape}")
    return arrays


def _labels(y: NDArray[Any], n: int, path: Path) -> list[str]:
    if y.shape != (n,) or y.dtype.kind not in "Uiu":
        raise SourceError(
            f"{path}: expected y as {n} labels, text or integers, got {y.dtype} {y.shape}"
        )
    return [str(label) for label in y.tolist()]
