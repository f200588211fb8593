"""For sensors, and features that were computed elsewhere: what comes in is what goes out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl.arrays import F32


class PassthroughRunner:
    """No network."""

    def __init__(self) -> None:
        self.nodes: dict[str, int] = {}
        self.fallbacks: tuple[str, ...] = ()

    def run(self, batch: NDArray[Any]) -> F32:
        """See `Runner.run`."""
        return np.asarray(batch, np.float32)

    def close(self) -> None:
        """See `Runner.close`: there is nothing to give back."""
