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
    "Durability",
    "EdgeCLError",
    "Estimate",
    "FeCAMOptions",
    "ForgetError",
    "FormatError",
    "InputError",
    "KalmanOptions",
    "LDAOptions",
    "Learner",
    "Lesson",
    "LessonRecord",
    "MissingExtraError",
    "NearestMeanOptions",
    "Prediction",
    "Promotion",
    "Recovery",
    "Regressor",
    "RidgeOptions",
    "Smoother",
    "SourceError",
    "StateError",
    "Status",
    "StorageError",
    "Version",
    "__version__",
    "features_bundle",
    "open_bundle",
]

_HOME = {
    "BalancedRidgeOptions": "edge_cl.heads",
    "Bundle": "edge_cl.bundle",
    "Durability": "edge_cl.store",
    "Estimate": "edge_cl.regressor",
    "FeCAMOptions": "edge_cl.heads",
    "KalmanOptions": "edge_cl.heads",
    "LDAOptions": "edge_cl.heads",
    "Learner": "edge_cl.learner",
    "Lesson": "edge_cl.results",
    "LessonRecord": "edge_cl.results",
    "NearestMeanOptions": "edge_cl.heads",
    "Prediction": "edge_cl.results",
    "Promotion": "edge_cl.store",
    "Recovery": "edge_cl.store",
    "Regressor": "edge_cl.regressor",
    "RidgeOptions": "edge_cl.heads",
    "Smoother": "edge_cl.smoothing",
    "Status": "edge_cl.results",
    "Version": "edge_cl.results",
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
        FormatError,
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
    from edge_cl.results import Lesson, LessonRecord, Prediction, Status, Version
    from edge_cl.sensor import features_bundle
    from edge_cl.smoothing import Smoother
    from edge_cl.store import Durability, Promotion, Recovery


def __getattr__(name: str) -> Any:
    home = _HOME.get(name) or ("edge_cl.errors" if name in __all__ else None)
    if home is None:
        raise AttributeError(f"module 'edge_cl' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
