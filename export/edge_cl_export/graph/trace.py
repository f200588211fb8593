"""From an `nn.Module` to one flat graph of aten operators, with batch norms folded away.

Everything after this point (rounding, ONNX, LiteRT) starts from the same graph, so all
formats of a bundle share their weights. Folding a batch norm into the convolution before it:

    γ (W∗x + b - μ) / √(σ² + ε) + β  =  (s W)∗x + (s (b - μ) + β),   s = γ / √(σ² + ε)    (1)
"""

from __future__ import annotations

import operator
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.export import Dim

from edge_cl.errors import EdgeCLError, ExportError
from edge_cl_export.graph.embedding import Embedding
from edge_cl_export.graph.traceable import check_graph, check_size, refusal
from edge_cl_export.quiet import quiet

__all__ = ["Traced", "set_constant", "trace", "weight_of"]

_CONV = torch.ops.aten.conv2d.default
_LINEAR = torch.ops.aten.linear.default
_NORM = torch.ops.aten.batch_norm.default


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A flat graph.

    graph : uint8 (n, h, w, 3) in, float32 (n, d) out.
    size : (height, width).
    any_batch : whether n is free; else it is 1.
    d : number of features.
    projection : name of the node that is the embedding's projection, which stays in float; None
        where there is none.
    """

    graph: fx.GraphModule
    size: tuple[int, int]
    any_batch: bool
    d: int
    projection: str | None = None

    @property
    def example(self) -> Tensor:
        """An input to trace with; two pictures where n is free, for a one is taken as fixed."""
        return torch.zeros((2 if self.any_batch else 1, *self.size, 3), dtype=torch.uint8)


def trace(module: Embedding, size: tuple[int, int]) -> Traced:
    """Trace `module` for pictures of `size`, for any batch if it can, and fold its batch norms.

    Raises
    ------
    ExportError : what `traceable` lists: an input size that the network does not take, control
        flow that looks at the data, random numbers, ...
    """
    module.eval()
    check_size(module, size)
    reason: Exception = ExportError("nothing was tried")
    for any_batch in (True, False):
        example = torch.zeros((2 if any_batch else 1, *size, 3), dtype=torch.uint8)
        shapes = ({0: Dim("n", min=1, max=4096)},) if any_batch else None
        try:
            with quiet(), torch.no_grad():
                program = torch.export.export(
                    module, (example,), dynamic_shapes=shapes, strict=False
                )
                flat = program.module(check_guards=False)
                graph = fx.GraphModule(flat, flat.graph)
                check_graph(graph)
                features = graph(example)
        except EdgeCLError:
            raise
        except Exception as error:  # noqa: BLE001  tracing runs the user's code
            reason = error
            continue
        if features.dtype != torch.float32:
            raise ExportError(f"the network gives {features.dtype}, expected torch.float32")
        graph.eval()
        _fold_batch_norms(graph)
        return Traced(
            graph=graph,
            size=size,
            any_batch=any_batch,
            d=int(features.shape[1]),
            projection=_projection(graph),
        )
    raise refusal(reason, size) from reason


def weight_of(graph: fx.GraphModule, argument: object) -> Tensor | None:
    """Return the constant that a node's argument stands for, or None where it is computed."""
    if isinstance(argument, fx.Node) and argument.op == "get_attr":
        value = operator.attrgetter(str(argument.target))(graph)
        return value if isinstance(value, Tensor) else None
    return None


def set_constant(graph: fx.GraphModule, node: fx.Node, position: int, value: Tensor) -> None:
    """Make argument `position` of `node` a constant of its own, with `value`."""
    name = f"folded_{node.name}_{position}"
    graph.register_buffer(name, value.detach().clone().contiguous())
    with graph.graph.inserting_before(node):
        constant = graph.graph.get_attr(name)
    missing = position + 1 - len(node.args)
    arguments = [*node.args, *([None] * missing)]
    arguments[position] = constant
    node.args = tuple(arguments)


def _projection(graph: fx.GraphModule) -> str | None:
    for node in graph.graph.nodes:
        weight = node.args[1] if node.target is _LINEAR else None
        if isinstance(weight, fx.Node) and weight.target == "projection_weight":
            return str(node.name)
    return None


def _fold_batch_norms(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        if node.target is not _NORM or len(node.args) < 8:
            continue
        conv = node.args[0]
        if not isinstance(conv, fx.Node) or conv.target is not _CONV or len(conv.users) != 1:
            continue
        weight = weight_of(graph, conv.args[1])
        bias = weight_of(graph, conv.args[2]) if len(conv.args) > 2 else None
        gamma, beta, mean, var = (weight_of(graph, a) for a in node.args[1:5])
        if weight is None or mean is None or var is None or node.args[5]:
            continue
        wide = weight.double()
        s = torch.rsqrt(var.double() + float(node.args[7]))
        if gamma is not None:
            s = s * gamma.double()
        shift = -mean.double() if bias is None else bias.double() - mean.double()
        offset = s * shift if beta is None else s * shift + beta.double()
        set_constant(graph, conv, 1, (s[:, None, None, None] * wide).to(weight.dtype))  # (1)
        set_constant(graph, conv, 2, offset.to(weight.dtype))
        node.replace_all_uses_with(conv)
        graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.recompile()
