"""What the run loop reports: an event a sample, a summary at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edge_cl.results import Prediction, StageTimes

__all__ = ["STAGES", "Event", "Mode", "StageSummary", "Summary", "Tally"]

Mode = Literal["predict", "learn", "prequential"]
STAGES = ("read", "prepare", "encode", "map", "predict", "learn", "commit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened to one sample.

    label : as the source, or the caller, gave it.
    prediction : None where nothing was asked (mode learn), or nothing had been learned yet.
    correct : None where there is no prediction, or no label to compare it with.
    now_serving : the head that answers from now on, where this sample has changed it.
    read_ms : until the source handed the sample out: decoding, and waiting for a live source.
    stage_ms : of predicting and learning together.
    """

    name: str
    label: str | None
    prediction: Prediction | None
    correct: bool | None
    learned: bool
    now_serving: str | None
    read_ms: float
    stage_ms: StageTimes


@dataclass(slots=True)
class Tally:
    """Answers for the samples of one class."""

    samples: int = 0
    correct: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSummary:
    """Time of one stage, over the last 4096 samples."""

    median_ms: float
    p99_ms: float


@dataclass(slots=True, kw_only=True)
class Summary:
    """What a run did.

    samples : handed out by the source and worked on.
    predicted, learned : of them.
    scored, correct : predictions compared with a label, and those that were right. A class
        that has never been learned cannot be right; it counts.
    per_class : label -> its part of `scored` and `correct`.
    new_classes : labels learned for the first time, in that order.
    skipped : bad samples passed over.  strays : files that never claimed to be samples.
    dropped : frames of a live source that a newer one replaced.
    saves : snapshots written on the way.
    stopped : whether `stop` ended the run, not the source.
    """

    mode: Mode
    samples: int = 0
    predicted: int = 0
    learned: int = 0
    scored: int = 0
    correct: int = 0
    per_class: dict[str, Tally] = field(default_factory=dict)
    new_classes: list[str] = field(default_factory=list)
    skipped: int = 0
    strays: int = 0
    dropped: int = 0
    saves: int = 0
    stopped: bool = False
    elapsed_s: float = 0.0
    stages: dict[str, StageSummary] = field(default_factory=dict)

    @property
    def accuracy(self) -> float | None:
        """Share of scored predictions that were right; None where none was scored."""
        return self.correct / self.scored if self.scored else None

    @property
    def samples_per_second(self) -> float:
        """Over the whole run, waiting included."""
        return self.samples / self.elapsed_s if self.elapsed_s else 0.0
