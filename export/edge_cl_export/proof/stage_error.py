"""The error of a deployed tensor against the float one, picture by picture, for each stage.

cosine  x·y / (‖x‖ ‖y‖)  a picture        SNR  10 log₁₀ (Σ x² / Σ (x - y)²)  dB
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl.agreement import cosines, snr_db
from edge_cl.arrays import F64
from edge_cl.errors import ExportError
from edge_cl.features import to_grid

__all__ = ["MOST", "OUTPUT", "Layer", "Stage", "Values", "compared", "in_both", "real"]

MOST = 24  # layers that are looked at
OUTPUT = ""  # of the whole network, among the values by tensor

Values = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage.

    layer : which of the weighted layers of the float file, from 1; 0 behind them.
    kind : its operator, or "embedding", "grid".
    shape : of its values for one picture.
    """

    layer: int
    kind: str
    shape: tuple[int, ...]
    cosine_mean: float
    cosine_worst: float
    snr_db: float


@dataclass(frozen=True, slots=True)
class Layer:
    """A weighted layer: its number, operator, and names of its value, the fused ones last."""

    number: int
    kind: str
    tensors: tuple[str, ...]


def in_both(layers: list[Layer], made: set[str]) -> list[tuple[Layer, str]]:
    """Return layers that the deployed file has as well, each with the last of its tensors there.

    At most `MOST`, the first and the last among them.
    """
    found = []
    for layer in layers:
        there = [name for name in layer.tensors if name in made]
        if there:
            found.append((layer, there[-1]))
    if len(found) <= MOST:
        return found
    return [found[round(i)] for i in np.linspace(0, len(found) - 1, MOST)]


class _Tally:
    """Cosines and sums of squares of one stage, picture by picture."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self._cosines: list[float] = []
        self._signal = self._noise = 0.0

    def add(self, reference: NDArray[Any], found: NDArray[Any]) -> None:
        x: F64 = reference.astype(np.float64).reshape(1, -1)
        y: F64 = found.astype(np.float64).reshape(1, -1)
        if x.shape != y.shape:
            raise ExportError(
                f"expected a stage of shape {reference.shape} in the deployed file, "
                f"got {found.shape}"
            )
        self.shape = reference.shape[1:]
        self._cosines.append(float(cosines(x, y)[0]))
        self._signal += float((x**2).sum())
        self._noise += float(((x - y) ** 2).sum())

    def stage(self, layer: int, kind: str) -> Stage:
        return Stage(
            layer=layer,
            kind=kind,
            shape=self.shape,
            cosine_mean=round(float(np.mean(self._cosines)), 6),
            cosine_worst=round(min(self._cosines), 6),
            snr_db=snr_db(self._signal, self._noise),
        )


def compared(
    pairs: list[tuple[Layer, str]],
    reference: Iterator[Values],
    deployed: Iterator[Values],
    scale: float,
) -> tuple[Stage, ...]:
    """Return the stages of `pairs`, the embedding and the grid, of values picture by picture."""
    layers = [_Tally() for _ in pairs]
    embedding, grid = _Tally(), _Tally()
    for x, y in zip(reference, deployed, strict=True):
        for tally, (_, name) in zip(layers, pairs, strict=True):
            tally.add(x[name], y[name])
        embedding.add(x[OUTPUT], y[OUTPUT])
        grid.add(x[OUTPUT], to_grid(y[OUTPUT].astype(np.float32), scale) * scale)
    rows = [t.stage(layer.number, layer.kind) for t, (layer, _) in zip(layers, pairs, strict=True)]
    return (*rows, embedding.stage(0, "embedding"), grid.stage(0, "grid"))


def real(q: NDArray[Any], step: tuple[float, int] | None) -> NDArray[Any]:
    """Return the values that integers of a scale and a zero point stand for."""
    return q if step is None else step[0] * (q.astype(np.float64) - step[1])
