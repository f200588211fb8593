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
    """At most `UNDO_DEPTH` samples (grid feature, class index), oldest first.

    Parameters
    ----------
    d : number of features.
    """

    def __init__(self, d: int) -> None:
        self._d = d
        self._samples: deque[tuple[I16, int]] = deque(maxlen=UNDO_DEPTH)

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def nbytes(self) -> int:
        """Memory held by the features, in bytes."""
        return len(self) * self._d * np.dtype(np.int16).itemsize

    def extend(self, q: I16, y: I64) -> None:
        """Append samples (n, d), (n,); the oldest ones make room."""
        self._samples.extend(zip(q[-UNDO_DEPTH:].copy(), y[-UNDO_DEPTH:].tolist(), strict=True))

    def newest(self, count: int) -> tuple[I16, I64]:
        """Return the newest `count` samples, newest first.

        Raises
        ------
        ForgetError : there are not that many.
        """
        if not isinstance(count, int) or not 1 <= count <= len(self):
            raise ForgetError(
                f"expected to undo 1..{len(self)} samples, got {count}",
                hint=f"of all that was learned, the last {UNDO_DEPTH} samples can be undone",
            )
        q = np.stack([self._samples[-1 - i][0] for i in range(count)])
        return q, np.array([self._samples[-1 - i][1] for i in range(count)], np.int64)

    def keep(self, count: int) -> None:
        """Remove all but the newest `count` samples; those before cannot be taken back."""
        while len(self) > count:
            self._samples.popleft()

    def drop(self, count: int) -> None:
        """Remove the newest `count` samples."""
        for _ in range(count):
            self._samples.pop()

    def discard(self, q: I16, y: int) -> None:
        """Remove the newest sample that equals (q, y), if it is still here."""
        for i in range(len(self) - 1, -1, -1):
            row, label = self._samples[i]
            if label == y and np.array_equal(row, q):
                del self._samples[i]
                return

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return what has to be stored."""
        rows = [row for row, _ in self._samples]
        return {
            "undo_q": np.stack(rows) if rows else np.zeros((0, self._d), np.int16),
            "undo_y": np.array([y for _, y in self._samples], np.int64),
        }

    def restore(self, q: NDArray[Any], y: NDArray[Any], k: int) -> None:
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
            or not ((y >= 0) & (y < k)).all()
            or not ((q >= -GRID_MAX) & (q <= GRID_MAX)).all()
        ):
            raise StateError("the undo history of the state does not fit its moments")
        self._samples.clear()
        self.extend(q, y)
