"""A million samples through a learner that keeps its state: every bit as the definition has it.

`test_moments.py` does the same for the sums alone. EDGE_CL_NIGHTLY=1 takes ten million.
"""

import os
import shutil
import tempfile
import time

import numpy as np
import pytest
from crash.oracle import grid
from media import FAST
from numpy.testing import assert_array_equal

from edge_cl import Durability, Learner, features_bundle

SAMPLES = 10_000_000 if os.environ.get("EDGE_CL_NIGHTLY") else 1_000_000
D = 6
X = np.random.default_rng(6).standard_normal((50_000, D)).astype(np.float32)
BUNDLE = features_bundle(X)
Q = grid(X, BUNDLE.manifest.embedding.scale)
SIZES = [1, 1, 1, 1, 2, 3, 30, 256, 900, 1000, 1001, 4000]


class Sums:
    """n, Q and G in int64, classes by name."""

    def __init__(self):
        self.classes = {}
        self.G = np.zeros((D, D), np.int64)

    def add(self, rows, labels, sign=1):
        q = Q[rows]
        for label in dict.fromkeys(labels):
            own = q[[i for i, name in enumerate(labels) if name == label]]
            n, total = self.classes.get(label, (0, np.zeros(D, np.int64)))
            self.classes[label] = n + sign * len(own), total + sign * own.sum(axis=0)
        self.G += sign * (q.T @ q)

    def same(self, learner):
        m = learner.moments()
        assert list(learner.labels) == list(self.classes)
        assert m.n.tolist() == [n for n, _ in self.classes.values()]
        assert_array_equal(m.Q, np.array([total for _, total in self.classes.values()]))
        assert_array_equal(m.G, self.G)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["ncm", "ridge"])
def test_a_million_samples_through_a_learner_are_exact(head, figure):
    samples = SAMPLES // 2  # with each head
    rng, sums, learned = np.random.default_rng(7), Sums(), 0
    begin, done = time.monotonic(), dict.fromkeys(WHAT, 0)
    with tempfile.TemporaryDirectory(dir=FAST) as place:
        soak = Soak(place, head, rng, sums)
        while learned < samples:
            size = min(int(rng.choice(SIZES)), samples - learned)
            learned += soak.learn(size)
            if rng.random() < 0.5:
                what = WHAT[int(rng.integers(len(WHAT)))]
                getattr(soak, what)()
                done[what] += 1
            if rng.random() < 0.05:
                sums.same(soak.learner)
        sums.same(soak.learner)
        seq = soak.learner.status.seq
        soak.learner.close()
    seconds = time.monotonic() - begin
    told = ", ".join(f"{what.replace('_', ' ')} {n}" for what, n in done.items())
    figure(f"{learned} samples, {seq} changes, bit-equal ({told}), {seconds:.0f} s")
    assert min(done.values()) > 0


WHAT = ["undo", "forget", "forget_lesson", "merge", "rename", "join", "save", "crash", "version"]


class Soak:
    """A learner, and the sums it must have."""

    def __init__(self, place, head, rng, sums):
        self._place, self._turn, self._rng, self._sums = place, 0, rng, sums
        self._head, self._names = head, 0
        self._newest = []  # (number, row, class) that stand, of the last calls
        self.learner = self._open()

    def _open(self):
        return Learner.open(
            f"{self._place}/{self._turn}",
            bundle=BUNDLE,
            head=self._head,
            durability=Durability(ring=3000, snapshot_every=1000),
        )

    def _rows(self, n):
        rows = self._rng.integers(0, len(X), n)
        known = list(self._sums.classes)
        if len(known) < 5:
            self._names += 1
            known.append(f"class {self._names}")
        return rows, [known[c] for c in self._rng.integers(0, len(known), n)]

    def learn(self, n):
        rows, labels = self._rows(n)
        lesson = self.learner.learn_many(X[rows], labels)
        self._sums.add(rows, labels)
        numbers = range(lesson.seq - n + 1, lesson.seq + 1)
        self._newest += list(zip(numbers, rows.tolist(), labels, strict=True))
        self._newest = self._newest[-200:]
        return n

    def _back(self, samples):
        self._sums.add([row for _, row, _ in samples], [label for *_, label in samples], -1)

    def undo(self):
        if not self._newest:
            return
        count = int(self._rng.integers(1, min(40, len(self._newest)) + 1))
        self.learner.undo(count)
        self._back(self._newest[-count:])
        del self._newest[-count:]

    def forget(self):
        if self._newest:
            _, row, label = self._newest[-1]
            self.learner.forget(X[row], label)
            self._back([self._newest.pop()])

    def forget_lesson(self):
        if self._newest:
            one = self._newest.pop(int(self._rng.integers(len(self._newest))))
            if one[0] > self.learner.status.seq - 3000:
                self.learner.forget_lesson(one[0])
                self._back([one])

    def merge(self):
        rows, labels = self._rows(50)
        with Learner.open(bundle=BUNDLE, head="ncm") as other:
            other.learn_many(X[rows], labels)
            self.learner.merge(other)
        self._sums.add(rows, labels)

    def _relabel(self, old, new):
        self._newest = [(n, row, new if y == old else y) for n, row, y in self._newest]

    def rename(self):
        self._names += 1
        old, new = next(iter(self._sums.classes)), f"class {self._names}"
        self.learner.rename_class(old, new)
        classes = self._sums.classes
        self._sums.classes = {new if y == old else y: sums for y, sums in classes.items()}
        self._relabel(old, new)

    def join(self):
        if len(self._sums.classes) > 2:
            source, into = list(self._sums.classes)[:2]
            self.learner.merge_classes(source, into)
            n, total = self._sums.classes.pop(source)
            m, other = self._sums.classes[into]
            self._sums.classes[into] = n + m, total + other
            self._relabel(source, into)

    def save(self):
        self.learner.save()

    def crash(self):
        before, self._turn = f"{self._place}/{self._turn}", self._turn + 1
        shutil.copytree(before, f"{self._place}/{self._turn}")
        self.learner.close(save=False)
        shutil.rmtree(before)
        self.learner = self._open()
        assert not self.learner.recovery.problems

    def version(self):
        """Keep a version, teach nonsense, and go back to it."""
        self.learner.save_version("kept")
        rows, labels = self._rows(20)
        self.learner.learn_many(X[rows], labels)
        self.learner.rollback("kept")
