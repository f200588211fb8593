"""States for `test_media.py`: what was taught, what must be there, and single bits that flip.

A state is taught a short course, and what it must hold after each change is known from the
definition. Then one bit of one file is flipped, the learner is opened, and what it holds and what
it says of itself are compared with the course: `verdict`.
"""

import contextlib
import os
import random
import re
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from crash.explore import MEMORY
from crash.oracle import grid

from edge_cl import Durability, Learner, features_bundle
from edge_cl.errors import EdgeCLError, StateError
from edge_cl.store import ring
from edge_cl.store.snapshots import read_snapshots

FILES = ("events.db", "events.db-wal", "snapshot-0.safetensors", "snapshot-1.safetensors")
ROWS = 3000
FAST = MEMORY if os.path.isdir(MEMORY) else None


@dataclass(frozen=True)
class Base:
    """A state to damage.

    Parameters
    ----------
    d, head : of the learner.
    lessons : taught one by one behind a course of every kind of change; none is in the way where
        `plain`.
    renamed : whether the last change is another name of a class.
    each : how many samples a call teaches of those lessons.
    closed : "killed" leaves the log as it is; "left" closes without a snapshot, "closed" with one.
    """

    d: int
    head: str
    lessons: int
    closed: str
    plain: bool = False
    each: int = 1
    renamed: bool = False


SMALL = Durability(ring=15, snapshot_every=5)
PAGES = 16  # in the log before it begins anew


class Taught:
    """The files of a base, and the sums that must be there after each change.

    Attributes
    ----------
    content : name -> bytes.
    sums : after 0, 1, 2 ... changes: {label: (n, bytes of Q)}, bytes of G; None inside of a call.
    seq, last : changes, and those of them that the last call made.
    """

    def __init__(self, base):
        self.base = base
        rng = np.random.default_rng(base.d)
        self.x = rng.standard_normal((ROWS, base.d)).astype(np.float32)
        self.bundle = features_bundle(self.x)
        self._q = grid(self.x, self.bundle.manifest.embedding.scale)
        self._row = 0
        self._standing = {}  # seq -> (row, label)
        self._labels = []
        self.sums = [self._sums()]
        with tempfile.TemporaryDirectory(dir=FAST) as place:
            folder = Path(place, "state")
            self._teach(folder)
            self.content = {p.name: p.read_bytes() for p in Path(place, "kept").iterdir()}
        self.seq = len(self.sums) - 1
        self.last = next((n for n, sums in enumerate(self.sums[-2::-1], 1) if sums), 0)

    def open(self, folder):
        return Learner.open(folder, bundle=self.bundle, head=self.base.head, durability=SMALL)

    def held(self, learner):
        """Return what a learner holds, in the form of `sums`."""
        m = learner.moments()
        per_class = {
            label: (int(n), total.astype(np.int64).tobytes())
            for label, n, total in zip(learner.labels, m.n, m.Q, strict=True)
        }
        return per_class, m.G.astype(np.int64).tobytes()

    def _teach(self, folder):
        learner = self.open(folder)
        if not self.base.plain:
            self._course(learner)
        names = ("cup", "key", "dog")
        for i in range(0, self.base.lessons, self.base.each):
            self._learn(learner, self.base.each, *names[i % 3 :], *names[: i % 3])
        if self.base.renamed:
            self._rename(learner, "cup", "mug")
        assert learner.status.seq == len(self.sums) - 1
        assert self.held(learner) == self.sums[-1]
        kept = folder.with_name("kept")
        if self.base.closed == "killed":
            shutil.copytree(folder, kept)
        learner.close(save=self.base.closed == "closed")
        if self.base.closed != "killed":
            shutil.copytree(folder, kept)

    def _course(self, learner):
        self._learn(learner, 1, "cup")
        self._learn(learner, 4, "cup", "old")
        self._learn(learner, 1, "key")
        self._take_back(learner.undo, 2)
        for _ in range(6):
            self._learn(learner, 1, "old", "key")
        self._rename(learner, "old", "dog")
        self._learn(learner, 3, "cup", "dog")
        seq = self.seq_now - 1
        learner.forget_lesson(seq)
        del self._standing[seq]
        self._changed()
        self._learn(learner, 8, "cup", "key", "dog")  # more than go into the ring at once
        self._take_back(learner.undo, 1)

    def _rename(self, learner, old, new):
        learner.rename_class(old, new)
        self._standing = {
            seq: (row, new if label == old else label)
            for seq, (row, label) in self._standing.items()
        }
        self._labels[self._labels.index(old)] = new
        self._changed()

    @property
    def seq_now(self):
        return len(self.sums) - 1

    def _learn(self, learner, n, *labels):
        chosen = [labels[i % len(labels)] for i in range(n)]
        rows = range(self._row, self._row + n)
        self._row += n
        first = self.seq_now + 1
        learner.learn_many(self.x[rows.start : rows.stop], chosen)
        for i, (row, label) in enumerate(zip(rows, chosen, strict=True)):
            self._standing[first + i] = row, label
            if label not in self._labels:
                self._labels.append(label)
            self._changed(whole=i == n - 1)

    def _take_back(self, undo, n):
        undo(n)
        for i in range(n):
            del self._standing[max(self._standing)]
            self._changed(whole=i == n - 1)

    def _changed(self, *, whole=True):
        self.sums.append(self._sums() if whole else None)

    def _sums(self):
        per_class = {}
        for label in self._labels:
            own = self._q[[row for row, y in self._standing.values() if y == label]]
            per_class[label] = len(own), own.sum(axis=0, dtype=np.int64).tobytes()
        every = self._q[[row for row, _ in self._standing.values()]]
        return per_class, (every.T @ every).tobytes()


def verdict(taught, folder, *, further=True):
    """Open a state that may be damaged, and return what is to be said of it.

    "right": nothing is missing, nothing is said. "mended": nothing is missing, damage was seen.
    "lost": something is missing, and exactly so much is said to be; "lost, uncounted": and it is
    said that it cannot be said. "unfinished": the last call is missing, and it is said that it is
    not whole. "refused": StateError. All else begins with "WRONG".
    """
    try:
        learner = taught.open(folder)
    except StateError:
        return "refused"
    except EdgeCLError as error:
        return f"WRONG error: {type(error).__name__}: {error}"
    try:
        holds, recovery = taught.held(learner), learner.recovery
        missing = {taught.seq - i for i, sums in enumerate(taught.sums) if sums == holds}
        if further:
            learner.learn(taught.x[0], "cup")
            then, seq = taught.held(learner), learner.status.seq
            if seq <= taught.seq and not recovery.unfinished:
                return f"WRONG: number {seq} was given before; {recovery}"
    except EdgeCLError as error:
        return f"WRONG error: {type(error).__name__}: {error}"
    finally:
        learner.close(save=False)
    if further:
        with taught.open(folder) as learner:
            if taught.held(learner) != then or learner.recovery.problems:
                return f"WRONG: it was not mended; {recovery}, then {learner.recovery}"
    if not missing:
        return f"WRONG: it holds what was never there; {recovery}"
    if recovery.lost is None:
        told = bool(recovery.problems)
        if told:
            return "mended, uncounted" if 0 in missing else "lost, uncounted"
    elif recovery.lost in missing:
        if not recovery.problems:
            return "right" if recovery.lost == 0 else f"WRONG: lost, no problem; {recovery}"
        return "lost" if recovery.lost else "mended"
    elif recovery.lost == 1 and 0 in missing and recovery.problems:
        return "mended, one in doubt"
    elif recovery.unfinished and taught.last in missing:
        return "unfinished"
    return f"WRONG: {min(missing)} are missing; {recovery}"


def refused(folder, name):
    """Say whether a snapshot is told to be damaged: what it holds is then nowhere looked at."""
    return name.startswith("snapshot") and any(
        one.error for one in read_snapshots(folder) if one.path.name == name
    )


def beside_a_log(taught, folder):
    """Begin a state where only the log of another one is left; return what is wrong."""
    name = "events.db-wal"
    write({name: taught.content[name]}, folder)
    for turn in range(1, 4):
        with taught.open(folder) as learner:
            if learner.recovery.problems or learner.moments().samples != turn - 1:
                return f"{learner.moments().samples} samples of {turn - 1}; {learner.recovery}"
            learner.learn(taught.x[turn], "new")
            learner.close(save=False)
    return ""


def write(content, folder):
    """Make the files of a state."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)


@contextlib.contextmanager
def short_log():
    """Let the log of the ring begin anew often; copies of it are made in memory."""
    before = tempfile.tempdir, ring._PAGES
    tempfile.tempdir, ring._PAGES = FAST, PAGES
    try:
        yield
    finally:
        tempfile.tempdir, ring._PAGES = before


def places(data, around):
    """Return which bytes may be hit: see `flips`."""
    starts = [found.start() for text in around for found in re.finditer(text, data)]
    near = {at for start in starts for at in range(start - 56, start + 4)}
    return sorted(at for at in near if 0 <= at < len(data)) if around else range(len(data))


def flips(base, count, seed, *, files=FILES, around=(), most=None, opened=1):
    """Flip single bits, one a state; return how often each verdict came, and what is wrong.

    Parameters
    ----------
    around : texts: only bytes of them, or just before them, are hit; none: all bytes.
    most : it ends early when so many are wrong.
    opened : of the snapshots that are refused, one in so many is opened with its state.
    """
    with short_log():
        taught, rng = Taught(base), random.Random(f"{base} {seed}")
    there = [name for name in files if taught.content.get(name)]
    found, wrong = Counter(), []
    with short_log(), tempfile.TemporaryDirectory() as place:
        folder = Path(place, "state")
        for i in range(count):
            name = rng.choice(there)
            data = bytearray(taught.content[name])
            at, bit = rng.choice(places(data, around)), rng.randrange(8)
            data[at] ^= 1 << bit
            write({**taught.content, name: bytes(data)}, folder)
            if i % opened and refused(folder, name):
                said = "not taken"
            else:
                said = verdict(taught, folder, further=i % 8 == 0)
            if name.startswith("snapshot") and said not in ("right", "mended", "not taken"):
                said = f"WRONG: {said}, with one snapshot damaged"
            if said.startswith("WRONG"):
                wrong.append(f"{base} bit {bit} of byte {at} of {name}: {said}")
                said = "WRONG"
            found[f"{said} {name}"] += 1
            if most and len(wrong) >= most:
                break
    return found, wrong
