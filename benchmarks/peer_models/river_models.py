"""River: one sample at a time, features as a dict."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from river import linear_model, multiclass, naive_bayes, optim

from edge_cl.arrays import F32, I64


class RiverModel:
    """A classifier of River; features are multiplied by `unit` first."""

    def __init__(self, model: Any, unit: float = 1.0) -> None:
        self._model = model
        self._unit = np.float32(unit)

    def learn(self, x: F32, y: I64) -> None:
        """See `PeerModel.learn`."""
        for row, label in zip(x * self._unit, y.tolist(), strict=True):
            self._model.learn_one(dict(enumerate(row.tolist())), label)

    def end_group(self) -> None:
        """See `PeerModel.end_group`."""

    def predict(self, x: F32) -> I64:
        """See `PeerModel.predict`."""
        rows = (dict(enumerate(row.tolist())) for row in x * self._unit)
        return np.array([self._model.predict_one(row) for row in rows], np.int64)

    def held_bytes(self) -> int:
        """See `PeerModel.held_bytes`. River's own count, and the weights that it leaves out."""
        parts = getattr(self._model, "classifiers", {}).values()
        weights = [dict(part.weights) for part in parts]
        numbers = sum(sys.getsizeof(w) + 24 * len(w) for w in weights)  # a float is 24 bytes
        return int(self._model._raw_memory_usage) + numbers


def logistic(unit: float, *, rate: float) -> RiverModel:
    """One logistic regression by SGD for each class against the rest."""
    one = linear_model.LogisticRegression(optim.SGD(rate))
    return RiverModel(multiclass.OneVsRestClassifier(one), unit)


def gaussian_nb() -> RiverModel:
    """Gaussian naive Bayes."""
    return RiverModel(naive_bayes.GaussianNB())
