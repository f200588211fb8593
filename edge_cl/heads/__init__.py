"""Closed-form heads: solvers over moments, one algorithm a file.

A head holds no data of its own that could not be computed again from the moments; what it
keeps is derived, to make the next prediction fast. To add a head, write a file with an
options struct and a class that satisfies `Head`, and add one line to `HEADS`: the contract
suite (tests/test_head_contract.py) picks it up.

Heads are not thread-safe by themselves; the learner's lock makes them so.

References
----------
Hayes, Kanan. Lifelong machine learning with deep streaming linear discriminant analysis.
    CVPR workshops 2020.
Janson et al. A simple baseline that questions the use of pretrained-models in continual
    learning. arXiv 2210.04428, 2022.
Zhuang et al. ACIL: Analytic class-incremental learning. NeurIPS 2022.
"""

from __future__ import annotations

from edge_cl.errors import InputError
from edge_cl.heads.balanced_ridge import BalancedRidge, BalancedRidgeOptions
from edge_cl.heads.fecam import FeCAM, FeCAMOptions
from edge_cl.heads.kalman import Kalman, KalmanOptions
from edge_cl.heads.lda import LDA, LDAOptions
from edge_cl.heads.nearest_mean import NearestMean, NearestMeanOptions
from edge_cl.heads.protocol import Head, Promise, Scorer
from edge_cl.heads.ridge import Ridge, RidgeOptions
from edge_cl.moments import Moments

__all__ = [
    "HEADS",
    "LDA",
    "BalancedRidge",
    "BalancedRidgeOptions",
    "FeCAM",
    "FeCAMOptions",
    "Head",
    "HeadOptions",
    "Kalman",
    "KalmanOptions",
    "LDAOptions",
    "NearestMean",
    "NearestMeanOptions",
    "Promise",
    "Ridge",
    "RidgeOptions",
    "Scorer",
    "build_head",
    "head_options",
]

HeadOptions = (
    NearestMeanOptions
    | LDAOptions
    | RidgeOptions
    | KalmanOptions
    | BalancedRidgeOptions
    | FeCAMOptions
)


# name -> options; a name is what users type
HEADS: dict[str, HeadOptions] = {
    "ridge": RidgeOptions(),
    "lda": LDAOptions(),
    "kalman": KalmanOptions(),
    "air": BalancedRidgeOptions(method="air"),
    "ridge-balanced": BalancedRidgeOptions(method="shared"),
    "aef-ocl": BalancedRidgeOptions(method="aef"),
    "fecam": FeCAMOptions(),
    "ncm": NearestMeanOptions(metric="cosine"),
    "ncm-euclidean": NearestMeanOptions(metric="euclidean"),
    "ncm-centred": NearestMeanOptions(metric="centred-cosine"),
}


def head_options(head: str | HeadOptions) -> HeadOptions:
    """Return the options that a name stands for, or the options given."""
    if isinstance(head, HeadOptions):
        return head
    try:
        return HEADS[head]
    except KeyError:
        raise InputError(f"unknown head {head!r}", hint=f"one of: {', '.join(HEADS)}") from None


def build_head(
    options: HeadOptions, moments: Moments, *, scale: float, mean_square_norm: float
) -> Head:
    """Return the head over `moments`, whose features are q·`scale`.

    Raises
    ------
    InputError : the moments lack a statistic that the head needs.
    """
    if missing := set(options.promise.statistics) - moments.statistics.keys():
        raise InputError(f"expected moments that keep {', '.join(sorted(missing))} for this head")
    return options.build(moments, scale=scale, mean_square_norm=mean_square_norm)
