"""Starting a run from a shelf: which bundle, which state, and when it has proved itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_cl.cli.opening import Choices
from edge_cl.cli.output import note

if TYPE_CHECKING:
    from edge_cl.shelf import Shelf


def checked_shelf(folder: Path, key: Path | None) -> Shelf:
    """Return a shelf that takes only what the owner of `key` has signed; None: anything whole."""
    from edge_cl.shelf import Shelf

    if key is None:
        return Shelf(folder)
    from edge_cl.signing import read_public_key, verify_signature

    pem = read_public_key(key)
    return Shelf(folder, check=lambda bundle, signature: verify_signature(bundle, signature, pem))


def started(shelf: Shelf, choices: Choices, state: Path) -> tuple[Choices, Path]:
    """Start the current bundle of a shelf, and return choices and the state that go with it.

    Each encoder has a state of its own below `state`, so that a return to the previous bundle is
    also a return to what was taught with it.
    """
    from edge_cl.encoders import choose_encoder

    start = shelf.start()  # counted on disk, before anything of it is loaded
    if start.note:
        note(f"note: {start.note}")
    bundle = start.bundle
    spec = choose_encoder(bundle, choices.runtime, choices.precision)
    identity = bundle.manifest.members[spec.member].sha256 if spec else bundle.sha256
    # Its signature was verified by the shelf
    return replace(choices, bundle=bundle, require_signature=None), state / identity[:16]


def count_healthy(shelf: Shelf) -> None:
    """Count one more answer or lesson of the bundle that was started."""
    from edge_cl.errors import StorageError

    try:
        if shelf.healthy():
            note("note: the bundle has proved itself, and is marked good")
    except StorageError as error:
        note(f"note: the trial of the bundle goes on: {error}")
