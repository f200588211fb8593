"""What is kept: save and reopen, undo, forget. Each leaves exactly what it should, or fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_cl.bundle import Bundle
from edge_cl.demo.pictures import LabelledPictures
from edge_cl.errors import StorageError
from edge_cl.learner import Learner

__all__ = ["KeepingReport", "run_keeping"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepingReport:
    """What was checked, on real pictures.

    reopened_equal : scores after reopening are the same bits.
    undo_equal : after learning one more picture and undoing it, the saved file is the same
        as one that never saw it.
    forget_equal : the same, for a picture forgotten after others came.
    state_bytes : what is on disk, the bundle apart.
    """

    samples: int
    reopened_equal: bool
    undo_equal: bool
    forget_equal: bool
    state_bytes: int

    @property
    def passed(self) -> bool:
        """All of it."""
        return self.reopened_equal and self.undo_equal and self.forget_equal


def run_keeping(pictures: LabelledPictures, bundle: Bundle, folder: Path) -> KeepingReport:
    """Learn a few pictures into `folder`, and check that nothing is lost and nothing stays."""
    n = min(40, len(pictures.pictures) - 1)
    step = len(pictures.pictures) // n
    some = pictures.pictures[::step][:n]
    labels = pictures.labels[::step][:n]
    extra = pictures.pictures[1]
    with Learner.open(folder, bundle=bundle, head="ridge") as learner:
        learner.learn_many(some, labels)
        before = learner.scores(some)
    with Learner.open(folder) as learner:
        reopened_equal = np.array_equal(before, learner.scores(some))
        learner.learn(extra, labels[0])
        learner.undo()
        undone = learner.moments()
        learner.learn(extra, labels[0])
        learner.learn(some[0], labels[0])
        learner.forget(extra, labels[0])
        learner.undo()
        forgotten = learner.moments()
    size = sum(path.stat().st_size for path in folder.iterdir() if path.suffix != ".edgecl")
    with Learner.open(bundle=bundle) as fresh:
        fresh.learn_many(some, labels)
        expected = fresh.moments()
    return KeepingReport(
        samples=n,
        reopened_equal=bool(reopened_equal),
        undo_equal=undone == expected,
        forget_equal=forgotten == expected,
        state_bytes=size,
    )


def fresh_folder(folder: Path) -> Path:
    """Return `folder` without the state of an earlier demonstration in it.

    Raises
    ------
    StorageError : the disk refused.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kept in ("snapshot*.safetensors", "events.db*", "encoder.edgecl*"):
            for path in folder.glob(kept):
                path.unlink()
    except OSError as error:
        raise StorageError(f"cannot use {folder}: {error.strerror or error}") from error
    return folder
