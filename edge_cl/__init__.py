"""edge-cl teaches a small computer new classes while it runs.

    from edge_cl import Learner

    with Learner.open("state") as learner:
        learner.learn(picture, "mug")
        print(learner.predict(other).label)

Importing this package imports nothing heavy; names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "BalancedRidgeOptions",
    "Bundle",
    "BundleError",
    "EdgeCLError",
    "Estimate",
    "FeCAMOptions",
    "ForgetError",
    "InputError",
    "KalmanOptions",
    "LDAOptions",
    "Learner",
    "Lesson",
    "MissingExtraError",
    "NearestMeanOptions",
    "Prediction",
    "Regressor",
    "RidgeOptions",
    "Smoother",
    "SourceError",
    "StateError",
    "Status",
    "StorageError",
    "__version__",
    "features_bundle",
    "open_bundle",
]

_HOME = {
    "BalancedRidgeOptions": "edge_cl.heads",
    "Bundle": "edge_cl.bundle",
    "Estimate": "edge_cl.regressor",
    "FeCAMOptions": "edge_cl.heads",
    "KalmanOptions": "edge_cl.heads",
    "LDAOptions": "edge_cl.heads",
    "Learner": "edge_cl.learner",
    "Lesson": "edge_cl.results",
    "NearestMeanOptions": "edge_cl.heads",
    "Prediction": "edge_cl.results",
    "Regressor": "edge_cl.regressor",
    "RidgeOptions": "edge_cl.heads",
    "Smoother": "edge_cl.smoothing",
    "Status": "edge_cl.results",
    "features_bundle": "edge_cl.sensor",
    "open_bundle": "edge_cl.bundle",
}

if TYPE_CHECKING:
    from edge_cl.bundle import Bundle, open_bundle
    from edge_cl.errors import (
        BackendError,
        BundleError,
        EdgeCLError,
        ForgetError,
        InputError,
        MissingExtraError,
        SourceError,
        StateError,
        StorageError,
    )
    from edge_cl.heads import (
        BalancedRidgeOptions,
        FeCAMOptions,
        KalmanOptions,
        LDAOptions,
        NearestMeanOptions,
        RidgeOptions,
    )
    from edge_cl.learner import Learner
    from edge_cl.regressor import Estimate, Regressor
    from edge_cl.results import Lesson, Prediction, Status
    from edge_cl.sensor import features_bundle
    from edge_cl.smoothing import Smoother


def __getattr__(name: str) -> Any:
    home = _HOME.get(name) or ("edge_cl.errors" if name in __all__ else None)
    if home is None:
        raise AttributeError(f"module 'edge_cl' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
