"""An encoder file as a device would have it: run by the runtime's own code, compared, timed."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np

from edge_cl.arrays import F32, U8
from edge_cl.bundle import EmbeddingSpec, EncoderSpec
from edge_cl.encoders import Runner, load_network
from edge_cl.encoders.litert_runner import litert_available
from edge_cl.encoders.onnx_runner import onnx_available
from edge_cl.errors import MissingExtraError
from edge_cl_export.graph.to_onnx import INPUT, OUTPUT
from edge_cl_export.proof.fidelity import Fidelity, Reference
from edge_cl_export.recipe import MEMBERS, Recipe

__all__ = ["Judge", "Latency", "described", "latency", "require_runtime", "runner_of"]

RUNS, SECONDS = 100, 2.0  # of a timing: so many, or so long


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds of one picture on one thread of this machine, over `runs`."""

    median_ms: float
    p99_ms: float
    runs: int


@dataclass(frozen=True, slots=True)
class Judge:
    """Validation pictures, and what the float network gives for them.

    Attributes
    ----------
    pictures : (n, h, w, 3) uint8.
    features : (n, d) float features of them.
    reference : the same, with what heads make of them.
    embedding : grid and norm of the bundle.
    """

    pictures: U8
    features: F32
    reference: Reference
    embedding: EmbeddingSpec

    def __call__(self, data: bytes, recipe: Recipe) -> Fidelity:
        """Say how faithful the file is.

        Raises
        ------
        BackendError : the runtime cannot load or run it.
        MissingExtraError : the runtime is not installed.
        """
        return self.reference.compare(runner_of(data, recipe).run(self.pictures))


def require_runtime(runtime: str) -> None:
    """Do nothing if the runtime that would run a file is installed.

    Raises
    ------
    MissingExtraError : it is not.
    """
    available = onnx_available() if runtime == "onnx" else litert_available()
    if not available:
        name = "ONNX Runtime" if runtime == "onnx" else "LiteRT"
        raise MissingExtraError(f"judging a file through {name}", "export")


def described(recipe: Recipe) -> EncoderSpec:
    """Return what the manifest says of a file made by `recipe`."""
    onnx = recipe.runtime == "onnx"
    return EncoderSpec(
        member=MEMBERS[recipe.format],
        runtime=recipe.runtime,
        precision=recipe.precision,
        recipe=recipe.name,
        input_name=INPUT if onnx else "args_0",
        output_name=OUTPUT if onnx else "output_0",
    )


def runner_of(data: bytes, recipe: Recipe) -> Runner:
    """Load a file on one thread, as a device would."""
    return load_network(described(recipe), data, 1)


def latency(data: bytes, recipe: Recipe, picture: U8) -> Latency:
    """Time the file on `picture` (1, h, w, 3)."""
    runner = runner_of(data, recipe)
    for _ in range(3):
        runner.run(picture)
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < RUNS and time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        runner.run(picture)
        times.append(1e3 * (time.perf_counter() - start))
    return Latency(
        median_ms=round(statistics.median(times), 3),
        p99_ms=round(float(np.quantile(times, 0.99, method="higher")), 3),
        runs=len(times),
    )
