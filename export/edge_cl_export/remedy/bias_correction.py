r"""Bias correction: a layer with rounded weights gives, in the mean, what the float layer gives.

Rounding W to Q changes the output of a layer over the patches p that it sees by (Q - W)p. The
mean of that change is the same for every picture, and shifts every layer after it; it costs
nothing to take it out (Nagel et al. 2019, arXiv 1906.04721, section 4.2, with means that are
counted, not derived from batch norms). For each output channel, with μ = E[p],

    b ← b + (w - q)·μ                                                                 (1)

Then the mean of the output over the calibration patches is that of the float layer, exactly.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import fx

from edge_cl_export.graph.second_moments import LayerMoments, weighted_layers
from edge_cl_export.graph.trace import set_constant, weight_of
from edge_cl_export.quiet import quiet

__all__ = ["correct_biases"]


def correct_biases(
    graph: fx.GraphModule, rounded: fx.GraphModule, moments: Mapping[str, LayerMoments]
) -> fx.GraphModule:
    """Return a copy of `rounded` whose biases make up for what its weights lost.

    Parameters
    ----------
    graph : the same network with its weights as they were.
    moments : of `graph`, by name of the node; a layer that is not among them stays as it is.
    """
    with quiet():
        corrected = copy.deepcopy(rounded)
    wanted = {node.name: weight for node, weight in weighted_layers(graph)}
    for node, q in list(weighted_layers(corrected)):
        seen = moments.get(node.name)
        if seen is None or node.name not in wanted:
            continue
        groups, f = seen.mean.shape
        lost = (wanted[node.name].detach().double() - q.detach().double()).numpy()
        change = np.einsum("grf,gf->gr", lost.reshape(groups, -1, f), seen.mean).ravel()
        if len(node.args) > 2 and node.args[2] is not None:
            old = weight_of(corrected, node.args[2])
            if old is None:  # a bias that is computed, not a constant
                continue
            change = old.detach().double().numpy() + change  # (1)
        set_constant(corrected, node, 2, torch.from_numpy(change).to(q.dtype))
    corrected.graph.eliminate_dead_code()
    corrected.recompile()
    return corrected
