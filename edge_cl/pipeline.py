"""From an input to grid features: prepare, encode, map. Frozen: nothing here learns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_cl.arrays import F32, I16
from edge_cl.bundle import Bundle
from edge_cl.device import refuse_oversized
from edge_cl.encoders import Encoder
from edge_cl.features import FeatureMap, MapSpec, feature_map
from edge_cl.stopwatch import Stopwatch

_BATCH = 16  # pictures encoded at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Which features something was learned from."""

    bundle_name: str
    bundle_sha256: str
    encoder_sha256: str
    d: int
    scale: float
    map: MapSpec


class Pipeline:
    """An encoder with a feature map behind it. Threads may call it at once.

    Attributes
    ----------
    bundle, encoder, map_spec : what it was made of.
    d, scale, mean_square_norm : of the features that come out; see `FeatureMap`.
    """

    def __init__(self, bundle: Bundle, encoder: Encoder, map_spec: MapSpec) -> None:
        self.bundle = bundle
        self.encoder = encoder
        self.map_spec = map_spec
        self._map: FeatureMap = feature_map(map_spec, bundle.manifest.embedding)
        self.d = self._map.d
        self.scale = self._map.scale
        self.mean_square_norm = self._map.mean_square_norm
        refuse_oversized(self.d)

    @property
    def origin(self) -> Origin:
        """Which features come out."""
        return Origin(
            bundle_name=self.bundle.name,
            bundle_sha256=self.bundle.sha256,
            encoder_sha256=self.encoder.sha256,
            d=self.d,
            scale=self.scale,
            map=self.map_spec,
        )

    def same_features(self, other: Pipeline) -> bool:
        """Say whether features of both mean the same."""
        return (
            self.encoder.sha256 == other.encoder.sha256
            and self.map_spec == other.map_spec
            and self.scale == other.scale
        )

    def features(self, xs: Iterable[ArrayLike], watch: Stopwatch) -> F32:
        """Return the encoder's features (n, d_in) of inputs, before the map.

        Raises
        ------
        InputError : an input is not what the encoder takes.
        """
        parts: list[F32] = []
        batch: list[NDArray[Any]] = []
        for x in xs:
            batch.append(self.encoder.prepare(x))
            watch.lap("prepare")
            if len(batch) == _BATCH:
                parts.append(self.encoder.encode(np.stack(batch)))
                batch.clear()
                watch.lap("encode")
        if batch:
            parts.append(self.encoder.encode(np.stack(batch)))
            watch.lap("encode")
        return np.concatenate(parts) if parts else np.zeros((0, self.encoder.d), np.float32)

    def grid(self, xs: Iterable[ArrayLike], watch: Stopwatch) -> I16:
        """Return the grid features (n, d) of inputs. Raises what `features` does."""
        q = self._map(self.features(xs, watch))
        watch.lap("map")
        return q
