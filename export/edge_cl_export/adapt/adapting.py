"""Adapt a network to the first classes, prove it on sessions it has not seen, or refuse.

The pictures' sessions are parted (`sessions`): a third judges and is seen by nothing before; of
the others one more tells when to stop; the rest is trained on. What comes out is the network that
was judged, not one trained again on all.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn

from edge_cl.arrays import F32, I64
from edge_cl.errors import ExportError, FidelityError, InputError
from edge_cl_export.adapt.film import Film
from edge_cl_export.adapt.first_session import train
from edge_cl_export.adapt.gain import Gain, gain
from edge_cl_export.adapt.repeatable import repeatable
from edge_cl_export.adapt.sessions import Sides, sides
from edge_cl_export.graph.embedding import Embedding, embed
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.pictures.calibration import Pictures
from edge_cl_export.steps import Progress

__all__ = ["EPOCHS", "Adapted", "Mode", "adapt"]

Mode = Literal["film", "body"]

EPOCHS = 8
RATES: dict[str, float] = {"film": 5e-3, "body": 3e-4}  # of Adam, at the start
FEATURES = 16  # pictures at a time
BEFORE, AFTER = 0.1, 0.9  # shares of the time at which the training begins and ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    """A network that was adapted, and what it gained.

    Attributes
    ----------
    module : as the one given, in evaluation mode, with other weights.
    gain : on sessions that were not used.
    report : the same and how it came about, plain data.
    sentence : the same for people.
    """

    module: nn.Module
    gain: Gain
    report: dict[str, object] = field(default_factory=dict)
    sentence: str = ""


def adapt(
    module: nn.Module,
    preparation: Preparation,
    pictures: Pictures,
    *,
    mode: str = "film",
    epochs: int = EPOCHS,
    rate: float | None = None,
    seed: int = 0,
    minutes: float | None = None,
    progress: Progress | None = None,
) -> Adapted:
    """Return `module`, which is left as it is, adapted once to the classes of `pictures`.

    Parameters
    ----------
    module : takes normalised pictures (n, 3, h, w) float32; gives features, see `Embedding`.
    pictures : with classes and groups: sessions or clips.
    mode : "film", a scale and a shift a channel, merged; "body", every weight.
    epochs : at most.
    rate : of learning, at the start; None: `RATES`.
    seed : the same gives the same weights on the same machine, without `minutes`.
    minutes : of training: no epoch begins that would end later, but for the first.

    Raises
    ------
    InputError : classes or sessions not known, or too few of them; another argument is wrong.
    ExportError : the network cannot be run or trained.
    FidelityError : on sessions it has not seen, the adapted network is worse, or is not another.
    """
    if mode not in get_args(Mode):
        raise InputError(f"expected to adapt by film or body, got {mode!r}")
    if epochs < 1:
        raise InputError(f"expected one epoch or more, got {epochs}")
    if rate is not None and not 0.0 < rate < math.inf:
        raise InputError(f"expected a rate > 0, got {rate}")
    if minutes is not None and not minutes > 0.0:
        raise InputError(f"expected minutes > 0, got {minutes}")
    rate = RATES[mode] if rate is None else rate
    labels, groups = _known(pictures)
    plan = _Plan.of(labels, groups, seed)

    network = copy.deepcopy(module).eval().requires_grad_(False)
    # The layout of pictures: twice as fast here, of no matter for what comes out
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    before = _features(network, preparation, pictures, (0.0, BEFORE), progress)
    with repeatable(seed):
        film = Film(network, torch.zeros((1, 3, *preparation.size))) if mode == "film" else None
        parameters = _moving(network, film)
        trained = train(
            Embedding(network, preparation).eval(),
            parameters,
            _labelled(pictures, plan.trained, plan.classes),
            before[plan.trained],
            _labelled(pictures, plan.stopping, plan.classes) if len(plan.stopping) else None,
            spec=preparation.spec,
            rate=rate,
            epochs=epochs,
            seed=seed,
            minutes=minutes,
            progress=_part(progress, BEFORE, AFTER),
        )
        if film is not None:
            film.merge()
    network.requires_grad_(False)
    hint = "export without --adapt, or take pictures of more sessions"
    if trained.kept == 0:
        raise FidelityError(
            f"adapting by {mode} gained nothing: on a session that it did not train on, the "
            "network was best as it came",
            hint=hint,
        )
    after = _features(network, preparation, pictures, (AFTER, 1.0), progress)
    found = gain(before, after, labels, plan.judging)
    sessions = plan.sessions(groups)["judging"]
    where = f"{found.asked} pictures of {sessions} unseen session{'s' * (sessions > 1)}"
    if found.lost:
        raise FidelityError(f"adapting by {mode} lost: of {where}, {found}", hint=hint)
    how = "a scale and a shift a channel" if mode == "film" else "every weight"
    return Adapted(
        module=network.to(memory_format=torch.contiguous_format),
        gain=found,
        report={
            "mode": mode,
            "seed": seed,
            "rate": rate,
            "numbers_trained": sum(parameter.numel() for parameter in parameters),
            "classes": len(plan.classes),
            "sessions": plan.sessions(groups),
            "pictures": {"training": len(plan.trained), "stopping": len(plan.stopping)},
            "training": {**asdict(trained), "losses": [round(x, 4) for x in trained.losses]},
            **found.report,
        },
        sentence=f"the network was adapted once, by {how}; of {where}, {found}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Which pictures do what: indices, of which no two share a group.

    stopping : none where there are too few sessions.
    classes : of the pictures trained on, ascending.
    """

    judging: Sides
    trained: I64
    stopping: I64
    classes: I64

    @classmethod
    def of(cls, labels: I64, groups: I64, seed: int) -> _Plan:
        judging = sides(labels, groups, seed)
        if judging is None:
            raise InputError(
                "adapting needs two classes that are each in two or more sessions",
                hint="take some pictures of every class again, another day or elsewhere",
            )
        kept = judging.kept
        inner = sides(labels[kept], groups[kept], seed + 1)
        trained = kept if inner is None else kept[inner.kept]
        stopping = kept[:0] if inner is None else kept[inner.held_out]
        classes = np.unique(labels[trained])
        return cls(judging=judging, trained=trained, stopping=stopping, classes=classes)

    def sessions(self, groups: I64) -> dict[str, int]:
        rows = {
            "training": self.trained,
            "stopping": self.stopping,
            "judging": self.judging.held_out,
        }
        return {what: len(np.unique(groups[which])) for what, which in rows.items()}


def _known(pictures: Pictures) -> tuple[I64, I64]:
    labels, groups = pictures.labels, pictures.groups
    if labels is None or len(np.unique(labels)) < 2:
        raise InputError(
            "adapting needs pictures of two or more classes",
            hint="put them into folders: SESSION/CLASS/FILE, or CLASS/CLIP/FILE",
        )
    if groups is None or len(np.unique(groups)) < 2:
        raise InputError(
            "adapting needs pictures of two or more sessions, one of which judges",
            hint="put them into folders: SESSION/CLASS/FILE, or CLASS/CLIP/FILE",
        )
    return labels, groups


def _features(
    module: nn.Module,
    preparation: Preparation,
    pictures: Pictures,
    span: tuple[float, float],
    progress: Progress | None,
) -> F32:
    """Return features (n, d) of all pictures."""
    embedding = Embedding(module, preparation).eval()
    told, found, done = _part(progress, *span), [], 0
    what = "features before adapting" if span[0] == 0.0 else "features after adapting"
    if told is not None:
        told(what, 0.0)
    for batch in pictures.batches(preparation.spec, FEATURES):
        found.append(embed(embedding, batch))
        done += len(batch)
        if told is not None:
            told(what, done / len(pictures))
    return np.concatenate(found)


def _moving(network: nn.Module, film: Film | None) -> list[nn.Parameter]:
    """Return the weights that are trained."""
    if film is not None:
        parameters = film.parameters
    else:
        parameters = [p for p in network.parameters() if p.is_floating_point()]
        for parameter in parameters:
            parameter.requires_grad_()
    if not parameters:
        raise ExportError("the network has no weights that could be adapted")
    return parameters


def _labelled(pictures: Pictures, rows: I64, classes: I64) -> Pictures:
    """Return some pictures, labelled 0, 1, ... by their place in `classes`."""
    chosen = pictures.pick(rows)
    labels = np.searchsorted(classes, np.asarray(chosen.labels)).astype(np.int64)
    return replace(chosen, labels=labels)


def _part(progress: Progress | None, start: float, end: float) -> Progress | None:
    if progress is None:
        return None
    return lambda what, share: progress(what, start + (end - start) * min(share, 1.0))
