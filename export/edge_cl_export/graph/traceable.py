"""What keeps a network from being traced: each limit as one line, with the way out.

Before the trace: TorchScript, lazy layers, weights of another type or on another device, an
input size that the network does not take. In the trace: control flow that looks at the data.
After it: what differs from run to run or from batch to batch, and a network without weights.
"""

from __future__ import annotations

import traceback
from pathlib import Path

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from edge_cl.errors import EdgeCLError, ExportError
from edge_cl_export.first_line import first_line
from edge_cl_export.quiet import quiet

__all__ = ["check_graph", "check_network", "check_size", "describe", "refusal"]

SIZES = (224, 32, 64, 96, 128, 160, 192, 240, 256, 288, 299, 320, 384, 448, 512)

_ATEN = torch.ops.aten
_WEIGHTED = {
    _ATEN.conv1d.default, _ATEN.conv2d.default, _ATEN.conv2d.padding, _ATEN.conv3d.default,
    _ATEN.conv_transpose2d.input, _ATEN.convolution.default, _ATEN.linear.default,
    _ATEN.matmul.default, _ATEN.mm.default, _ATEN.addmm.default, _ATEN.bmm.default,
    _ATEN.einsum.default,
}  # fmt: skip
_DROPOUTS = {  # with whether they drop at all as the third argument
    _ATEN.dropout.default, _ATEN.alpha_dropout.default, _ATEN.feature_dropout.default,
    _ATEN.feature_alpha_dropout.default, _ATEN.native_dropout.default,
}  # fmt: skip
_ATTENTION = _ATEN.scaled_dot_product_attention.default  # random only where it drops
_HERE = str(Path(__file__).parent)
_TORCH = str(Path(torch.__file__).parent)


def check_network(module: nn.Module) -> None:
    """Do nothing if the weights of `module` are such as can be exported.

    Raises
    ------
    ExportError : lazy layers that never ran, TorchScript, weights that are not float32 or not
        in this machine's memory.
    """
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise ExportError(
                f"{_where(name)} is TorchScript, which cannot be traced",
                hint="return the nn.Module that it was made from",
            )
        own = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
        for short, tensor in own:
            at = f"{type(part).__name__} {'.'.join(filter(None, (name, short)))}"
            if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
                raise ExportError(
                    f"{at} is of a lazy layer, which has no weights before it has run",
                    hint="run the network once on an example in the factory",
                )
            if tensor.device.type != "cpu":
                raise ExportError(
                    f"{at} is on the device {tensor.device}, expected cpu",
                    hint="call .to('cpu') in the factory; with 'meta', load the weights first",
                )
            if tensor.is_floating_point() and tensor.dtype != torch.float32:
                raise ExportError(
                    f"{at} is {str(tensor.dtype)[6:]}, expected float32",
                    hint="call .float() in the factory; --format makes smaller files",
                )


def check_size(module: nn.Module, size: tuple[int, int]) -> None:
    """Do nothing if `module`, with uint8 (1, h, w, 3) in, runs for pictures of `size`.

    Raises
    ------
    ExportError : it raises; says which other sizes it takes.
    """
    error = _attempt(module, size)
    if error is None:
        return
    if isinstance(error, EdgeCLError):
        raise error
    other = next((s for s in SIZES if (s, s) != size and _attempt(module, (s, s)) is None), None)
    raise ExportError(
        f"the network fails for pictures of {size[0]}x{size[1]}{_place(error)}: "
        f"{first_line(error)}",
        hint=f"it takes {other}x{other}: --input-size {other}" if other else "",
    ) from error


def refusal(error: Exception, size: tuple[int, int]) -> ExportError:
    """Return what to say about a network that runs, but cannot be traced."""
    place = _place(error)
    if any("DataDependent" in kind.__name__ for kind in type(error).__mro__):
        return ExportError(
            f"the network decides by the values of its data{place}, and cannot be traced",
            hint="use torch.where instead, or take a layer before it by --layer NAME",
        )
    return ExportError(
        f"the network cannot be traced for pictures of {size[0]}x{size[1]}{place}: "
        f"{first_line(error)}",
        hint="rewrite that line with torch's operators, or take an earlier layer by --layer NAME",
    )


def check_graph(graph: fx.GraphModule) -> None:
    """Do nothing if the traced `graph` is a function of the picture alone, with weights.

    Raises
    ------
    ExportError : dropout left on, random numbers, a batch norm over the batch; no weights.
    """
    for node in graph.graph.nodes:
        target = node.target
        if target in _DROPOUTS and node.args[2]:
            raise ExportError(
                f"{target} in {_owner(node)} drops features in evaluation too",
                hint="pass training=self.training to it, or use nn.Dropout",
            )
        if target is _ATEN.batch_norm.default and node.args[5]:
            raise ExportError(
                f"the batch norm in {_owner(node)} normalises by the batch, not by what it learned",
                hint="train with track_running_stats=True",
            )
        if _is_random(node):
            raise ExportError(
                f"{target} in {_owner(node)} makes features differ from run to run",
                hint="use it in training only, or take an earlier layer by --layer NAME",
            )
    made = graph.graph.output_node().args[0]
    features = made[0] if isinstance(made, tuple | list) else made
    shape = features.meta["val"].shape if isinstance(features, fx.Node) else ()
    if not all(isinstance(side, int) for side in shape[1:]):
        raise ExportError(
            "the number of features depends on the picture",
            hint="replace what selects by a condition (nonzero, masks), or take an earlier layer",
        )
    if not any(node.target in _WEIGHTED for node in graph.graph.nodes):
        raise ExportError(
            "the network has no convolution and no matrix product: there is nothing to export",
            hint="check --layer",
        )


def describe(output: object) -> str:
    """Return what a network returned, in words."""
    if isinstance(output, Tensor):
        return f"a tensor {tuple(output.shape)}"
    shown = output.values() if isinstance(output, dict) else output
    if isinstance(shown, (tuple, list)) or isinstance(output, dict):
        parts = list(shown)  # type: ignore[call-overload]
        inside = ", ".join(
            str(tuple(p.shape)) if isinstance(p, Tensor) else type(p).__name__ for p in parts[:4]
        )
        return f"{len(parts)} outputs ({inside}{', ...' if len(parts) > 4 else ''})"
    return f"a {type(output).__name__}"


def _attempt(module: nn.Module, size: tuple[int, int]) -> Exception | None:
    """Return what `module` raises for a black picture of `size`; None: it runs."""
    try:
        with quiet(), torch.no_grad():
            module(torch.zeros((1, *size, 3), dtype=torch.uint8))
    except Exception as error:  # noqa: BLE001  this is the user's code
        return error
    return None


def _place(error: Exception) -> str:
    """Return the line of the network's own code that `error` came from, as ' at FILE:LINE'."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((_TORCH, _HERE, "<")):
            code = f" ({frame.line})" if frame.line else ""
            return f" at {Path(frame.filename).name}:{frame.lineno}{code}"
    return ""


def _is_random(node: fx.Node) -> bool:
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or target in _DROPOUTS:
        return False
    if target is _ATTENTION:
        dropped = node.args[4] if len(node.args) > 4 else node.kwargs.get("dropout_p", 0.0)
        return bool(dropped)
    return torch.Tag.nondeterministic_seeded in target.tags


def _owner(node: fx.Node) -> str:
    """Return the module that a node was traced in, by name or by class."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return "the network"
    name, kind = stack[-1][:2]
    name = str(name).removeprefix("backbone").lstrip(".")
    return name or str(kind).rpartition(".")[2]


def _where(name: str) -> str:
    return name or "the network"
