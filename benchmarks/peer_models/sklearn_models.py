"""scikit-learn: what learns by `partial_fit`, and what must be refitted to all samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.covariance import OAS
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB

from edge_cl.arrays import F32, I64
from peer_models import array_bytes


class PartiallyFitted:
    """An estimator with `partial_fit`; features are multiplied by `unit` first."""

    def __init__(self, estimator: Any, classes: int, unit: float = 1.0) -> None:
        self._estimator = estimator
        self._classes = np.arange(classes)
        self._unit = np.float32(unit)

    def learn(self, x: F32, y: I64) -> None:
        """See `PeerModel.learn`. SGD in large steps ends elsewhere when called row by row."""
        self._estimator.partial_fit(x * self._unit, y, classes=self._classes)

    def end_group(self) -> None:
        """See `PeerModel.end_group`."""

    def predict(self, x: F32) -> I64:
        """See `PeerModel.predict`."""
        return np.asarray(self._estimator.predict(x * self._unit), np.int64)

    def held_bytes(self) -> int:
        """See `PeerModel.held_bytes`."""
        return array_bytes(self._estimator)


class Refitted:
    """An estimator that is fitted to all samples again when it is asked after a new one."""

    def __init__(self, estimator: Any) -> None:
        self._estimator = estimator
        self._x: list[F32] = []
        self._y: list[I64] = []
        self._stale = True

    def learn(self, x: F32, y: I64) -> None:
        """See `PeerModel.learn`. O(1): the samples are kept."""
        self._x.append(x)
        self._y.append(y)
        self._stale = True

    def end_group(self) -> None:
        """See `PeerModel.end_group`."""

    def predict(self, x: F32) -> I64:
        """See `PeerModel.predict`."""
        if self._stale:
            self._estimator.fit(np.concatenate(self._x), np.concatenate(self._y))
            self._stale = False
        return np.asarray(self._estimator.predict(x), np.int64)

    def held_bytes(self) -> int:
        """See `PeerModel.held_bytes`. The samples count: without them there is no refit."""
        return array_bytes(self._estimator, *self._x, *self._y)


def sgd(classes: int, unit: float, *, schedule: str, value: float) -> PartiallyFitted:
    """Logistic regression by SGD: `optimal` with alpha `value`, or `constant` at that rate."""
    given = {"alpha": value} if schedule == "optimal" else {"eta0": value}
    estimator = SGDClassifier(
        loss="log_loss", learning_rate=schedule, shuffle=False, random_state=0, **given
    )
    return PartiallyFitted(estimator, classes, unit)


def naive_bayes(classes: int) -> PartiallyFitted:
    """Gaussian naive Bayes."""
    return PartiallyFitted(GaussianNB(), classes)


def ridge(alpha: float) -> Refitted:
    """Ridge regression on ±1 targets with intercepts."""
    return Refitted(RidgeClassifier(alpha=alpha))


def lda(solver: str) -> Refitted:
    """LDA: `svd` as it comes, or `lsqr` with oracle-approximating shrinkage."""
    if solver == "svd":
        return Refitted(LinearDiscriminantAnalysis())
    return Refitted(LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=OAS()))
