"""The heads of edge-cl, taught like any learner teaches them: grid, sums, head."""

from __future__ import annotations

import numpy as np

from edge_cl.arrays import F32, I64
from edge_cl.assets import shipped_bundle
from edge_cl.bundle import open_bundle
from edge_cl.features import feature_map, map_named
from edge_cl.heads import HEADS, build_head
from edge_cl.moments import Moments


class EdgeHead:
    """One head of `HEADS` behind one feature map, on features of the shipped encoder."""

    def __init__(self, head: str, map_name: str = "identity") -> None:
        embedding = open_bundle(shipped_bundle()).manifest.embedding
        self._to_grid = feature_map(map_named(map_name), embedding)
        self._moments = Moments(self._to_grid.d)
        self._head = build_head(
            HEADS[head],
            self._moments,
            scale=self._to_grid.scale,
            mean_square_norm=self._to_grid.mean_square_norm,
        )

    def learn(self, x: F32, y: I64) -> None:
        """See `PeerModel.learn`."""
        for i in range(len(x)):
            q = self._to_grid(x[i : i + 1])
            self._moments.add(q, y[i : i + 1])
            self._head.update(q, y[i : i + 1], +1)

    def end_group(self) -> None:
        """See `PeerModel.end_group`. Nothing: it knows of no groups."""

    def predict(self, x: F32) -> I64:
        """See `PeerModel.predict`."""
        return np.asarray(self._head.scores(self._to_grid(x)).argmax(axis=1), np.int64)

    def held_bytes(self) -> int:
        """See `PeerModel.held_bytes`."""
        return self._moments.nbytes + self._head.nbytes
