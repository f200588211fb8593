"""Is this state whole; if not, what is wrong, and what can be done.

Every file is looked at by itself, then the state is opened for reading, as `edge-cl predict`
does: what that gives is what there is. Nothing is written, mended or locked, so it works on a
read-only medium, and while another process is learning. Damage of any kind is a finding, not an
error.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from edge_cl.doctor.finding import Finding, note, ok, problem, refusal
from edge_cl.doctor.folder import require_folder
from edge_cl.doctor.state.kept_files import (
    beside,
    kept_bundle,
    old_format,
    ring,
    snapshots,
    special_files,
    versions,
)
from edge_cl.doctor.state.surroundings import access, lock_holder, locked, space, sqlite_version
from edge_cl.errors import EdgeCLError, StateError
from edge_cl.learner import Learner
from edge_cl.store import is_state

__all__ = ["Examination", "examine"]

_TRIES = 10  # where somebody writes while it is looked at
_WATCHED = ("events.db", "events.db-wal", "snapshot-0.safetensors", "snapshot-1.safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found in a state folder.

    seq, samples, classes : changes so far, and what is in; None where it does not open.
    lost : samples that damage costs now, beyond those that `status` counts; None: nobody knows.
    findings : one for each thing that was looked at.
    """

    folder: str
    seq: int | None
    samples: int | None
    classes: int | None
    lost: int | None
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> int:
        """How many findings are problems."""
        return sum(one.verdict == "problem" for one in self.findings)

    @property
    def sound(self) -> bool:
        """Whether none is."""
        return not self.problems


def examine(folder: Path) -> Examination:
    """Look at the state in `folder`, without changing anything.

    Raises
    ------
    StateError : there is no such folder.
    """
    require_folder(folder)
    for _ in range(_TRIES):
        before = _times(folder)
        found = _examined(folder)
        if found.sound or _times(folder) == before:
            return found
        time.sleep(0.1)  # it may have been read while it was between two states
    return found


def _examined(folder: Path) -> Examination:
    entered = access(folder)
    if not os.access(folder, os.R_OK | os.X_OK):  # nothing in it can even be named
        return Examination(
            folder=str(folder),
            seq=None,
            samples=None,
            classes=None,
            lost=None,
            findings=(*entered,),
        )
    held, pid = lock_holder(folder)
    files, whole = snapshots(folder)
    newest = whole[0] if whole else None
    special = special_files(folder)
    opened = _Opened()
    if not special and (is_state(folder) or (folder / "events.db").exists()):
        opened.open(folder)
    findings = (
        *entered,
        locked(folder, held=held, pid=pid),
        *old_format(folder),
        *files,
        *ring(folder, newest),
        *kept_bundle(folder, newest),
        *versions(folder, newest),
        *beside(folder, time.time(), writing=held),
        *space(folder, whole),
        sqlite_version(),
        *special,
        *opened.findings,
    )
    return Examination(
        folder=str(folder),
        seq=opened.seq,
        samples=opened.samples,
        classes=opened.classes,
        lost=opened.lost,
        findings=findings,
    )


class _Opened:
    """What opening the state for reading gives."""

    def __init__(self) -> None:
        self.seq: int | None = None
        self.samples: int | None = None
        self.classes: int | None = None
        self.lost: int | None = None
        self.findings: list[Finding] = []

    def open(self, folder: Path) -> None:
        """Open the state and close it again; an error is a finding."""
        try:
            with Learner.open(folder, read_only=True) as learner:
                self._take(learner)
        except (EdgeCLError, OSError, MemoryError) as error:
            self.findings.append(refusal("opening", error, _way_out(folder, error)))

    def _take(self, learner: Learner) -> None:
        status, recovery = learner.status, learner.recovery
        self.seq, self.samples = status.seq, status.samples
        self.classes = sum(n > 0 for n in status.samples_per_class.values())
        self.lost = recovery.lost
        told = f"samples: {self.samples}, classes: {self.classes}, changes: {self.seq}"
        before = status.lost - (recovery.lost or 0)
        if before > 0:
            says = f"damage has cost {before} samples so far, and was mended"
            self.findings.append(note("lost", says, "teach them again; look at the disk"))
        if recovery.unfinished:
            says = "the last change on disk is not whole: cut off, or damaged; nothing tells"
            self.findings.append(
                note("events.db-wal", says, "look whether the last lesson is there")
            )
        if recovery.lost is None:
            says = f"it opens ({told}), without what only events.db held: nobody knows how much"
            self.findings.append(problem("opening", says, "teach again what is missing"))
        elif recovery.lost:
            says = f"it opens ({told}), without the newest {recovery.lost} that were learned"
            self.findings.append(problem("opening", says, "teach these again"))
        elif recovery.problems:
            self.findings.append(ok("opening", f"nothing is lost ({told})"))
        else:
            self.findings.append(ok("opening", f"whole ({told})"))


def _way_out(folder: Path, error: Exception) -> str:
    """Return what helps where a state does not open."""
    hint = error.hint if isinstance(error, EdgeCLError) else ""
    kept = folder / "versions"
    if isinstance(error, StateError) and kept.is_dir():
        return "copy a version that is whole over both snapshots, or put back a copy of the folder"
    return hint.replace("edge-cl doctor says more; ", "")


def _times(folder: Path) -> tuple[tuple[int, int, int] | None, ...]:
    return tuple(_time(folder / name) for name in _WATCHED)


def _time(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
