r"""Averaging answers over time: what was seen a moment ago is evidence for now.

With the class probabilities p_t of the frames and a decay β in [0, 1):

    m_t = β m_{t-1} + (1 - β) p_t,  m_0 = 0                                            (1)
    p̄_t = m_t / (1 - β^t)                                                              (2)

(2) is the mean of p_1 ... p_t with weights β^(t-s), exactly: without the division the first
answers would be too small (temporal ensembling, Laine & Aila, ICLR 2017, eq. of their
section 2.2). A class that appears later counts as 0 before. It helps where neighbouring
frames show the same thing, and is wrong by 1 / (1 - β) frames where the scene changes.
"""

from __future__ import annotations

from edge_cl.errors import InputError
from edge_cl.results import Prediction


class Smoother:
    """Averages predictions of one stream.

    Parameters
    ----------
    decay : β of (1), in [0, 1); about 1 / (1 - β) frames count.
    """

    def __init__(self, decay: float) -> None:
        if not 0.0 <= decay < 1.0:
            raise InputError(f"expected a decay in [0, 1), got {decay}")
        self._decay = decay
        self.reset()

    def reset(self) -> None:
        """Begin anew: another scene, another stream."""
        self._mean: dict[str, float] = {}
        self._weight = 0.0

    def __call__(self, prediction: Prediction) -> Prediction:
        """Return `prediction` with averaged probabilities, and the label they favour."""
        now = prediction.probabilities
        self._weight = self._decay * self._weight + (1.0 - self._decay)  # 1 - β^t
        self._mean = {
            label: self._decay * self._mean.get(label, 0.0) + (1.0 - self._decay) * p  # (1)
            for label, p in {**dict.fromkeys(self._mean, 0.0), **now}.items()
        }
        ranked = sorted(self._mean.items(), key=lambda item: -item[1])
        averaged = {label: p / self._weight for label, p in ranked}  # (2)
        return Prediction(
            label=next(iter(averaged)),
            probabilities=averaged,
            stage_ms=prediction.stage_ms,
        )
