r"""Which layers are to stay in float, for each size that a file may have.

Layer l has N_l weights and costs Ω_l in int8, nothing in float (`sensitivity`); Ω add. Of all

    bytes = Σ_l N_l · (1 in int8, `float_bytes` in float),    Ω = Σ_{l in int8} Ω_l       (1)

the choices that no other one beats in both are found by dynamic programming: layer by layer,
each choice so far goes on in both ways, and only those are kept whose Ω is smaller than that
of every choice as small (ZeroQ, Cai et al. 2020, arXiv 2001.00281, section 3.2).

Choices are held as arrays and a link to the one they came from, so a thousand layers are none
too many. A network gives thousands of choices, of which a file can be made and judged for few:
`halvings` picks those where Ω has fallen to a half, a quarter, an eighth...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_cl.arrays import F64, I64
from edge_cl.errors import InputError
from edge_cl_export.remedy.sensitivity import Sensitivity

__all__ = ["Choice", "frontier", "halvings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The layers that stay in float; `bytes` of all weights and `omega` of the others."""

    bytes: int
    omega: float
    float_layers: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Step:
    """After one layer: each choice came from `parent`, and left the layer in float or not."""

    parent: I64
    in_float: NDArray[np.bool_]


def frontier(layers: Sequence[Sensitivity], *, float_bytes: int = 4) -> tuple[Choice, ...]:
    """Return the choices that no other one beats, from the smallest, all in int8, to the best.

    Bytes rise and Ω falls strictly along them. Of choices equal in both, the first found stays.

    Parameters
    ----------
    float_bytes : of a weight that stays in float: 4, or 2 where float16 is written.

    Raises
    ------
    InputError : fewer than 2 bytes a weight in float.
    """
    if float_bytes < 2:
        raise InputError(f"expected at least 2 bytes a weight in float, got {float_bytes}")
    size = np.zeros(1, dtype=np.int64)
    omega: F64 = np.zeros(1)
    steps: list[_Step] = []
    for layer in layers:
        n = len(size)
        size = np.concatenate([size + layer.weights, size + layer.weights * float_bytes])  # (1)
        omega = np.concatenate([omega + layer.omega, omega])
        order = np.lexsort((omega, size))  # stable
        best = np.minimum.accumulate(omega[order])
        kept = order[np.concatenate([[True], omega[order][1:] < best[:-1]])]
        size, omega = size[kept], omega[kept]
        steps.append(_Step(parent=kept % n, in_float=kept >= n))
    names = [layer.layer for layer in layers]
    return tuple(
        Choice(bytes=int(size[i]), omega=float(omega[i]), float_layers=_layers(steps, names, i))
        for i in range(len(size))
    )


def halvings(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """Return the smallest choices with at most 1, ½, ¼, ⅛... of the first one's Ω, each once.

    The last one of them has Ω = 0, or what comes nearest: all that matters stays in float.
    """
    picked = list(choices[:1])
    for choice in choices[1:]:
        if choice.omega <= picked[-1].omega / 2:
            picked.append(choice)
    return tuple(picked)


def _layers(steps: list[_Step], names: list[str], i: int) -> frozenset[str]:
    found = []
    for step, name in zip(reversed(steps), reversed(names), strict=True):
        if step.in_float[i]:
            found.append(name)
        i = int(step.parent[i])
    return frozenset(found)
