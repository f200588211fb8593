"""What the learner hands back."""

from __future__ import annotations

from dataclasses import dataclass

from edge_cl.placement import Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTimes:
    """Wall time of the stages of one call, in milliseconds.

    prepare : resize, crop, checks.  encode : the network.  map : from features to the grid.
    predict : scores and probabilities, and what the head had left to do until asked.
    learn : moments and head.  commit : the disk.
    """

    prepare: float = 0.0
    encode: float = 0.0
    map: float = 0.0
    predict: float = 0.0
    learn: float = 0.0
    commit: float = 0.0

    @property
    def total(self) -> float:
        """All stages."""
        answered = self.prepare + self.encode + self.map + self.predict
        return answered + self.learn + self.commit


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
    seq : number of the newest of these samples; `forget_lesson` takes it.
    durable : whether it would survive a power cut now; see `edge_cl.Durability`.
    duplicate : whether the event was known: nothing was learned, this is the old answer.
    """

    samples: int
    total: int
    new_classes: tuple[str, ...]
    now_serving: str | None
    stage_ms: StageTimes
    seq: int
    durable: bool
    duplicate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonRecord:
    """One of the newest changes.

    seq : its number.
    kind : "learned", "undone" or "forgotten": a sample; "note": a change of another kind.
    label : the class, as it is called now; of a note, what was done.
    when_us : wall clock of the device, µs since 1970; order is by `seq` only.
    stands : whether it was neither taken back nor rolled back since.
    target : number of the lesson that was taken back, where it is known.
    event : what the caller named the call, in hex.
    """

    seq: int
    kind: str
    label: str
    when_us: int
    stands: bool
    target: int | None
    event: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A state that was kept under a name: changes, samples and classes it had seen, its head.

    problem : why it cannot be returned to; None: it can.
    """

    name: str
    seq: int
    samples: int
    classes: int
    head: str
    problem: str | None = None


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
    placement : where the network runs, and what of it does not run where it was asked to.
    head : the head that serves.
    auto : whether another of the compared heads may come to serve.
    compared : all heads, the serving one first, where several are compared.
    tested : how many samples they were tested on, faded ones counted in part.
    samples_per_class : label -> n, of the samples that are remembered.
    saturated_share : features clipped to the grid's edge, of all; a warning above 1e-3.
    undoable : samples that `undo` can take back.
    memory_bytes : of moments, heads and undo history.
    kernels : "numba" or "numpy".
    seq : changes so far.
    lost : samples that damage of the disk has cost, as far as they could be counted.
    snapshot_error : why the last snapshot could not be written; it is tried again.
    unsaved : whether a power cut would cost something.
    """

    bundle: str
    encoder: str
    placement: Placement
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
    seq: int
    lost: int
    snapshot_error: str | None
    unsaved: bool
