"""What the learner hands back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTimes:
    """Wall time of the stages of one call, in milliseconds.

    prepare : resize, crop, checks.  encode : the network.
    decide : map, scores, probabilities.  learn : moments and head.
    """

    prepare: float = 0.0
    encode: float = 0.0
    decide: float = 0.0
    learn: float = 0.0

    @property
    def total(self) -> float:
        """All stages."""
        return self.prepare + self.encode + self.decide + self.learn


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The answer for one input.

    label : the class of the largest score.
    probabilities : largest first; of every class that has samples (then they sum to 1), or of
        those that were asked for.
    stage_ms : where the time went.
    """

    label: str
    probabilities: dict[str, float]
    stage_ms: StageTimes

    @property
    def probability(self) -> float:
        """Probability of `label`."""
        return self.probabilities[self.label]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What one call of `learn` or `learn_many` did.

    samples : learned by this call.
    total : samples that are in now.
    new_classes : labels seen for the first time.
    now_serving : the head that answers from now on, where `head="auto"` has just changed it.
    stage_ms : where the time went.
    """

    samples: int
    total: int
    new_classes: tuple[str, ...]
    now_serving: str | None
    stage_ms: StageTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadAccuracy:
    """How one of several heads has answered samples before it learned them.

    head : its name and options.
    accuracy : share of right answers, older ones fading; None before the first test.
    """

    head: str
    accuracy: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a learner is, and what it knows.

    encoder : runtime, precision and recipe of the network.
    head : the head that serves.
    auto : whether another of the compared heads may come to serve.
    compared : all heads, the serving one first, where several are compared.
    tested : how many samples they were tested on, faded ones counted in part.
    samples_per_class : label -> n, of the samples that are remembered.
    saturated_share : features clipped to the grid's edge, of all; a warning above 1e-3.
    undoable : samples that `undo` can take back.
    memory_bytes : of moments, heads and undo history.
    kernels : "numba" or "numpy".
    unsaved : whether something was learned since the last snapshot.
    """

    bundle: str
    encoder: str
    head: str
    auto: bool
    compared: tuple[HeadAccuracy, ...]
    tested: float
    feature_map: str
    forgetting: str
    d: int
    samples: int
    samples_per_class: dict[str, int]
    saturated_share: float
    undoable: int
    memory_bytes: int
    kernels: str
    state: str | None
    unsaved: bool
