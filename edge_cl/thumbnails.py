"""A small picture beside each of the newest lessons, for people who look through them.

    STATE/thumbnails/NUMBER.jpg

Only where the user asked for them: they are pictures of what the camera saw, which nothing else
in a state is. They go with their lesson, and with its row of the ring. Nothing is learned from
them, so they are not made durable: a power cut may cost the last ones.
"""

from __future__ import annotations

import io
from collections.abc import Sequence, Set
from pathlib import Path

from numpy.typing import ArrayLike

from edge_cl import arrays, files
from edge_cl.errors import StorageError

__all__ = ["Thumbnails", "thumbnail"]

SIDE = 96  # pixels, of the longer side


def thumbnail(x: ArrayLike) -> bytes:
    """Return a picture, uint8 (height, width[, 3]), as a small JPEG."""
    from PIL import Image

    picture = Image.fromarray(arrays.image(x))
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


class Thumbnails:
    """The thumbnails of a state.

    Parameters
    ----------
    folder : made when the first one is kept.
    most : so many of the newest numbers are kept.
    new : whether those of new lessons are kept; else old ones only go.
    """

    def __init__(self, folder: Path, most: int, *, new: bool = True) -> None:
        self.folder = folder
        self.new = new
        self._most = most

    def keep(self, last: int, pictures: Sequence[bytes]) -> None:
        """Keep the thumbnails of a call whose last number is `last`.

        Raises
        ------
        StorageError : the disk refused.
        """
        files.make_folder(self.folder)
        newest = pictures[-self._most :]
        try:
            for i, data in enumerate(newest, last - len(newest) + 1):
                self.path(i).write_bytes(data)
            for i in range(last - len(pictures) - self._most + 1, last - self._most + 1):
                self.path(i).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot write {self.folder}: {error.strerror or error}") from error

    def keep_only(self, numbers: Set[int]) -> None:
        """Remove the thumbnails of all other lessons.

        Raises
        ------
        StorageError : the disk refused.
        """
        try:
            for path in self.folder.glob("*.jpg"):
                if path.stem.isdecimal() and int(path.stem) not in numbers:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot clear {self.folder}: {error.strerror or error}") from error

    def path(self, number: int) -> Path:
        """Return where the thumbnail of a lesson is, if there is one."""
        return self.folder / f"{number}.jpg"
