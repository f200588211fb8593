"""Which operators become integers: the layers, and what stands between integer layers.

An operator without weights is integer where everything that it reads is, and where something
integer reads what it gives: both say what its 8 bits are for. So these stay in float:

- what comes before the first layer, and what comes behind the last one: normalisation, pooling,
  L2 norm, and a projection that is itself to stay in float, with the pooling in front of it;
- the residual stream of a transformer, which only layer norms and sums read. Few of its channels
  are a hundred times as large as the others, and one scale for all leaves the others no bits;
- what mixes with the result of an operator that has no good integer form (softmax, layer norm,
  the product of two activations): its pieces are not quantised one by one.

A layer that was chosen to stay in float is no reason to leave what it feeds in float: its value
is quantised there, as that of an integer layer would be. An activation belongs to the layer
that it follows, in float or in integers; between the two there is nothing to quantise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Operator", "Role", "left_in_float"]

Role = Literal["layer", "float layer", "activation", "between", "float"]
"""A layer with weights; one that stays in float; an activation; what takes either; what has no
integer form."""


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of either runtime; `reads` and `gives` name tensors, constants left out."""

    name: str
    role: Role
    reads: tuple[str | int, ...]
    gives: tuple[str | int, ...]


def left_in_float(operators: Sequence[Operator]) -> list[str]:
    """Return the names of the operators that stay in float, in order.

    Parameters
    ----------
    operators : of one graph, each behind what it reads.
    """
    maker = {tensor: k for k, op in enumerate(operators) for tensor in op.gives}
    sources = [[maker.get(tensor) for tensor in op.reads] for op in operators]
    readers: list[list[int]] = [[] for _ in operators]
    for k, found in enumerate(sources):
        for source in found:
            if source is not None:
                readers[source].append(k)
    chosen: set[int] = set()  # float layers with their activations
    for k, op in enumerate(operators):
        follows = op.role == "activation" and sources[k] and chosen.issuperset(sources[k])
        if op.role == "float layer" or follows:
            chosen.add(k)
    integer = {k for k, op in enumerate(operators) if op.role == "layer"}
    loose = {k for k, op in enumerate(operators) if op.role in ("activation", "between")} - chosen
    integer |= loose
    before = len(loose) + 1
    while before != len(loose):
        before = len(loose)
        for k in sorted(loose):
            if not sources[k] or not all(j in integer or j in chosen for j in sources[k]):
                loose.discard(k)
                integer.discard(k)
        for k in sorted(loose, reverse=True):
            if integer.isdisjoint(readers[k]):
                loose.discard(k)
                integer.discard(k)
    for k, op in enumerate(operators):  # of a layer whose value nothing integer reads
        if op.role == "activation" and sources[k] and integer.issuperset(sources[k]):
            integer.add(k)
    return [op.name for k, op in enumerate(operators) if k not in integer]
