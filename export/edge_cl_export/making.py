"""One encoder file: made by a recipe, judged, improved where it misses the gate."""

from __future__ import annotations

from dataclasses import replace

import onnx

from edge_cl.bundle import EncoderSpec
from edge_cl.encoders import litert_runner, onnx_runner
from edge_cl.errors import FidelityError
from edge_cl_export.encoder_file import EncoderFile
from edge_cl_export.proof.fidelity import Fidelity
from edge_cl_export.proof.judge import Judge, described, require_runtime, runner_of
from edge_cl_export.proof.stages import Stage, litert_stages, onnx_stages
from edge_cl_export.quantise.integer_share import integer_share
from edge_cl_export.recipe import Recipe, plain_recipe
from edge_cl_export.remedy.climb import Climb, climb
from edge_cl_export.steps import Steps
from edge_cl_export.target.board import check_runtime
from edge_cl_export.wanted import Wanted
from edge_cl_export.workshop import ReadyWorkshop, TracedWorkshop

__all__ = ["Maker"]

STAGE_PICTURES = 8
TUNED_RANGES = "percentile99.99"  # measured: the best worst case, see the guide


class Maker:
    """Makes the files of one network, one format after the other.

    What one int8 format needed, the next one begins with: they share their weights.
    """

    def __init__(
        self,
        workshop: TracedWorkshop | ReadyWorkshop,
        judge: Judge,
        wanted: Wanted,
        step: Steps,
    ) -> None:
        self._workshop, self._judge, self._wanted, self._step = workshop, judge, wanted, step
        self._ended: Recipe | None = None

    @property
    def formats(self) -> tuple[str, ...]:
        """What will be made: of a network that came quantised, what it is."""
        only = self._workshop.only if isinstance(self._workshop, ReadyWorkshop) else None
        return self._wanted.formats if only is None else (only.format,)

    def make(self, format_: str) -> EncoderFile:
        """Return the file of a format.

        Raises
        ------
        FidelityError : it misses the gate, and no remedy is left.
        ExportError, MissingExtraError, BackendError : it cannot be made, or does not run here.
        """
        require_runtime(plain_recipe(format_).runtime)
        at = self._climbed(format_)
        recipe = at.recipe
        if at.misses and not self._wanted.accepted:
            raise FidelityError(
                f"{format_}: {at.misses[0]}",
                hint="calibrate on more pictures, such as the device will see; leave the format "
                "out; or accept it by name: --accept REASON",
            )
        if len(at.rungs) > 1:
            self._ended = recipe
        if self._wanted.target is not None:
            check_runtime(at.data, self._wanted.target.profile)
        self._step(f"{format_}: looking inside")
        share = integer_share(at.data)
        return EncoderFile(
            spec=described(recipe),
            recipe=recipe,
            data=at.data,
            fidelity=at.found,
            misses=at.misses,
            rungs=at.rungs if recipe.integer else (),
            stages=self._stages(recipe, at.data),
            operators=self._operators(described(recipe), at.data),
            integer_layers=len(share.integer),
            float_layers=share.floating if recipe.integer else (),
            deployed=runner_of(at.data, recipe).run(self._judge.pictures[: self._wanted.parity]),
        )

    def _climbed(self, format_: str) -> Climb:
        start = self._start(format_)
        fixed = not start.integer or self._wanted.exact is not None
        workshop = self._workshop

        def tried(recipe: Recipe) -> tuple[bytes, Fidelity]:
            self._step(f"{recipe.name}: making")
            data = workshop.make(recipe)
            self._step(f"{recipe.name}: judging")
            return data, self._judge(data, recipe)

        frontier = None
        if isinstance(workshop, TracedWorkshop) and start.style != "fullint":
            frontier = workshop.kept_in_float
        return climb(
            start,
            tried,
            self._wanted.gate,
            fixed=fixed,
            weights=workshop.weights,
            frontier=frontier,
        )

    def _start(self, format_: str) -> Recipe:
        """Return the recipe that a climb begins with."""
        if isinstance(self._workshop, ReadyWorkshop) and self._workshop.only is not None:
            return self._workshop.only
        if self._wanted.exact is not None:
            return self._wanted.exact
        recipe = plain_recipe(format_)
        if not recipe.integer or (self._wanted.recipe == "plain" and self._ended is None):
            return recipe
        if self._workshop.weights:
            recipe = replace(recipe, rounding="gptq")
        if self._ended is not None:
            ended = self._ended
            kept = ended.kept if recipe.style != "fullint" else ()
            return replace(
                recipe, ranges=ended.ranges, equalised=ended.equalised, rounding=ended.rounding,
                kept=kept,
            )  # fmt: skip
        return replace(recipe, ranges=TUNED_RANGES)

    def _operators(self, spec: EncoderSpec, data: bytes) -> dict[str, dict[str, int]]:
        if spec.runtime == "onnx":
            return onnx_runner.operators_run(data, spec, self._judge.pictures[:1])
        return litert_runner.operators_run(data, spec)

    def _stages(self, recipe: Recipe, data: bytes) -> tuple[Stage, ...]:
        """Return where the error arises, on some pictures; nothing where there is none."""
        if recipe.precision == "fp32" or recipe.style == "ready":
            return ()
        few, scale = self._judge.pictures[:STAGE_PICTURES], self._judge.embedding.scale
        twin = self._workshop.float_twin(recipe)
        if recipe.runtime == "litert":
            return litert_stages(twin, data, few, scale)
        return onnx_stages(onnx.load_from_string(twin), onnx.load_from_string(data), few, scale)
