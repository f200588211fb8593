"""First Session Adaptation: the network learns the first classes once, then never again.

The body is fine-tuned on labelled pictures with a linear head that is thrown away
(`first_session`), by every weight or by a scale and a shift a channel (`film`). Sessions that it
has not seen say whether that was worth it (`gain`, `sessions`). Where it was not, there is no
adapted network.

    film                 y = γ_c conv(x) + β_c, merged: no cost at run time

Panos et al. First session adaptation: A strong replay-free baseline for class-incremental
learning. ICCV 2023, arXiv 2303.13199.
"""

from __future__ import annotations

from edge_cl_export.adapt.adapting import Adapted, adapt
from edge_cl_export.adapt.gain import Gain, HeadGain, gain
from edge_cl_export.adapt.sessions import Sides, sides

__all__ = ["Adapted", "Gain", "HeadGain", "Sides", "adapt", "gain", "sides"]
