"""Paths that another program writes, one a line: `path`, or `path<TAB>label`."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from edge_cl.errors import SourceError
from edge_cl.sources.sample import Item, Sample, Source, Unusable

__all__ = ["PathLines", "parse_line"]

MAX_LINE_BYTES = 1 << 16
_PATIENCE_S = 0.1  # between two looks at `stop`


def parse_line(line: bytes) -> tuple[str, str | None]:
    """Return path and label of a line; the last tab divides them, none means no label.

    Bytes that are not UTF-8 stay in the path as the operating system has them.

    Raises
    ------
    SourceError : there is no path before the tab, or a zero byte in it.
    """
    text = os.fsdecode(line.rstrip(b"\r\n"))
    path, tab, label = text.rpartition("\t")
    if not tab:
        path, label = text, ""
    if not path or "\0" in path or (tab and not label):
        raise SourceError(f"expected a line `path` or `path<TAB>label`, got {text[:80]!r}")
    return path, label if tab else None


class PathLines:
    """The samples in the files that are named on a stream of lines. See `Source`.

    Parameters
    ----------
    descriptor : of the stream, usually 0.
    open_path : opens the file of one line.
    stop : set by anybody to end the stream, even while no line comes.
    """

    live = False
    dropped = 0
    total = None

    def __init__(
        self, descriptor: int, open_path: Callable[[str], Source], *, stop: threading.Event
    ) -> None:
        self._descriptor = descriptor
        self._open_path = open_path
        self._stop = stop

    def __iter__(self) -> Iterator[Item]:
        """Hand out what there is; blank lines are passed over."""
        for line in self._lines():
            if not line.strip():
                continue
            try:
                path, label = parse_line(line)
                source = self._open_path(path)
            except SourceError as error:
                yield Unusable(name=os.fsdecode(line[:80]).strip(), error=error)
                continue
            for item in source:
                if isinstance(item, Sample) and label is not None:
                    yield replace(item, label=label)
                else:
                    yield item

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        while not self._stop.is_set():
            if not select.select([self._descriptor], [], [], _PATIENCE_S)[0]:
                continue
            data = os.read(self._descriptor, MAX_LINE_BYTES)
            if not data:
                if rest:
                    yield rest
                return
            *lines, rest = (rest + data).split(b"\n")
            yield from lines
            if len(rest) > MAX_LINE_BYTES:
                raise SourceError(f"expected lines of at most {MAX_LINE_BYTES} bytes on stdin")
