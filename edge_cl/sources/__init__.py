"""Where samples come from: pictures, folders, videos, cameras, arrays, paths on a stream.

`open_source` tells them apart by how they are written:

    photos/          a folder with a folder for each class, or just pictures
    photo.jpg        one picture
    clip.mp4         the frames of a video (extra `camera`)
    camera:0         a camera; the latest frame wins (extra `camera`)
    features.npz     rows of `x`, labels in `y`
    -                paths on stdin, one a line, each maybe with a tab and a label

A source yields `Sample`s, and an `Unusable` for each thing that it cannot make one of; the
caller decides whether that is the end.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from edge_cl.errors import SourceError
from edge_cl.sources.feature_rows import FeatureRows
from edge_cl.sources.path_lines import PathLines
from edge_cl.sources.pictures import (
    PICTURE_SUFFIXES,
    Entry,
    PictureFiles,
    picture_folder,
    read_picture,
)
from edge_cl.sources.sample import Item, Sample, Source, Unusable
from edge_cl.sources.video import VIDEO_SUFFIXES, Camera, VideoFrames

__all__ = [
    "PICTURE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Camera",
    "Chain",
    "FeatureRows",
    "Item",
    "PathLines",
    "PictureFiles",
    "Sample",
    "Source",
    "Unusable",
    "VideoFrames",
    "open_source",
    "picture_folder",
    "read_picture",
]


def open_source(
    place: str,
    *,
    stop: threading.Event | None = None,
    every: int = 1,
    shuffle: int | None = None,
) -> Source:
    """Open what `place` names; see the module.

    Parameters
    ----------
    stop : ends a source that waits (a camera, stdin).
    every : of a video, take each `every`-th frame.
    shuffle : seed of the order, for a folder or an `.npz` file.

    Raises
    ------
    SourceError : it does not exist, cannot be read, or is empty.
    MissingExtraError : it needs OpenCV, which is not installed.
    """
    stop = stop or threading.Event()
    if place == "-":
        return PathLines(0, lambda path: open_source(path, every=every), stop=stop)
    kind, _, number = place.partition(":")
    if kind == "camera":
        if not (number.isascii() and number.isdigit()):
            raise SourceError(f"expected camera:NUMBER, got {place!r}", hint="try camera:0")
        return Camera(int(number), stop=stop)
    path = Path(place)
    try:
        path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"cannot read {place}: {reason}") from error
    if path.is_dir():
        return picture_folder(path, shuffle=shuffle)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return FeatureRows(path, shuffle=shuffle)
    if suffix in VIDEO_SUFFIXES:
        return VideoFrames(path, every=every)
    return PictureFiles([Entry(path)])


class Chain:
    """Several sources, one after the other. See `Source`."""

    def __init__(self, sources: list[Source]) -> None:
        self._sources = sources

    @property
    def total(self) -> int | None:
        """Items that will come, None where one source does not know."""
        totals = [source.total for source in self._sources]
        known = [total for total in totals if total is not None]
        return sum(known) if len(known) == len(totals) else None

    @property
    def live(self) -> bool:
        """Whether one of them is."""
        return any(source.live for source in self._sources)

    @property
    def dropped(self) -> int:
        """Of all of them."""
        return sum(source.dropped for source in self._sources)

    def __iter__(self) -> Iterator[Item]:
        """Hand out what there is."""
        for source in self._sources:
            yield from source
