"""From a raw input to features, whichever library runs the network.

`open_encoder` picks a member of the bundle; the result is one class for all of them: it
prepares a raw input (a uint8 picture of any size, or a vector) and encodes batches. The
libraries live in one file each: `onnx_runner`, `litert_runner`; `passthrough` is for
bundles whose features come ready-made. A network that was never loaded on this machine is
loaded by a child process first (`canary`).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_cl import arrays
from edge_cl.arrays import F32
from edge_cl.bundle import Bundle, EncoderSpec
from edge_cl.device import usable_cores
from edge_cl.encoders.canary import prove
from edge_cl.encoders.litert_runner import LiteRTRunner, litert_available
from edge_cl.encoders.onnx_runner import OnnxRunner, onnx_available
from edge_cl.encoders.passthrough import PassthroughRunner
from edge_cl.encoders.picture import fit_picture
from edge_cl.errors import BackendError, InputError, MissingExtraError

__all__ = [
    "Encoder",
    "Runner",
    "choose_encoder",
    "load_network",
    "matching_encoders",
    "open_encoder",
]

# Of what a bundle offers, the first that can run here: the fastest on most boards.
_PREFERENCE = [("onnx", "int8"), ("litert", "int8"), ("onnx", "fp16"), ("litert", "fp16")]


class Runner(Protocol):
    """A loaded network."""

    def run(self, batch: NDArray[Any]) -> F32:
        """Return features (n, d) for prepared inputs (n, *shape)."""


class Encoder:
    """Raw input in, features out.

    Attributes
    ----------
    spec : the member of the bundle that runs, None for ready-made features.
    d : number of features.
    sha256 : what identifies the features: the digest of the network's file, or of the manifest.
    """

    def __init__(self, bundle: Bundle, spec: EncoderSpec | None, runner: Runner) -> None:
        self.spec = spec
        self.d = bundle.manifest.embedding.d
        self.sha256 = bundle.manifest.members[spec.member].sha256 if spec else bundle.sha256
        self._input = bundle.manifest.input
        self._runner = runner

    def prepare(self, raw: ArrayLike) -> NDArray[Any]:
        """Return one raw input in the network's shape and dtype.

        Raises
        ------
        InputError : not a uint8 picture, or not a finite vector of the right length.
        """
        if self._input.kind == "image":
            return fit_picture(arrays.image(raw), self._input)
        return arrays.vector(raw, self._input.shape[0])

    def encode(self, batch: NDArray[Any]) -> F32:
        """Return features (n, d) for prepared inputs (n, *shape).

        Raises
        ------
        BackendError : the network failed, or returned something that is not n finite rows.
        """
        x = self._runner.run(batch)
        if x.shape != (len(batch), self.d) or not np.isfinite(x).all():
            raise BackendError(
                f"expected finite features ({len(batch)}, {self.d}) of the encoder, got {x.shape}",
                hint="the bundle may be made for another version of the runtime",
            )
        return np.ascontiguousarray(x, dtype=np.float32)


def matching_encoders(
    bundle: Bundle, runtime: str | None = None, precision: str | None = None
) -> tuple[EncoderSpec, ...]:
    """Return the encoders of `bundle` that fit the wishes; none where it holds none.

    Raises
    ------
    InputError : there is a wish, and no encoder that fits it.
    """
    specs = bundle.manifest.encoders
    wanted = tuple(
        s for s in specs if runtime in (None, s.runtime) and precision in (None, s.precision)
    )
    if not specs and (runtime or precision):
        raise InputError(f"{bundle.name} holds no encoder: its features come ready-made")
    if specs and not wanted:
        have = ", ".join(f"{s.runtime} {s.precision}" for s in specs)
        wish = " ".join(w for w in (runtime, precision) if w)
        raise InputError(f"{bundle.name} holds no {wish} encoder", hint=f"it holds: {have}")
    return wanted


def choose_encoder(
    bundle: Bundle, runtime: str | None = None, precision: str | None = None
) -> EncoderSpec | None:
    """Return the encoder of `bundle` that fits the wishes and can run here.

    Raises
    ------
    InputError : the bundle has no such encoder.
    MissingExtraError : it has, but the library that runs it is not installed.
    """
    wanted = matching_encoders(bundle, runtime, precision)
    if not wanted:
        return None
    available = {"onnx": onnx_available(), "litert": litert_available()}
    usable = [s for s in wanted if available[s.runtime]]
    if not usable:
        extra = wanted[0].runtime
        raise MissingExtraError(f"the {extra} encoder of {bundle.name}", extra)
    return min(usable, key=_rank)


def open_encoder(
    bundle: Bundle,
    *,
    runtime: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
) -> Encoder:
    """Load an encoder of `bundle`.

    Parameters
    ----------
    runtime : "onnx" or "litert"; None takes what can run here.
    precision : "int8", "fp16" or "fp32"; None takes the fastest kind.
    threads : of the network; None takes the cores this process may use, at most four.

    Raises
    ------
    InputError, MissingExtraError : see `choose_encoder`.
    BackendError : the network cannot be loaded here, or does not work: see `canary`.
    """
    if threads is not None and threads < 1:
        raise InputError(f"expected threads >= 1, got {threads}")
    spec = choose_encoder(bundle, runtime, precision)
    if spec is None:
        return Encoder(bundle, None, PassthroughRunner())
    threads = threads or min(4, usable_cores())
    prove(bundle, spec, threads)
    return Encoder(bundle, spec, load_network(spec, bundle.files[spec.member], threads))


def load_network(spec: EncoderSpec, blob: bytes, threads: int) -> Runner:
    """Load a network with the library that runs it, in this process.

    Raises
    ------
    BackendError : the library cannot load it.
    """
    if spec.runtime == "onnx":
        return OnnxRunner(blob, spec, threads)
    return LiteRTRunner(blob, spec, threads)


def _rank(spec: EncoderSpec) -> int:
    key = (spec.runtime, spec.precision)
    return _PREFERENCE.index(key) if key in _PREFERENCE else len(_PREFERENCE)
