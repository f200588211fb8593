"""The newest samples, kept as grid features so that they can be taken back."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl.arrays import I16, I64
from edge_cl.errors import ForgetError, StateError
from edge_cl.moments import GRID_MAX

UNDO_DEPTH = 256


class History:
    """At most `UNDO_DEPTH` samples (grid feature, class index, number), oldest first.

    Parameters
    ----------
    d : number of features.
    """

    def __init__(self, d: int) -> None:
        self._d = d
        self._samples: deque[tuple[I16, int, int]] = deque(maxlen=UNDO_DEPTH)

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def nbytes(self) -> int:
        """Memory held by the features, in bytes."""
        return len(self) * self._d * np.dtype(np.int16).itemsize

    def extend(self, q: I16, y: I64, first: int = 0) -> None:
        """Append samples (n, d), (n,), numbered from `first` on; the oldest ones make room.

        Number 0 is that of samples without one.
        """
        numbers = range(first, first + len(q)) if first else [0] * len(q)
        self._samples.extend(
            zip(
                q[-UNDO_DEPTH:].copy(),
                y[-UNDO_DEPTH:].tolist(),
                numbers[-UNDO_DEPTH:],
                strict=True,
            )
        )

    def newest(self, count: int) -> tuple[I16, I64, list[int]]:
        """Return the newest `count` samples and their numbers, newest first.

        Raises
        ------
        ForgetError : there are not that many.
        """
        if not isinstance(count, int) or not 1 <= count <= len(self):
            raise ForgetError(
                f"expected to undo 1..{len(self)} samples, got {count}",
                hint=f"of all that was learned, the last {UNDO_DEPTH} samples can be undone",
            )
        found = [self._samples[-1 - i] for i in range(count)]
        q = np.stack([row for row, _, _ in found])
        return q, np.array([y for _, y, _ in found], np.int64), [number for *_, number in found]

    def keep(self, count: int) -> None:
        """Remove all but the newest `count` samples; those before cannot be taken back."""
        while len(self) > count:
            self._samples.popleft()

    def discard(self, q: I16, y: int, number: int = 0) -> None:
        """Remove the sample of that number, or the newest that equals (q, y), if it is here."""
        for i in range(len(self) - 1, -1, -1):
            row, label, own = self._samples[i]
            if own == number if number else label == y and np.array_equal(row, q):
                del self._samples[i]
                return

    def numbered(self, number: int) -> I16 | None:
        """Return the features (d,) of the sample of that number, if it is here."""
        return next((row for row, _, own in self._samples if own == number), None)

    def relabel(self, classes: I64) -> None:
        """Let samples of class c be of class `classes[c]`; those of a negative one are removed."""
        kept = [(row, int(classes[y]), number) for row, y, number in self._samples]
        self._samples = deque((one for one in kept if one[1] >= 0), maxlen=UNDO_DEPTH)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return what has to be stored."""
        rows = [row for row, _, _ in self._samples]
        return {
            "undo_q": np.stack(rows) if rows else np.zeros((0, self._d), np.int16),
            "undo_y": np.array([y for _, y, _ in self._samples], np.int64),
            "undo_seq": np.array([number for *_, number in self._samples], np.int64),
        }

    def restore(self, q: NDArray[Any], y: NDArray[Any], numbers: NDArray[Any], k: int) -> None:
        """Take back what `tensors` returned; labels are below `k`.

        Raises
        ------
        StateError : not samples of this learner.
        """
        if (
            y.dtype != np.int64
            or y.ndim != 1
            or len(y) > UNDO_DEPTH
            or q.dtype != np.int16
            or q.shape != (len(y), self._d)
            or numbers.dtype != np.int64
            or numbers.shape != y.shape
            or (numbers < 0).any()
            or not ((y >= 0) & (y < k)).all()
            or not ((q >= -GRID_MAX) & (q <= GRID_MAX)).all()
        ):
            raise StateError("the undo history of the state does not fit its moments")
        self._samples.clear()
        self._samples.extend(zip(q.copy(), y.tolist(), numbers.tolist(), strict=True))
