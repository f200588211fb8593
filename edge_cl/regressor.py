"""Numbers instead of classes: a frozen encoder and a linear model whose weights may drift.

    regressor = Regressor.open(bundle=bundle)
    regressor.learn(reading, 21.5)
    print(regressor.predict(other).mean, regressor.predict(other).sd)
    regressor.save("boiler.regressor")

The filter of `edge_cl.heads.kalman_filter` over the encoder's features and a constant one, as
long as all of them together, so that the intercept is hardly penalised. Values are taken as
they come; nothing has to be standardised:

    a moved zero moves estimates as much, a changed unit changes estimates and sd by its factor

for the noise is learned in the values' own unit, one for each output, and weights drift
towards the mean of the values so far, c, not towards 0:

    c ← c + (y - c)/n,   b ← b - (step of c)/(constant feature)                          (1)

b are the intercept's weights: the second half of (1) leaves every estimate where it is. The
first value is the first c (of values learned together, their mean). Standard deviations are
those of a single value, noise included, and infinite until two values differ.

What was learned cannot be taken back, and two regressors cannot be merged.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from edge_cl import arrays, files
from edge_cl.arrays import F64
from edge_cl.bundle import Bundle
from edge_cl.encoders import open_encoder
from edge_cl.errors import InputError, StateError
from edge_cl.features import Identity, MapSpec, map_named
from edge_cl.heads.kalman import KalmanOptions
from edge_cl.heads.kalman_filter import KalmanFilter
from edge_cl.heads.penalty import ridge_or_default
from edge_cl.interrupts import interrupts_wait
from edge_cl.pipeline import Pipeline
from edge_cl.resume import find_bundle, saved_encoder
from edge_cl.sealed import seal, unseal
from edge_cl.stopwatch import Stopwatch

__all__ = ["Estimate", "Regressor"]

_LARGEST = 1e100  # |value|: squares of it are still numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The answer for one input, in the values' units.

    mean : (outputs,).  sd : (outputs,), standard deviation of a value that is to be measured.
    """

    mean: F64
    sd: F64


class Regressor:
    """A frozen encoder with a model of numbers that learns. Made by `Regressor.open`."""

    def __init__(self, pipeline: Pipeline, outputs: int, options: KalmanOptions) -> None:
        if outputs < 1:
            raise InputError(f"expected outputs >= 1, got {outputs}")
        self._pipeline = pipeline
        self._options = options
        norm = pipeline.mean_square_norm
        ridge = ridge_or_default(options.ridge, norm)
        self._constant = norm**0.5 / pipeline.scale
        self._filter = KalmanFilter(
            pipeline.d + 1,
            outputs,
            ridge=ridge / pipeline.scale**2,
            forgetting=options.forgetting,
            shortest=options.shortest_memory(pipeline.d),
            noise="each" if options.noise == "learn" else options.noise,
        )
        self._centre: F64 = np.zeros(outputs)  # c of (1)
        self._samples = 0
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        *,
        bundle: str | os.PathLike[str] | Bundle | None = None,
        outputs: int = 1,
        options: KalmanOptions | None = None,
        feature_map: str | MapSpec | None = None,
        runtime: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
        require_signature: str | os.PathLike[str] | None = None,
    ) -> Regressor:
        """Return a regressor that has learned nothing yet.

        Parameters
        ----------
        bundle : a path or an opened bundle; None takes the one that ships with edge-cl.
        outputs : how many numbers belong to one input.
        options : memory, penalty and noise; see `KalmanOptions`. The clock is each sample.
        feature_map : as for `Learner.open`.
        runtime, precision, threads : see `edge_cl.encoders.open_encoder`.

        Raises
        ------
        BundleError, InputError, BackendError : a file is damaged, an option does not exist.
        """
        opened = find_bundle(bundle, None, require_signature)[0]
        encoder = open_encoder(opened, runtime=runtime, precision=precision, threads=threads)
        spec = map_named(feature_map) if isinstance(feature_map, str) else feature_map
        return cls(
            Pipeline(opened, encoder, spec or Identity()), outputs, options or KalmanOptions()
        )

    @property
    def samples(self) -> int:
        """How many were learned."""
        return self._samples

    @property
    def gamma(self) -> float:
        """What is left of the weights after a sample; see `edge_cl.heads.kalman_filter`."""
        return self._filter.drift.gamma

    def learn(self, x: ArrayLike, value: ArrayLike) -> Estimate | None:
        """Learn one input with its value, a number or (outputs,) numbers.

        Returns what was expected of it just before, None for the first.

        Raises
        ------
        InputError : `x` or `value` is not acceptable. Nothing has changed.
        """
        rows, y = self._rows([x]), self._value(value)
        with self._lock, interrupts_wait():
            expected = self._estimate(rows[0]) if self._samples else None
            self._learn(rows, y[None])
            return expected

    def learn_many(self, xs: Iterable[ArrayLike], values: Sequence[ArrayLike]) -> None:
        """Learn many inputs with their values: all of them, or on an error none.

        With `KalmanOptions(clock="call")` they are of one moment, and weights drift once.
        """
        y = np.array([self._value(value) for value in values])
        rows = self._rows(xs)
        if len(rows) != len(y):
            raise InputError(f"expected a value for each of {len(rows)} inputs, got {len(y)}")
        together = self._options.clock == "call"
        with self._lock, interrupts_wait():
            for part in [slice(None)] if together and len(y) else map(_one, range(len(y))):
                self._learn(rows[part], y[part])

    def predict(self, x: ArrayLike) -> Estimate:
        """Answer for one input.

        Raises
        ------
        InputError : `x` is not acceptable.
        StateError : nothing has been learned yet.
        """
        rows = self._rows([x])
        with self._lock:
            if not self._samples:
                raise StateError("nothing has been learned yet", hint="learn something first")
            return self._estimate(rows[0])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that was learned to one file, whole or not at all.

        Raises
        ------
        StorageError : the disk refused; a file that was there is as it was.
        """
        with self._lock:
            header = _Header(
                encoder_sha256=self._pipeline.encoder.sha256,
                encoder_name=self._pipeline.bundle.name,
                map=self._pipeline.map_spec,
                scale=self._pipeline.scale,
                outputs=self._filter.outputs,
                options=self._options,
                samples=self._samples,
            )
            tensors = {**self._filter.tensors(), "centre": self._centre}
        files.write_atomically(Path(path), seal(header, tensors), mode=0o600)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        bundle: str | os.PathLike[str] | Bundle | None = None,
        threads: int | None = None,
        require_signature: str | os.PathLike[str] | None = None,
    ) -> Regressor:
        """Return the regressor that was saved; it goes on with the same bits.

        Parameters
        ----------
        bundle : the one it was opened with; its encoder is found by its digest.

        Raises
        ------
        StateError : the file is damaged, too new, or belongs to another encoder.
        """
        try:
            header, tensors = unseal(Path(path), _Header, version=1)
        except FileNotFoundError:
            raise StateError(f"cannot read {os.fspath(path)}: there is no such file") from None
        opened = find_bundle(bundle, None, require_signature)[0]
        runtime, precision = saved_encoder(opened, header.encoder_sha256)
        encoder = open_encoder(opened, runtime=runtime, precision=precision, threads=threads)
        if encoder.sha256 != header.encoder_sha256:
            raise StateError(
                f"{os.fspath(path)} was learned with another encoder, of {header.encoder_name}",
                hint="give the bundle it was opened with",
            )
        try:
            loaded = cls(Pipeline(opened, encoder, header.map), header.outputs, header.options)
        except InputError as error:
            raise StateError(f"{os.fspath(path)} does not fit: {error}") from error
        centre = tensors.pop("centre", np.zeros(0))
        fits = centre.shape == (header.outputs,) and np.isfinite(centre).all()
        if loaded._pipeline.scale != header.scale or not fits or header.samples < 0:
            raise StateError(f"{os.fspath(path)} does not fit the encoder's features")
        loaded._filter.restore(tensors)
        loaded._centre, loaded._samples = centre.copy(), header.samples
        return loaded

    def _rows(self, xs: Iterable[ArrayLike]) -> F64:
        q = self._pipeline.grid(xs, Stopwatch())
        return np.concatenate([q, np.full((len(q), 1), self._constant)], axis=1)

    def _learn(self, rows: F64, y: F64) -> None:
        """Learn what belongs to one moment; one sample, unless the clock is that of calls."""
        step = (y - self._centre).sum(axis=0) / (self._samples + len(y))
        if self._samples:
            self._filter.move(-1, -step / self._constant)  # (1)
        self._centre = self._centre + step
        self._samples += len(y)
        if self._options.clock == "call":
            self._filter.learn_together(rows, y - self._centre)
        else:
            self._filter.learn(rows[0], y[0] - self._centre)

    def _value(self, value: ArrayLike) -> F64:
        a = arrays.as_array(value, "a value")
        shapes = [(self._filter.outputs,), *([()] if self._filter.outputs == 1 else [])]
        if a.dtype.kind not in "fiu" or a.shape not in shapes:
            raise InputError(f"expected numbers of shape {shapes[-1]}, got {a.dtype} {a.shape}")
        y = a.astype(np.float64).reshape(-1)
        if not (np.abs(y) <= _LARGEST).all():
            raise InputError(f"expected finite values, at most {_LARGEST:g}, got {y}")
        return y

    def _estimate(self, row: F64) -> Estimate:
        noise = self._filter.noise
        variance = noise * (1.0 + self._filter.variance(row[None])[0])
        return Estimate(
            mean=self._centre + self._filter.expected(row[None])[0],
            sd=np.sqrt(np.where(noise > 0, variance, np.inf)),
        )


def _one(i: int) -> slice:
    return slice(i, i + 1)


class _Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: Literal["regressor"] = "regressor"
    format_version: int = 1
    encoder_sha256: str
    encoder_name: str
    map: MapSpec
    scale: float
    outputs: int
    options: KalmanOptions
    samples: int
