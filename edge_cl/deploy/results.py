"""What a deployment did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_cl.deploy.board import Board

__all__ = ["AS_IT_IS", "Deployed", "Progress", "Step"]

Progress = Callable[[str, float], None]
AS_IT_IS = "as it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: what it did, or with `--dry-run` what it would do.

    changed : false where all was right already.
    """

    name: str
    did: str
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A deployment that ended.

    release : name of what is on the board now; with `dry_run`, of what would be.
    reports : what was brought home.
    refused : why a check on the board did not pass; the board is then as it was. Empty: it passed.
    lost : what could not be taken back then, one line each.
    """

    board: Board
    release: str
    steps: tuple[Step, ...]
    reports: tuple[Path, ...]
    refused: str
    lost: tuple[str, ...]
    dry_run: bool
