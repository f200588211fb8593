r"""Choosing ridge's λ by leaving out one group at a time, from sums alone.

A group is what hangs together: a session, a place, one instance of a thing, a person. Where
samples of one group resemble each other more than those of the next, leaving out single
samples, or a random tenth, tests on near-copies of what was learned and chooses λ far too
small. Leaving out the whole group asks what will be asked later: how well is a group
answered for that was never seen?

With the sums (n, Q, G) of all samples and (n_g, Q_g, G_g) of the group g, the weights
without g and their squared error on g are, for one-hot labels with ‖Y_g‖² = N_g,

    W = (G - G_g + λI)⁻¹ (Q - Q_g)                                                     (1)
    E_g(λ) = ‖Y_g - X_g W‖² = N_g - 2 tr(Wᵀ Q_g) + tr(Wᵀ G_g W)                         (2)

so no sample is needed, and the subtraction is exact: sums are integers. With
G - G_g = V diag(e) Vᵀ, A = Vᵀ(Q - Q_g), B = Vᵀ Q_g and s_i = 1 / (e_i + λ):

    tr(Wᵀ Q_g) = Σ_i s_i (A Bᵀ)_ii                                                    (3)
    tr(Wᵀ G_g W) = sᵀ (Vᵀ G_g V ∘ A Aᵀ) s                                              (4)

One eigendecomposition a group, then O(d²) a candidate. λ minimises Σ_g E_g(λ); the weights
that will use it have seen one group more.

A class with samples in one group only is unknown while that group is left out. Its column of
W is zero, and what the other columns answer to it counts as error: that is what W would do
on meeting it. Such samples cannot be told apart in G_g; they pull λ upwards, so their number
is returned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edge_cl.arrays import F64
from edge_cl.blas import one_thread
from edge_cl.errors import InputError
from edge_cl.heads.gcv import default_candidates
from edge_cl.moments import Moments


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRidgeChoice:
    """What was chosen, and from what.

    ridge : the λ of least error, in squared feature units.
    candidates : all that were tried, shape (m,).
    error : mean squared error of a held-out sample, shape (m,): the sum of (2), by N.
    error_of_group : the same for each group alone.
    unseen : group -> samples of classes that no other group has, where there are any.
    """

    ridge: float
    candidates: F64
    error: F64
    error_of_group: dict[str, F64]
    unseen: dict[str, int]


def choose_ridge_by_group(
    groups: Mapping[str, Moments],
    *,
    scale: float,
    mean_square_norm: float,
    candidates: F64 | None = None,
) -> GroupRidgeChoice:
    """Return the λ of least squared error on groups left out, each once.

    Parameters
    ----------
    groups : the sums of each group; class c is the same class in all of them.
    scale : grid step of the features.
    mean_square_norm : E‖x‖²; without `candidates`, 41 values from 1e-4 to 1e4 times it.

    Raises
    ------
    InputError : fewer than two groups have samples, or no class is in two of them.
    """
    groups = {name: moments for name, moments in groups.items() if moments.samples}
    if len(groups) < 2:
        raise InputError(f"expected at least two groups with samples, got {len(groups)}")
    if len({moments.d for moments in groups.values()}) > 1:
        raise InputError("expected groups of one number of features")
    if candidates is None:
        candidates = default_candidates(mean_square_norm)
    unseen = dict(_unseen(groups))
    N = sum(moments.samples for moments in groups.values())
    if sum(unseen.values()) == N:
        raise InputError(
            "expected a class with samples in two groups",
            hint="a group is a session or a place; each should show the classes of the others",
        )
    everything = Moments(next(iter(groups.values())).d)
    for moments in groups.values():
        everything.merge(moments, np.arange(moments.k))
    squared = {
        name: _squared_error(everything, moments, candidates / scale**2)
        for name, moments in groups.items()
    }
    error = sum(squared.values(), np.zeros(len(candidates))) / N
    return GroupRidgeChoice(
        ridge=float(candidates[np.argmin(error)]),
        candidates=candidates,
        error=error,
        error_of_group={name: squared[name] / groups[name].samples for name in groups},
        unseen=unseen,
    )


def _squared_error(everything: Moments, group: Moments, shifts: F64) -> F64:
    """Return (2) for each λ in `shifts`, in squared grid steps."""
    Q = everything.Q.copy()
    Q[: group.k] -= group.Q
    with one_thread():
        e, V = np.linalg.eigh(everything.G - group.G)  # (1)
        A, B = V.T @ Q.T, V.T @ group.Q.T
        crossed = (V.T @ group.G @ V) * (A @ A.T)
        s = 1.0 / (np.maximum(e, 0.0) + shifts[:, None])  # (m, d)
        fitted = s @ np.einsum("ic,ic->i", A[:, : group.k], B)  # (3)
        square = np.einsum("mi,mi->m", s @ crossed, s)  # (4)
    return np.asarray(np.maximum(group.samples - 2.0 * fitted + square, 0.0))  # (2)


def _unseen(groups: Mapping[str, Moments]) -> Iterator[tuple[str, int]]:
    """Yield, where there are any, how many samples of a group are of classes of its own."""
    k = max(moments.k for moments in groups.values())
    n = np.stack([np.pad(moments.n, (0, k - moments.k)) for moments in groups.values()])
    alone = (n > 0).sum(axis=0) == 1
    for name, count in zip(groups, n[:, alone].sum(axis=1).tolist(), strict=True):
        if count:
            yield name, count
