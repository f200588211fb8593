"""Opening the learner of a command.

Options are checked before anything is created, so that a typing error leaves no folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_cl.cli.output import counted, note

if TYPE_CHECKING:
    from edge_cl.bundle import Bundle
    from edge_cl.learner import Learner
    from edge_cl.store import Recovery


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the options of a command say about the learner; None: not said."""

    bundle: Path | Bundle | None = None
    require_signature: Path | None = None
    head: str | None = None
    compare: list[str] | None = None
    feature_map: str | None = None
    preset: str | None = None
    forgetting: str | None = None
    runtime: str | None = None
    precision: str | None = None
    threads: int | None = None
    accelerator: str | None = None
    cores: str | None = None
    strict: bool = False
    durability: str = "save"  # what ends in an error then leaves the state as it was
    archive: bool = False
    thumbnails: bool = False


def open_existing(state: Path, choices: Choices | None = None, *, read_only: bool) -> Learner:
    """Open a state that must be there; never creates a folder.

    Raises
    ------
    StateError : there is no state in the folder.
    """
    require_state(state)
    learner = _open(state, choices or Choices(), read_only=read_only)
    if not read_only:
        _tell(learner.recovery)
    return learner


def open_or_create(state: Path, choices: Choices) -> Learner:
    """Open a state for learning, a new one where there is none."""
    learner = _open(state, choices, read_only=False)
    _tell(learner.recovery)
    return learner


@contextmanager
def all_or_nothing(learner: Learner) -> Iterator[Learner]:
    """Save when the block ends; on an error, or Ctrl-C, leave the state as it was."""
    try:
        yield learner
    except BaseException:
        learner.close(save=False)
        raise
    learner.close()


def bundle_at(path: Path, key: Path | None) -> Bundle:
    """Open a bundle; with `key`, only one that its owner has signed."""
    if key is None:
        from edge_cl.bundle import open_bundle

        return open_bundle(path)
    from edge_cl.signing import open_signed_bundle

    return open_signed_bundle(path, key)


def require_state(state: Path) -> None:
    """Raise StateError unless something was saved in folder `state`."""
    from edge_cl.errors import StateError
    from edge_cl.store import is_state

    if not is_state(state):
        raise StateError(
            f"no state in {state}",
            hint="learn something first (edge-cl learn --help), or name its folder with --state",
        )


def _open(state: Path, choices: Choices, *, read_only: bool) -> Learner:
    from edge_cl.features import map_named
    from edge_cl.forgetting import forgetting_named
    from edge_cl.learner import Learner

    return Learner.open(
        state,
        bundle=choices.bundle,
        require_signature=choices.require_signature,
        head=choices.head,
        compare=choices.compare,
        feature_map=map_named(choices.feature_map) if choices.feature_map is not None else None,
        preset=choices.preset,
        forgetting=(
            forgetting_named(choices.forgetting) if choices.forgetting is not None else None
        ),
        runtime=choices.runtime,
        precision=choices.precision,
        threads=choices.threads,
        accelerator=choices.accelerator,
        cores=choices.cores,
        strict=choices.strict,
        durability=choices.durability,
        archive=choices.archive,
        thumbnails=choices.thumbnails,
        read_only=read_only,
    )


def _tell(found: Recovery) -> None:
    """Say what was damaged, and what became of it."""
    for text in found.problems:
        note(f"note: {text}")
    if found.lost is None:
        note("note: it cannot be told how many lessons are lost; teach again what is missing")
    elif found.lost:
        note(f"note: {counted(found.lost, 'lesson')} lost, the newest: teach them again")
    elif found.unfinished:
        note("note: the last change on disk is not whole: it was cut off, or is damaged")
    elif found.problems:
        note("note: no lesson is lost, and the damage is mended")
    for name in found.set_aside:
        note(f"note: kept for inspection: {name}")
