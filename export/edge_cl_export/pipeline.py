"""The export itself: trace, round, convert, quantise, judge; write only what passed.

    nn.Module ─ trace ─┬─────────────────────────→ to_onnx ──────────────→ onnx-fp32
                       │                         └ to_litert ────────────→ litert-fp32
                       └ moments ─ round_weights ┬ to_onnx ─ ranges ─ qdq → onnx-int8
                                                 └ to_litert ─ quantise ──→ litert-int8

Every file is judged through the runtime's own runners, the code that a device runs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import fx

from edge_cl.arrays import U8
from edge_cl.bundle import EmbeddingSpec, EncoderSpec
from edge_cl.encoders import Runner
from edge_cl.encoders.litert_runner import LiteRTRunner
from edge_cl.encoders.onnx_runner import OnnxRunner
from edge_cl_export.backbones import Backbone
from edge_cl_export.calibration import Pictures
from edge_cl_export.embedding import Embedding, embed
from edge_cl_export.fidelity import Fidelity, check, measure
from edge_cl_export.quantize_litert import quantize_litert
from edge_cl_export.quantize_onnx import quantize_onnx
from edge_cl_export.ranges import activation_ranges
from edge_cl_export.recipe import MEMBERS, Recipe
from edge_cl_export.rounding import round_weights
from edge_cl_export.second_moments import layer_moments
from edge_cl_export.to_litert import to_litert
from edge_cl_export.to_onnx import INPUT, OUTPUT, to_onnx
from edge_cl_export.trace import trace
from edge_cl_export.write import EncoderFile, embedding_spec, write_export

__all__ = ["ExportResult", "Progress", "export"]

Progress = Callable[[str, float], None]

BATCH = 4
ROUNDING_PICTURES = 64
CREATED = "1980-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What was written; by member: its bytes, fidelity and latency on this machine.

    latency_ms : median of one picture on one thread. Not in the bundle: it is of this machine.
    """

    path: Path
    size_bytes: int
    embedding: EmbeddingSpec
    encoders: tuple[EncoderSpec, ...]
    encoder_bytes: dict[str, int]
    fidelity: dict[str, Fidelity]
    latency_ms: dict[str, float]
    calibration_pictures: int
    seconds: float


def export(
    backbone: Backbone,
    recipes: list[Recipe],
    pictures: Pictures,
    out: Path,
    *,
    min_cosine: float = 0.98,
    seed: int = 0,
    command: str = "",
    created: str = CREATED,
    progress: Progress | None = None,
) -> ExportResult:
    """Export `backbone` by `recipes` into one bundle at `out`.

    Raises
    ------
    InputError : too few pictures, or one that cannot be read.
    ExportError : the network cannot be traced or converted.
    FidelityError : an encoder file misses the gate; nothing was written.
    StorageError : the disk refused.
    """
    started = time.monotonic()
    step = _Steps(progress, 3 + 3 * len(recipes))
    chosen, held_out = pictures.split(seed)
    spec = backbone.preparation.spec

    step("tracing the network")
    module = Embedding(backbone.module, backbone.preparation).eval()
    work = _Workshop(module, backbone, chosen)

    def batches() -> Iterator[U8]:
        return chosen.batches(spec, work.batch)

    step("running the float model")
    seen = np.concatenate([embed(work.graph(rounded=False), batch) for batch in batches()])
    judged = list(held_out.batches(spec, work.batch))
    validation, reference = (
        np.concatenate(judged),
        np.concatenate([embed(module, b) for b in judged]),
    )
    embedding = embedding_spec(seen)
    files, latency = [], {}
    for recipe in recipes:
        step(f"{recipe.format}: converting")
        data = work.make(recipe, batches, step)
        step(f"{recipe.format}: judging")
        encoder = _describe(recipe)
        runner = _runner(data, encoder)
        found = measure(
            reference, np.concatenate([runner.run(batch) for batch in judged]), held_out.labels
        )
        check(recipe.format, found, min_cosine)
        latency[encoder.member] = _latency_ms(runner, validation[:1])
        files.append(EncoderFile(spec=encoder, data=data, fidelity=found))
    step("writing")
    report = {
        "gate": {"min_cosine": min_cosine},
        "calibration_pictures": len(chosen),
        "seed": seed,
    }
    write_export(
        out, backbone, embedding, files, validation, reference, report,
        command=command, created=created,
    )  # fmt: skip
    return ExportResult(
        path=out,
        size_bytes=out.stat().st_size,
        embedding=embedding,
        encoders=tuple(f.spec for f in files),
        encoder_bytes={f.spec.member: len(f.data) for f in files},
        fidelity={f.spec.member: f.fidelity for f in files},
        latency_ms=latency,
        calibration_pictures=len(chosen),
        seconds=round(time.monotonic() - started, 2),
    )


class _Steps:
    """Tells the caller which step begins, and what share of them is done."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self, what: str) -> None:
        if self._progress is not None:
            self._progress(what, min(self._done / self._total, 1.0))
        self._done += 1


class _Workshop:
    """The traced graph, its rounded twin (made when first asked for), and what makes files."""

    def __init__(self, module: Embedding, backbone: Backbone, chosen: Pictures) -> None:
        self._preparation = backbone.preparation
        self._traced = trace(module, backbone.preparation.size)
        self.batch = BATCH if self._traced.any_batch else 1
        self._chosen = chosen
        self._rounded: fx.GraphModule | None = None

    def graph(self, *, rounded: bool) -> fx.GraphModule:
        """Return the float graph, with its weights rounded or as they were."""
        if not rounded:
            return self._traced.graph
        if self._rounded is None:
            few = self._chosen.pick(range(min(len(self._chosen), ROUNDING_PICTURES)))
            batches = few.batches(self._preparation.spec, self.batch)
            self._rounded = round_weights(
                self._traced.graph, layer_moments(self._traced.graph, batches)
            )
        return self._rounded

    def make(self, recipe: Recipe, batches: Callable[[], Iterator[U8]], step: _Steps) -> bytes:
        """Return the encoder file that `recipe` describes."""
        graph = self.graph(rounded=recipe.rounding == "gptq")
        if recipe.runtime == "litert":
            flat = to_litert(graph, self._preparation.size)
            if recipe.precision == "fp32":
                return flat
            step(f"{recipe.format}: quantising")
            return quantize_litert(flat, batches)
        model = to_onnx(graph, self._traced)
        if recipe.precision == "int8":
            step(f"{recipe.format}: quantising")
            ranges = activation_ranges(model, batches, recipe.percentile)
            model = quantize_onnx(model, ranges, recipe, self._preparation.uint8_step)
        data: bytes = model.SerializeToString(deterministic=True)
        return data


def _describe(recipe: Recipe) -> EncoderSpec:
    onnx = recipe.runtime == "onnx"
    return EncoderSpec(
        member=MEMBERS[recipe.format],
        runtime=recipe.runtime,
        precision=recipe.precision,
        recipe=recipe.name,
        input_name=INPUT if onnx else "args_0",
        output_name=OUTPUT if onnx else "output_0",
    )


def _runner(data: bytes, spec: EncoderSpec) -> Runner:
    return OnnxRunner(data, spec, 1) if spec.runtime == "onnx" else LiteRTRunner(data, spec, 1)


def _latency_ms(runner: Runner, picture: U8, runs: int = 15) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        runner.run(picture)
        times.append(1e3 * (time.perf_counter() - start))
    return round(statistics.median(times), 3)
