"""The contrast: a softmax layer on the same features, trained by SGD over the same pass."""

from __future__ import annotations

import numpy as np

from edge_cl.arrays import F32, F64, I64
from edge_cl.heads.masked import softmax


class SoftmaxSGD:
    """Multinomial logistic regression, one gradient step a sample.

    Parameters
    ----------
    d, k : features and classes; all classes are known from the start, which helps it.
    rate : learning rate for features divided by the root of `mean_square_norm`.
    """

    def __init__(self, d: int, k: int, *, rate: float, mean_square_norm: float) -> None:
        self._W: F64 = np.zeros((d, k))
        self._bias: F64 = np.zeros(k)
        self._rate = rate
        self._unit = mean_square_norm**-0.5

    def learn(self, x: F32, y: I64) -> None:
        """Take one step a row of `x` (n, d), in order."""
        for row, label in zip(x * self._unit, y.tolist(), strict=True):
            error = softmax(row @ self._W + self._bias)
            error[label] -= 1.0
            self._W -= self._rate * np.outer(row, error)
            self._bias -= self._rate * error

    def predict(self, x: F32) -> I64:
        """Return the class of each row."""
        return np.asarray(np.argmax(x * self._unit @ self._W + self._bias, axis=1), np.int64)
