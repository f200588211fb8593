"""What every source hands out: samples, and what it could not make one of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from edge_cl.errors import EdgeCLError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One raw input.

    x : a picture, uint8 (height, width, 3) RGB, or a vector (d,).
    label : its class, where the source knows it.
    name : where it came from, as people write it: `mug/1.jpg`, `clip.mp4#12`, `x.npz[3]`.
    time_s : when it was seen, in seconds from the beginning of the source; None for files.
    """

    x: NDArray[Any]
    label: str | None = None
    name: str
    time_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """Something that is not a sample.

    name : where it is.
    error : what is wrong with it.
    stray : it never claimed to be a sample (a text file among pictures): it is left out and
        reported, and is no reason to stop.
    """

    name: str
    error: EdgeCLError
    stray: bool = False


Item = Sample | Unusable


class Source(Protocol):
    """Where samples come from. Iterated once.

    total : how many items will come, None where nobody can know.
    live : whether the world goes on while a sample is worked on.
    dropped : samples of a live source that came and went unseen.
    """

    @property
    def total(self) -> int | None:
        """See the class."""

    @property
    def live(self) -> bool:
        """See the class."""

    @property
    def dropped(self) -> int:
        """See the class."""

    def __iter__(self) -> Iterator[Item]:
        """Hand out what there is."""
