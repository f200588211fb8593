"""Adapt a network to the first classes, prove it on sessions it has not seen, or refuse.

The pictures' sessions are parted (`sessions`): a third judges and is seen by nothing before; of
the others one more tells when to stop; the rest is trained on. What comes out is the network that
was judged, not one trained again on all.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn

from edge_cl.arrays import F32, I64
from edge_cl.errors import ExportError, FidelityError, InputError
from edge_cl_export.adapt.film import Film
from edge_cl_export.adapt.first_session import Trained, train
from edge_cl_export.adapt.gain import Gain, gain
from edge_cl_export.adapt.repeatable import repeatable
from edge_cl_export.adapt.sessions import Sides, sides
from edge_cl_export.calibration import Pictures
from edge_cl_export.embedding import Embedding, embed
from edge_cl_export.preparation import Preparation
from edge_cl_export.steps import Progress

__all__ = ["EPOCHS", "Adapted", "Mode", "adapt"]

Mode = Literal["film", "body"]

EPOCHS = 12
RATES: dict[str, float] = {"film": 2e-3, "body": 1e-4}
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
    if minutes is not None and not minutes > 0.0:
        raise InputError(f"expected minutes > 0, got {minutes}")
    labels, groups = _known(pictures)
    judging = _parted(labels, groups, seed)
    kept = judging.kept
    stopping = sides(labels[kept], groups[kept], seed + 1)
    trained_on = kept if stopping is None else kept[stopping.kept]
    asked = None if stopping is None else kept[stopping.held_out]

    network = copy.deepcopy(module).eval().requires_grad_(False)
    before = _features(network, preparation, pictures, (0.0, BEFORE), progress)
    with repeatable(seed):
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        film = Film(network, _example(preparation)) if mode == "film" else None
        parameters = _moving(network, film)
        classes, y = np.unique(labels[trained_on], return_inverse=True)
        shown = _labelled(pictures.pick(trained_on), y)
        watched = None
        if asked is not None:
            watched = _labelled(pictures.pick(asked), np.searchsorted(classes, labels[asked]))
        trained = train(
            Embedding(network, preparation).eval(), parameters, shown, before[trained_on], watched,
            spec=preparation.spec, rate=RATES[mode], epochs=epochs, seed=seed, minutes=minutes,
            progress=_part(progress, BEFORE, AFTER),
        )  # fmt: skip
        about = {
            "mode": mode,
            "seed": seed,
            "numbers_trained": sum(parameter.numel() for parameter in parameters),
            "classes": len(np.unique(labels)),
            "training": _training(trained, groups, trained_on, asked),
            "judged": {"sessions": _count(groups, judging.held_out), "held_out": "group"},
        }
        if film is not None:
            about["layers"] = len(film.layers)
            film.merge()
    network.requires_grad_(False)
    network = network.to(memory_format=torch.contiguous_format)
    if trained.kept == 0:
        raise FidelityError(
            f"adapting by {mode} gained nothing: on a session that it did not train on, the "
            "network was best as it came",
            hint="export without --adapt, or take pictures of more sessions",
        )
    after = _features(network, preparation, pictures, (AFTER, 1.0), progress)
    found = gain(before, after, labels, judging)
    sessions = _count(groups, judging.held_out)
    where = f"{found.asked} pictures of {sessions} unseen session{'s' * (sessions > 1)}"
    if found.lost:
        raise FidelityError(
            f"adapting by {mode} lost: of {where}, {found}",
            hint="export without --adapt, or take pictures of more sessions",
        )
    how = "a scale and a shift a channel" if mode == "film" else "every weight"
    return Adapted(
        module=network,
        gain=found,
        report={**about, **found.report},
        sentence=f"the network was adapted once, by {how}; of {where}, {found}",
    )


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


def _parted(labels: I64, groups: I64, seed: int) -> Sides:
    parted = sides(labels, groups, seed)
    if parted is None:
        raise InputError(
            "adapting needs two classes that are each in two or more sessions",
            hint="take some pictures of every class again, another day or elsewhere",
        )
    return parted


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
    for batch in pictures.batches(preparation.spec, FEATURES):
        if told is not None:
            told("features before adapting" if span[0] == 0.0 else "judging", done / len(pictures))
        found.append(embed(embedding, batch))
        done += len(batch)
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


def _example(preparation: Preparation) -> torch.Tensor:
    return torch.zeros((1, 3, *preparation.size))


def _labelled(pictures: Pictures, labels: I64) -> Pictures:
    return Pictures(pictures.names, labels.astype(np.int64), pictures.read, pictures.groups)


def _training(
    trained: Trained, groups: I64, trained_on: I64, asked: I64 | None
) -> dict[str, object]:
    said = asdict(trained)
    said["losses"] = [round(loss, 4) for loss in trained.losses]
    said["pictures"], said["sessions"] = len(trained_on), _count(groups, trained_on)
    said["stopped_by_pictures"] = 0 if asked is None else len(asked)
    return said


def _count(groups: I64, rows: I64) -> int:
    return len(np.unique(groups[rows]))


def _part(progress: Progress | None, start: float, end: float) -> Progress | None:
    if progress is None:
        return None
    return lambda what, share: progress(what, start + (end - start) * min(share, 1.0))
