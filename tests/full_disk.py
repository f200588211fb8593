"""A learner on a disk of a few KiB: a tmpfs of limited size, in mounts of this process's own."""

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from crash.blocks import own_mounts
from crash.fuse import mount, unmount
from crash.oracle import grid
from media import Base, Taught, short_log, write

from edge_cl import Durability, Learner, features_bundle
from edge_cl.errors import StorageError

REMOUNT, READ_ONLY = 32, 1
PAGE = 4096
X = np.random.default_rng(9).standard_normal((200, 6)).astype(np.float32)
BUNDLE = features_bundle(X)
Q = grid(X, BUNDLE.manifest.embedding.scale)
LESSONS = 60
PLENTY = 4 << 20


@dataclass
class Outcome:
    """One level: free bytes at first, calls that were refused, and what is wrong ("": nothing)."""

    level: int
    refused: int = 0
    wrong: str = ""


def why_not():
    """Return why no such disk can be had here, or ""."""
    try:
        with disk(PLENTY):
            return ""
    except OSError as error:
        return f"full disks: {error}"


@contextlib.contextmanager
def disk(size):
    """An empty folder that holds so many bytes."""
    own_mounts()
    with tempfile.TemporaryDirectory() as folder:
        mount("none", folder, "tmpfs", 0, f"size={size}")
        try:
            yield Path(folder)
        finally:
            unmount(folder)


def resize(folder, size):
    mount("none", folder, "tmpfs", REMOUNT, f"size={size}")


def opened(folder):
    return Learner.open(
        folder / "state",
        bundle=BUNDLE,
        head="ncm",
        durability=Durability(ring=48, snapshot_every=16),
    )


class Pupil:
    """Teaches samples by number, and remembers which were acknowledged."""

    def __init__(self):
        self.known = []
        self.refused = 0
        self._at = 0

    def teach(self, learner, until):
        """Go on until this sample, or until the disk refuses."""
        while self._at < until:
            i = self._at
            try:
                learner.learn(X[i], f"c{i % 3}", event=(i + 1).to_bytes(16, "big"))
            except StorageError:
                self.refused += 1
                return False
            self.known.append(i)
            self._at += 1
        return True

    def wrong(self, learner):
        """Compare with what was acknowledged."""
        m, rows = learner.moments(), Q[self.known].reshape(-1, 6)
        classes = np.array([i % 3 for i in self.known])
        names = list(dict.fromkeys(f"c{c}" for c in classes))
        if list(learner.labels) != names or m.n.tolist() != [
            int((classes == int(name[1])).sum()) for name in names
        ]:
            return f"{m.samples} samples of {len(self.known)} acknowledged"
        return "" if np.array_equal(m.G, rows.T @ rows) else "the sums differ"


def at_the_start(levels):
    """A disk that is full before the state is made, or soon after."""
    with short_log():
        return [_at_the_start(level) for level in levels]


def _at_the_start(level):
    outcome, pupil = Outcome(level), Pupil()
    with disk((level + 1) * PAGE) as folder:
        learner = None
        try:
            learner = opened(folder)
        except StorageError:
            outcome.refused += 1
        if learner:
            pupil.teach(learner, LESSONS)
            outcome.wrong = pupil.wrong(learner)
            learner.close(save=False)
        resize(folder, PLENTY)
        with opened(folder) as learner:
            outcome.wrong = outcome.wrong or pupil.wrong(learner)
            if learner.recovery.problems or learner.recovery.lost:
                outcome.wrong = outcome.wrong or str(learner.recovery)
            if not pupil.teach(learner, LESSONS):
                outcome.wrong = "it does not go on"
        with opened(folder) as learner:
            outcome.wrong = outcome.wrong or pupil.wrong(learner)
    outcome.refused += pupil.refused
    return outcome


def steady(levels):
    """A disk that fills up while a learner is at work, and has room again later."""
    with short_log():
        return [_steady(level) for level in levels]


def _steady(level):
    outcome, pupil = Outcome(level), Pupil()
    with disk(PLENTY) as folder:
        learner = opened(folder)
        pupil.teach(learner, 20 + level)
        _fill(folder / "filler", level * PAGE)
        while not pupil.teach(learner, 150) and pupil.refused < 5:
            outcome.wrong = outcome.wrong or pupil.wrong(learner)  # what was refused is not in
        (folder / "filler").unlink()
        if not pupil.teach(learner, 180):  # the same learner goes on
            outcome.wrong = outcome.wrong or "it does not go on when there is room"
        outcome.wrong = outcome.wrong or pupil.wrong(learner)
        learner.close(save=level % 2 == 0)
        with opened(folder) as learner:
            outcome.wrong = outcome.wrong or pupil.wrong(learner)
            if learner.recovery.problems or learner.recovery.lost:
                outcome.wrong = outcome.wrong or str(learner.recovery)
    outcome.refused = pupil.refused
    return outcome


def without_snapshots():
    """A disk with room for the ring's log and for no snapshot; then the power fails."""
    outcome, pupil = Outcome(0), Pupil()
    with short_log(), disk(PLENTY) as folder, tempfile.TemporaryDirectory() as place:
        learner = opened(folder)
        pupil.teach(learner, 40)
        _fill(folder / "filler", 0)
        pupil.teach(learner, 190)
        shutil.copytree(folder / "state", Path(place, "state"))
        learner.close(save=False)
        with opened(Path(place)) as learner:
            outcome.wrong = pupil.wrong(learner)
            if learner.recovery.problems or learner.recovery.lost:
                outcome.wrong = outcome.wrong or str(learner.recovery)
    outcome.refused = pupil.refused
    return outcome


def _fill(path, free):
    """Write until only so many bytes are free."""
    room = os.statvfs(path.parent)
    with open(path, "wb") as stream:
        stream.write(bytes(max(0, room.f_bavail * room.f_bsize - free)))


def on_a_sealed_medium(closed):
    """Return whether a state is read there as it is, and what is said to who would write."""
    taught = Taught(Base(4, "ncm", 20, closed))
    with disk(PLENTY) as folder:
        write(taught.content, folder / "state")
        mount("none", folder, "tmpfs", REMOUNT | READ_ONLY, "")
        with Learner.open(folder / "state", bundle=taught.bundle, read_only=True) as learner:
            holds = taught.held(learner) == taught.sums[-1] and not learner.recovery.problems
        try:
            taught.open(folder / "state").close()
        except StorageError as error:
            return holds, str(error)
    return holds, "it was opened for writing"
