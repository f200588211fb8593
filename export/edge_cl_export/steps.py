"""What an export is at, and how far: told to whoever asked for it."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "Steps"]

Progress = Callable[[str, float], None]
"""Called with what begins, and the share of all that is done, 0..1."""


class Steps:
    """Counts steps of an export.

    How many there will be is a guess: remedies come when they are needed. The share never
    falls, and what is left always shrinks.
    """

    def __init__(self, progress: Progress | None, expected: int) -> None:
        self._progress = progress
        self._left = max(expected, 4)
        self._share = 0.0

    def __call__(self, what: str) -> None:
        """Tell that `what` begins."""
        if self._progress is not None:
            self._progress(what, self._share)
        self._share += (1.0 - self._share) / (self._left + 1)
        self._left = max(self._left - 1, 4)
