"""The layers of a network: which there are, and the network up to one of them.

A layer is a submodule by its name, as `named_modules` gives it; what it returns is taken as the
network's output. What comes after it never runs, is not traced and is not in any file: so a
network whose end cannot be exported (two outputs, control flow) may be cut before that end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from edge_cl.errors import ExportError, InputError
from edge_cl_export.first_line import first_line
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.graph.traceable import check_network, describe

__all__ = ["Cut", "Layer", "cut", "layers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One submodule that runs.

    Attributes
    ----------
    name : what `--layer` takes.
    type : its class.
    shape : of its output for one picture, (c, h, w), (t, c) or (d,); None where it cannot be
        taken, because it runs more than once or returns something else than one tensor.
    parameters : how many numbers it holds, its own submodules included.
    """

    name: str
    type: str
    shape: tuple[int, ...] | None
    parameters: int


class Cut(nn.Module):
    """`backbone` up to and including its submodule `layer`; made by `cut`, which checks it."""

    def __init__(self, backbone: nn.Module, layer: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer returns."""
        handle = self.backbone.get_submodule(self.layer).register_forward_hook(_leave)
        try:
            with _plain_calls():
                self.backbone(x)
        except _ReachedError as reached:
            return reached.output
        finally:
            handle.remove()
        raise ExportError(f"the network did not reach its layer {self.layer!r}")


def cut(backbone: nn.Module, layer: str, preparation: Preparation) -> Cut:
    """Return `backbone` up to `layer`; it is run once to see what the layer does.

    Raises
    ------
    InputError : no layer of this name.
    ExportError : it does not run exactly once, or does not return one tensor.
    """
    modules = dict(backbone.named_modules(remove_duplicate=False))
    if not layer or layer not in modules:
        near = get_close_matches(layer, [name for name in modules if name], n=3, cutoff=0.5)
        raise InputError(
            f"the network has no layer {layer!r}",
            hint=f"did you mean {' or '.join(near)}?" if near else "--layers lists them",
        )
    seen, error = _watch(backbone, preparation)
    outputs = seen.get(modules[layer], [])
    if not outputs and error is not None:
        raise ExportError(
            f"the network fails before its layer {layer!r}: {first_line(error)}",
            hint="check --input-size",
        ) from error
    if len(outputs) != 1:
        times = f"runs {len(outputs)} times" if outputs else "does not run"
        raise ExportError(
            f"the layer {layer!r} {times} for a picture, expected once",
            hint="take a layer that runs once; --layers lists them",
        )
    if not isinstance(outputs[0], Tensor):
        raise ExportError(
            f"the layer {layer!r} returns {describe(outputs[0])}, expected one tensor",
            hint="take a layer inside it; --layers lists them",
        )
    return Cut(backbone, layer)


def layers(module: nn.Module, preparation: Preparation) -> tuple[Layer, ...]:
    """Return the submodules of `module` that run for a picture, in the order they finish.

    A network that fails half way through is listed as far as it came.

    Raises
    ------
    ExportError : the network cannot run at all.
    """
    check_network(module)
    seen, error = _watch(module, preparation)
    names = {part: name for name, part in module.named_modules() if name}
    rows = []
    for part, outputs in seen.items():
        if part not in names:
            continue
        taken = outputs[0] if len(outputs) == 1 else None
        rows.append(
            Layer(
                name=names[part],
                type=type(part).__name__,
                shape=tuple(taken.shape[1:]) if isinstance(taken, Tensor) else None,
                parameters=sum(p.numel() for p in part.parameters()),
            )
        )
    if not rows and error is not None:
        raise ExportError(f"the network fails: {first_line(error)}", hint="check --input-size")
    return tuple(rows)


class _ReachedError(Exception):
    """Leaves a network in the middle, with what its layer returned."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


def _leave(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
    raise _ReachedError(output)


@contextmanager
def _plain_calls() -> Iterator[None]:
    """Call modules as outside of a trace.

    The tracer replaces `Module.__call__` to write down which module it is in, and loses its
    place when an exception leaves one.
    """
    traced = nn.Module.__call__
    nn.Module.__call__ = nn.Module._wrapped_call_impl  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__ = traced  # type: ignore[method-assign]


def _watch(
    module: nn.Module, preparation: Preparation
) -> tuple[dict[nn.Module, list[Any]], Exception | None]:
    """Run `module` on a black picture; return what each submodule returned, and what it raised."""
    seen: dict[nn.Module, list[Any]] = {}
    training = {part: part.training for part in module.modules()}

    def remember(part: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        seen.setdefault(part, []).append(output)

    handles = [part.register_forward_hook(remember) for part in module.modules()]
    error: Exception | None = None
    try:
        with torch.no_grad():
            module.eval()(torch.zeros((1, 3, *preparation.size)))
    except Exception as raised:  # noqa: BLE001  this is the user's code
        error = raised
    finally:
        for handle in handles:
            handle.remove()
        for part, was in training.items():
            part.training = was
    return seen, error
