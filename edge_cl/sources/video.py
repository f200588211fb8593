"""Frames of a video file, and of a camera. The only file that imports OpenCV."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl.errors import MissingExtraError, SourceError
from edge_cl.sources.sample import Item, Sample, Unusable

__all__ = ["VIDEO_SUFFIXES", "Camera", "VideoFrames"]

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".mjpeg", ".mjpg")
)
_PATIENCE_S = 0.1  # between two looks at `stop`


class VideoFrames:
    """The frames of a video file, none dropped. See `Source`.

    Parameters
    ----------
    every : take each `every`-th frame.

    Raises
    ------
    MissingExtraError : OpenCV is not installed.
    SourceError : the file cannot be opened.
    """

    live = False
    dropped = 0

    def __init__(self, path: Path, *, every: int = 1) -> None:
        if not path.stat().st_size:
            raise SourceError(f"{path} is empty")
        self._path, self._every = path, every
        self._capture = _opencv("a video").VideoCapture(str(path))
        if not self._capture.isOpened():
            raise SourceError(f"{path} is not a video that OpenCV can open, or is damaged")
        import cv2

        self._frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self._rate = rate if np.isfinite(rate) and rate > 0 else 0.0

    @property
    def total(self) -> int | None:
        """Frames that will come, as far as the file says."""
        return -(-self._frames // self._every) or None

    def __iter__(self) -> Iterator[Item]:
        """Hand out what there is."""
        count = 0
        try:
            while self._capture.grab():
                if count % self._every == 0:
                    yield self._frame(count)
                count += 1
        finally:
            self._capture.release()
        if count < self._frames or not count:
            error = SourceError(f"{self._path}: {count} of {self._frames} frames could be read")
            yield Unusable(name=str(self._path), error=error, stray=count > 0)

    def _frame(self, number: int) -> Item:
        name = f"{self._path}#{number}"
        read, frame = self._capture.retrieve()
        if not read:
            return Unusable(name=name, error=SourceError(f"{name} cannot be decoded"))
        seconds = number / self._rate if self._rate else None
        return Sample(x=_rgb(frame), name=name, time_s=seconds)


class Camera:
    """Pictures of a camera; while one is worked on, only the latest is kept. See `Source`.

    A thread reads the camera, so that a slow network never works on old frames.

    Parameters
    ----------
    number : of the camera, from 0.
    stop : set by anybody to end the stream.

    Raises
    ------
    MissingExtraError : OpenCV is not installed.
    SourceError : the camera cannot be opened; while iterating, it no longer answers.
    """

    live = True
    total = None

    def __init__(self, number: int, *, stop: threading.Event) -> None:
        self._name = f"camera:{number}"
        self._stop = stop
        self._capture = _opencv("a camera").VideoCapture(number)
        if not self._capture.isOpened():
            raise SourceError(
                f"{self._name} cannot be opened",
                hint="is it plugged in, and free? cameras are numbered from camera:0",
            )
        self._latest: tuple[int, float, NDArray[Any]] | None = None
        self._seen = 0
        self._taken = 0
        self._ended = False
        self._changed = threading.Condition()

    @property
    def dropped(self) -> int:
        """Frames that a newer one replaced before anybody looked."""
        waiting = self._latest is not None
        return self._seen - self._taken - waiting

    def __iter__(self) -> Iterator[Item]:
        """Hand out the latest frame, again and again, until `stop` is set."""
        reader = threading.Thread(target=self._read, name=self._name, daemon=True)
        reader.start()
        try:
            while True:
                with self._changed:
                    while self._latest is None and not self._ended and not self._stop.is_set():
                        self._changed.wait(_PATIENCE_S)
                    if self._stop.is_set():
                        return
                    if self._latest is None:
                        raise SourceError(f"{self._name} no longer gives pictures")
                    number, seconds, frame = self._latest
                    self._latest = None
                    self._taken += 1
                yield Sample(x=_rgb(frame), name=f"{self._name}#{number}", time_s=seconds)
        finally:
            self._ended = True
            reader.join()
            self._capture.release()

    def _read(self) -> None:
        start = time.monotonic()
        while not self._ended:
            read, frame = self._capture.read()
            with self._changed:
                if not read:
                    self._ended = True
                else:
                    self._latest = (self._seen, time.monotonic() - start, frame)
                    self._seen += 1
                self._changed.notify()


def _opencv(what: str) -> Any:
    if find_spec("cv2") is None:
        raise MissingExtraError(what, "camera")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # we say ourselves what went wrong
    import cv2

    return cv2


def _rgb(frame: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(frame[:, :, ::-1]) if frame.ndim == 3 else frame
