"""A figure that is not known exactly: its least, its most, and what is likely between.

Likely is the geometric mean, as far in proportion from the one as from the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Assumption", "Span"]


@dataclass(frozen=True, slots=True)
class Span:
    """From `least` to `most`, both >= 0."""

    least: float
    most: float

    @property
    def likely(self) -> float:
        """The geometric mean of both."""
        return math.sqrt(self.least * self.most)

    def __add__(self, other: Span) -> Span:
        """Return the span of the sum."""
        return Span(self.least + other.least, self.most + other.most)

    def times(self, factor: float) -> Span:
        """Return both ends times a number."""
        return Span(self.least * factor, self.most * factor)


@dataclass(frozen=True, slots=True)
class Assumption:
    """What a prediction rests on, and where it is from.

    verified : whether somebody has seen it: measured, counted, or read in the source that is
        named. What is not is told as such.
    """

    text: str
    source: str
    verified: bool

    @property
    def line(self) -> str:
        """Return it as one line, marked where it is not verified."""
        mark = "" if self.verified else "unverified: "
        return f"{mark}{self.text} ({self.source})"
