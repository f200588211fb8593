"""From a raw input to features, whichever library runs the network.

`open_encoder` picks a member of the bundle; the result is one class for all of them: it
prepares a raw input (a uint8 picture of any size, or a vector) and encodes batches. The
libraries live in one file each: `onnx_runner`, `litert_runner`, and those of NPUs, `rknn_runner`
and `hailo_runner`; `passthrough` is for bundles whose features come ready-made. A network that
was never loaded on this machine is loaded by a child process first (`canary`). What it runs on is
asked by name (`accelerators`), on which cores its threads stay is set (`cores`), and what came of
both is told (`Encoder.placement`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_cl import arrays
from edge_cl.arrays import F32
from edge_cl.bundle import Bundle, EncoderSpec
from edge_cl.device import usable_cores
from edge_cl.encoders.canary import prove
from edge_cl.encoders.choice import (
    choose_encoder,
    compiled_for,
    fitting_encoders,
    made_for,
    matching_encoders,
)
from edge_cl.encoders.cores import checked_cores, kept_on
from edge_cl.encoders.hailo_runner import HailoRunner
from edge_cl.encoders.litert_runner import LiteRTRunner
from edge_cl.encoders.onnx_runner import OnnxRunner
from edge_cl.encoders.passthrough import PassthroughRunner
from edge_cl.encoders.picture import fit_picture
from edge_cl.encoders.rknn_runner import RKNNRunner
from edge_cl.encoders.route import ON_CPU, Route
from edge_cl.errors import BackendError, InputError, MissingExtraError
from edge_cl.placement import Placement

__all__ = [
    "Encoder",
    "Placement",
    "Runner",
    "choose_encoder",
    "compiled_for",
    "fitting_encoders",
    "load_encoder",
    "load_network",
    "matching_encoders",
    "open_encoder",
    "route_of",
]


_MOST_THREADS = 1024  # no machine has more cores; with a hundred thousand a library hangs


class Runner(Protocol):
    """A loaded network.

    nodes, fallbacks : see `edge_cl.placement.Placement`.
    """

    nodes: dict[str, int]
    fallbacks: tuple[str, ...]

    def run(self, batch: NDArray[Any]) -> F32:
        """Return features (n, d) for prepared inputs (n, *shape)."""

    def close(self) -> None:
        """Give back a device that nobody else can use meanwhile. A network on a CPU runs on."""


class Encoder:
    """Raw input in, features out.

    Attributes
    ----------
    spec : the member of the bundle that runs, None for ready-made features.
    d : number of features.
    sha256 : what identifies the features: the digest of the network's file, or of the manifest.
    placement : where the network runs.
    """

    def __init__(
        self,
        bundle: Bundle,
        spec: EncoderSpec | None,
        runner: Runner,
        *,
        threads: int = 1,
        route: Route = ON_CPU,
        cores: tuple[int, ...] | None = None,
    ) -> None:
        self.spec = spec
        self.d = bundle.manifest.embedding.d
        self.sha256 = bundle.manifest.members[spec.member].sha256 if spec else bundle.sha256
        self.placement = Placement(
            runtime=spec.runtime if spec else "none",
            precision=spec.precision if spec else "",
            accelerator=route.accelerator if spec else "none",
            threads=threads if spec else 0,
            cores=cores,
            nodes=runner.nodes,
            fallbacks=runner.fallbacks,
        )
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
        with kept_on(self.placement.cores):
            x = self._runner.run(batch)
        if x.shape != (len(batch), self.d) or not np.isfinite(x).all():
            raise BackendError(
                f"expected finite features ({len(batch)}, {self.d}) of the encoder, got {x.shape}",
                hint="the bundle may be made for another version of the runtime",
            )
        return np.ascontiguousarray(x, dtype=np.float32)

    def close(self) -> None:
        """Give back the device that the network runs on, where it is one that is held."""
        self._runner.close()


def open_encoder(
    bundle: Bundle,
    *,
    runtime: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    accelerator: str | None = None,
    accelerator_options: Mapping[str, str] | None = None,
    cores: Iterable[int] | None = None,
    strict: bool = False,
) -> Encoder:
    """Load an encoder of `bundle`.

    Parameters
    ----------
    runtime : "onnx", "litert", "rknn" or "hailo"; None takes what can run here.
    precision : "int8", "fp16" or "fp32"; None takes the fastest kind.
    threads : of the network; None takes the cores it may use, at most four.
    accelerator : a name of `edge_cl.encoders.accelerators`; None is the CPU, or for "rknn" and
        "hailo" their own.
    accelerator_options : of the execution provider or delegate, besides its default ones.
    cores : core numbers that its threads are kept on; None: wherever the system puts them.
    strict : whether a node that does not run on the accelerator is an error.

    Raises
    ------
    InputError, MissingExtraError : see `choose_encoder` and `edge_cl.encoders.cores`.
    BackendError : the network cannot be loaded here, or does not work (`canary`), or it does not
        run where it was asked to.
    """
    if threads is not None and threads < 1:
        raise InputError(f"expected threads >= 1, got {threads}")
    kept = None if cores is None else checked_cores(cores)
    spec = choose_encoder(bundle, runtime, precision, accelerator)
    if threads is None:
        threads = min(4, usable_cores() if kept is None else len(kept))
    route = route_of(spec, accelerator, accelerator_options, strict=strict)
    return load_encoder(bundle, spec, threads, route, kept)


def route_of(
    spec: EncoderSpec | None,
    accelerator: str | None,
    options: Mapping[str, str] | None = None,
    *,
    strict: bool = False,
) -> Route:
    """Return what an encoder is to run on; without a wish the CPU, or the NPU it was made for.

    Raises
    ------
    InputError : there are options, and they are for nothing that takes any.
    """
    wanted = accelerator or (made_for(spec) if spec else "cpu")
    if options and (spec is None or _takes_none(wanted, spec.runtime)):
        raise InputError(f"unknown option {min(options)!r} of {wanted}: it takes none")
    return Route(accelerator=wanted, options=dict(options or {}), strict=strict)


def _takes_none(accelerator: str, runtime: str) -> bool:
    return accelerator == "cpu" or (runtime == "litert" and accelerator == "xnnpack")


def load_encoder(
    bundle: Bundle,
    spec: EncoderSpec | None,
    threads: int,
    route: Route = ON_CPU,
    cores: tuple[int, ...] | None = None,
) -> Encoder:
    """Load one encoder of `bundle`, tried in a child process before; see `open_encoder`."""
    if threads > _MOST_THREADS:
        raise InputError(f"expected at most {_MOST_THREADS} threads, got {threads}")
    if spec is None:
        runner: Runner = PassthroughRunner()
    else:
        prove(bundle, spec, threads, route)
        with kept_on(cores):  # the threads that it makes stay there
            try:
                runner = load_network(spec, bundle.files[spec.member], threads, route)
            except MissingExtraError:
                raise
            except ImportError as error:  # it is installed, and was proven: memory is short
                raise BackendError(
                    f"the library of {spec.runtime} cannot be loaded: {error}",
                    hint="see edge-cl doctor --board; is there a limit of memory, as ulimit -v?",
                ) from error
    return Encoder(bundle, spec, runner, threads=threads, route=route, cores=cores)


def load_network(spec: EncoderSpec, blob: bytes, threads: int, route: Route = ON_CPU) -> Runner:
    """Load a network with the library that runs it, in this process.

    Raises
    ------
    BackendError : the library cannot load it, or does not run it where `route` says.
    """
    kinds: dict[str, Callable[[bytes, EncoderSpec, int, Route], Runner]] = {
        "onnx": OnnxRunner,
        "litert": LiteRTRunner,
        "rknn": RKNNRunner,
        "hailo": HailoRunner,
    }
    return kinds[spec.runtime](blob, spec, threads, route)
