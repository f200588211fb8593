"""Where encoder files are made: a float network and its twins, kept once they were made.

    fx graph ─ equalise ─ round ─┬ to_onnx ──── forms
                                 └ to_litert ── forms

A climb through remedies so pays only for what changes. A network that came as a file has one
form and no twins (`ReadyWorkshop`): its weights stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from torch import fx

from edge_cl.arrays import F32, U8
from edge_cl.encoders import Runner
from edge_cl.errors import InputError
from edge_cl_export.forms import LiteRTForms, OnnxForms
from edge_cl_export.graph.embedding import Embedding, embed
from edge_cl_export.graph.graph_order import in_litert, in_onnx
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.graph.second_moments import LayerMoments, layer_moments, weighted_layers
from edge_cl_export.graph.to_litert import to_litert
from edge_cl_export.graph.to_onnx import to_onnx
from edge_cl_export.graph.trace import trace
from edge_cl_export.pictures.calibration import Pictures
from edge_cl_export.proof.judge import runner_of
from edge_cl_export.ready.onnx_network import ReadyOnnx
from edge_cl_export.ready.tflite_network import ReadyTflite
from edge_cl_export.recipe import Recipe, plain_recipe
from edge_cl_export.remedy.equalise import equalise
from edge_cl_export.remedy.frontier import Choice, frontier, halvings
from edge_cl_export.remedy.rounding import round_nearest, round_weights
from edge_cl_export.remedy.sensitivity import Sensitivity, sensitivities

__all__ = ["ReadyWorkshop", "TracedWorkshop", "Workshop"]

BATCH = 4
ROUNDING_PICTURES = 64
SENSITIVITY_PICTURES = 32
MOST_IN_FLOAT = 2.0  # times the weights of an all-int8 file

Twin = tuple[bool, str]
"""Which twin of the float graph: equalised or not, and how its weights are rounded."""


class Workshop(Protocol):
    """What makes the files of one network.

    Attributes
    ----------
    batch : pictures a time; 1 where the network takes no more.
    weights : whether its weights may be changed: equalised, rounded, chosen to stay in float.
    """

    batch: int
    weights: bool

    def features(self, batch: U8) -> F32:
        """Return what the float network gives for `batch` (n, h, w, 3), (n, d)."""

    def make(self, recipe: Recipe) -> bytes:
        """Return the encoder file that `recipe` describes.

        Raises
        ------
        ExportError : an operator has no such form.
        MissingExtraError : a converter is not installed.
        """

    def float_twin(self, recipe: Recipe) -> bytes:
        """Return the float file that `recipe` was quantised from, in its own runtime."""


class TracedWorkshop:
    """A traced network. See `Workshop`.

    Attributes
    ----------
    layers : names of the weighted layers, in order; a recipe counts them.
    """

    weights = True

    def __init__(self, module: Embedding, preparation: Preparation, chosen: Pictures) -> None:
        self._traced = trace(module, preparation.size)
        self._preparation, self._chosen = preparation, chosen
        self.batch = BATCH if self._traced.any_batch else 1
        self.layers = tuple(node.name for node, _ in weighted_layers(self._traced.graph))
        self._twins: dict[Twin, fx.GraphModule] = {(False, "nearest"): self._traced.graph}
        self._moments: dict[bool, Mapping[str, LayerMoments]] = {}
        self._onnx: dict[Twin, OnnxForms] = {}
        self._litert: dict[Twin, LiteRTForms] = {}

    def features(self, batch: U8) -> F32:
        """See `Workshop`."""
        return embed(self._traced.graph, batch)

    def make(self, recipe: Recipe) -> bytes:
        """See `Workshop`."""
        twin = (recipe.equalised, recipe.rounding)
        kept = self._kept(recipe) if recipe.integer else []
        if recipe.runtime == "onnx":
            onnx_forms = self._onnx_forms(twin)
            names = in_onnx(self._twin(twin), onnx_forms.model, kept)
            return onnx_forms.make(recipe, names)
        forms = self._litert_forms(twin)
        return forms.make(recipe, in_litert(self._twin(twin), forms.model, kept))

    def float_twin(self, recipe: Recipe) -> bytes:
        """See `Workshop`."""
        twin = (recipe.equalised, recipe.rounding)
        if recipe.runtime == "litert":
            return self._litert_forms(twin).model
        data: bytes = self._onnx_forms(twin).model.SerializeToString(deterministic=True)
        return data

    @cached_property
    def sensitivities(self) -> tuple[Sensitivity, ...]:
        """What int8 in one layer alone does to the embedding, layer by layer."""
        pictures = np.concatenate(list(self._few(SENSITIVITY_PICTURES)()))
        rounded = self._twin((False, "gptq"))
        found = sensitivities(self._traced.graph, pictures, rounded=rounded)
        return tuple(layer for layer in found if layer.layer != self._traced.projection)

    @cached_property
    def frontier(self) -> tuple[Choice, ...]:
        """Layers to keep in float, from none to all, that gain most for their bytes."""
        return frontier(self.sensitivities)

    def kept_in_float(self) -> list[tuple[int, ...]]:
        """Return some of the frontier as a recipe counts layers, smaller files first.

        Nothing that would double the weights: such a file is int8 in name only.
        """
        most = MOST_IN_FLOAT * self.frontier[0].bytes
        within = [choice for choice in self.frontier if choice.bytes <= most]
        tried = dict.fromkeys((*halvings(within), within[-1]))
        return [self.counted(choice) for choice in tried if choice.float_layers]

    def counted(self, choice: Choice) -> tuple[int, ...]:
        """Return the layers of a choice as a recipe counts them."""
        place = {name: k for k, name in enumerate(self.layers)}
        return tuple(sorted(place[name] for name in choice.float_layers))

    def _kept(self, recipe: Recipe) -> list[str]:
        """Return the names of the layers that stay in float: those asked for, the projection."""
        beyond = [k for k in recipe.kept if k >= len(self.layers)]
        if beyond:
            raise InputError(
                f"the recipe keeps layer {beyond[0]} in float, "
                f"the network has {len(self.layers)}, counted from 0"
            )
        kept = [self.layers[k] for k in recipe.kept]
        if self._traced.projection is not None and recipe.style != "fullint":
            kept.append(self._traced.projection)
        return list(dict.fromkeys(kept))

    def _twin(self, twin: Twin) -> fx.GraphModule:
        if twin not in self._twins:
            equalised, rounding = twin
            graph = self._traced.graph
            if rounding != "nearest":
                graph = self._twin((equalised, "nearest"))
                rounded = round_weights if rounding == "gptq" else round_nearest
                graph = rounded(graph, self._moments_of(equalised))
            elif equalised:
                graph, _ = equalise(graph, self._few(ROUNDING_PICTURES)())
            self._twins[twin] = graph
        return self._twins[twin]

    def _moments_of(self, equalised: bool) -> Mapping[str, LayerMoments]:
        """Return what the layers see, but for the projection, which is not rounded."""
        if equalised not in self._moments:
            graph = self._twin((equalised, "nearest"))
            found = layer_moments(graph, self._few(ROUNDING_PICTURES)())
            found.pop(self._traced.projection or "", None)
            self._moments[equalised] = found
        return self._moments[equalised]

    def _onnx_forms(self, twin: Twin) -> OnnxForms:
        if twin not in self._onnx:
            model = to_onnx(self._twin(twin), self._traced)
            self._onnx[twin] = OnnxForms(model, self._batches, self._preparation.uint8_step)
        return self._onnx[twin]

    def _litert_forms(self, twin: Twin) -> LiteRTForms:
        if twin not in self._litert:
            model = to_litert(self._twin(twin), self._preparation.size)
            self._litert[twin] = LiteRTForms(model, self._batches)
        return self._litert[twin]

    def _batches(self) -> Iterable[U8]:
        return self._chosen.batches(self._preparation.spec, self.batch)

    def _few(self, most: int) -> Callable[[], Iterable[U8]]:
        few = self._chosen.pick(range(min(len(self._chosen), most)))
        return lambda: few.batches(self._preparation.spec, self.batch)


class ReadyWorkshop:
    """A network that came as an ONNX or a LiteRT file. See `Workshop`.

    One that came quantised, or in half precision, is shipped as it is.
    """

    weights = False

    def __init__(self, ready: ReadyOnnx | ReadyTflite, chosen: Pictures) -> None:
        self._ready, self._chosen = ready, chosen
        self.batch = BATCH if isinstance(ready, ReadyOnnx) and ready.any_batch else 1
        runtime: Literal["onnx", "litert"] = "onnx" if isinstance(ready, ReadyOnnx) else "litert"
        as_it_is = ready.precision != "fp32"
        self.only = (
            Recipe(runtime=runtime, precision=ready.precision, style="ready") if as_it_is else None
        )
        plain = self.only or plain_recipe(f"{runtime}-fp32")
        self._forms: OnnxForms | LiteRTForms = (
            OnnxForms(ready.model, self._batches, ready.preparation.uint8_step)
            if isinstance(ready, ReadyOnnx)
            else LiteRTForms(ready.model, self._batches)
        )
        self._runner: Runner = runner_of(self.make(plain), plain)

    def features(self, batch: U8) -> F32:
        """See `Workshop`."""
        return self._runner.run(batch)

    def make(self, recipe: Recipe) -> bytes:
        """See `Workshop`."""
        return self._forms.make(recipe, frozenset())

    def float_twin(self, recipe: Recipe) -> bytes:
        """See `Workshop`."""
        return self.make(plain_recipe(f"{recipe.runtime}-fp32"))

    def _batches(self) -> Iterable[U8]:
        return self._chosen.batches(self._ready.preparation.spec, self.batch)
