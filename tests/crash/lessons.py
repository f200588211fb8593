"""The learner under test: what it is taught, how a call is repeated, what must be there afterwards.

Everything goes through the public API. A workload says `done N` after operation N - 1 when nothing
of it would be lost any more, so the log holds what was acknowledged at each moment. `Promise`
is the check of one state:

    I1  every acknowledged operation is there, in order, once
    I2  of those that were not, at most the ones in flight
    I3  n, Q and G are bit-equal to the definition (`oracle`), labels and versions right; the head
        answers as one that nothing has happened to (ridge: up to rounding)
    I4  opening raises nothing and reports no damage
    I5  what is repeated with its event changes nothing; what was in flight is done once
    I6  SQLite finds nothing wrong
    I7  learning goes on, and survives a restart
"""

import os
import random
import sqlite3
import struct
import tempfile
import zlib
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from crash.oracle import Op, grid, history
from crash.tracer import MENDED
from edge_cl import Durability, Learner, features_bundle
from edge_cl.errors import StateError, StorageError
from edge_cl.store import ring

D = 12
ROWS = 400
STATE = "state"
X = np.random.default_rng(5).standard_normal((ROWS, D)).astype(np.float32)
BUNDLE = features_bundle(X)
Q = grid(X, BUNDLE.manifest.embedding.scale)
PROBE = X[-4:]
SMALL = {"ring": 64, "snapshot_every": 16}  # so that everything happens often


def open_learner(folder, head, *, each=1):
    return Learner.open(
        Path(folder, STATE), bundle=BUNDLE, head=head, durability=Durability(each=each, **SMALL)
    )


def perform(learner, op):
    """Do one operation."""
    event = {"event": op.event} if op.event else {}
    if op.kind == "learn":
        return learner.learn(X[op.rows[0]], op.labels[0], **event)
    if op.kind == "learn_many":
        return learner.learn_many(X[list(op.rows)], list(op.labels), **event)
    if op.kind == "undo":
        return learner.undo(op.target, **event)
    if op.kind == "forget":
        return learner.forget(X[op.rows[0]], op.labels[0], **event)
    if op.kind == "forget_lesson":
        return learner.forget_lesson(_number(learner, op.names[0]), **event)
    if op.kind == "merge":
        with Learner.open(bundle=BUNDLE, head="ncm") as other:
            other.learn_many(X[list(op.rows)], list(op.labels))
            return learner.merge(other)
    return getattr(learner, op.kind)(*op.names)


def _number(learner, event):
    """Return the number of the last lesson that a call taught, from the list of changes."""
    return next(r.seq for r in learner.history() if r.event == event and r.kind == "learned")


# --- workloads ---


class Course:
    """Writes down operations, numbered, with events; draws from its own random numbers."""

    def __init__(self, seed):
        self.ops = []
        self._rng = random.Random(seed)
        self._row = 0

    def add(self, kind, *, event=True, **fields):
        number = len(self.ops)
        name = struct.pack(">QQ", 7, number + 1) if event else None
        self.ops.append(Op(kind, event=name, **fields))
        return number

    def rows(self, n):
        self._row += n
        return tuple(range(self._row - n, self._row))

    def learn(self, n, *labels):
        """Teach n samples one by one; return the numbers of the operations."""
        return [
            self.add("learn", rows=self.rows(1), labels=(self._rng.choice(labels),))
            for _ in range(n)
        ]

    def learn_many(self, n, *labels):
        chosen = tuple(self._rng.choice(labels) for _ in range(n))
        return self.add("learn_many", rows=self.rows(n), labels=chosen)


def everything(seed=1, turns=2):
    """Every kind of operation, in several places; the ring of 64 goes round."""
    c = Course(seed)
    for turn in range(turns):
        a, b, new, other = (f"{name}{turn}" for name in ("cup", "key", "new", "far"))
        taught = c.learn(5, a, b, "dog")
        c.learn_many(6, a, b, "dog", "cat")
        c.add("undo", target=2)
        c.learn(3, a, b, "dog")
        first = c.ops[taught[0]]
        c.add("forget", rows=first.rows, labels=first.labels)
        c.learn(2, a, b)
        c.add("forget_lesson", target=(n := c.learn(1, b)[0]), names=(c.ops[n].event.hex(),))
        c.learn(1, a)
        c.add("rename_class", names=(a, new), event=False)
        c.learn(3, new, b)
        c.add("merge_classes", names=(b, new), event=False)
        c.learn_many(20, new, "dog")  # more than go into the ring at once
        c.add("save_version", names=(f"v{turn}",), event=False)
        c.learn(4, "wrong", "dog")
        c.add("undo", target=1)
        c.learn(1, other)
        c.learn_many(3, other, "dog")
        c.add("forget_class", names=(other,), event=False)
        c.learn(2, new, "dog")
        c.add("merge", rows=c.rows(5), labels=("dog", new, "there", "there", "dog"), event=False)
        c.learn(2, new, "there")
        c.add("save", event=False)
        c.add("undo", target=3)
        c.learn(3, new, "dog")
        c.add("rollback", names=(f"v{turn}",), event=False)
        c.learn(2, new, "later")
    return c.ops


def in_order(seed=2):
    """What a head that depends on the order of samples allows."""
    c = Course(seed)
    for turn in range(2):
        c.learn(9, "cup", "key", "dog")
        c.learn_many(6, "cup", f"new{turn}")
        c.add("save_version", names=(f"v{turn}",), event=False)
        c.learn(5, "cup", "key")
        c.add("save", event=False)
        c.learn_many(18, "cup", "dog")
        c.learn(6, "dog", f"more{turn}")
        c.add("rollback", names=(f"v{turn}",), event=False)
        c.learn(4, "key")
    return c.ops


def lessons_only(seed=3):
    """What goes through the ring alone, for longer than it holds."""
    c = Course(seed)
    for _ in range(12):
        c.learn(12, "cup", "key", "dog")
        c.add("undo", target=1)
    return c.ops


COURSES = {"everything": everything, "in order": in_order, "lessons only": lessons_only}


@dataclass(frozen=True)
class Teach:
    """A workload: a course from where the state stands, `most` operations of it, then an end.

    Parameters
    ----------
    course, head, each : see `COURSES` and `Durability.each`.
    most : how many operations; None: all.
    refused : what to do where the disk refuses. "end": let the error out. "mend": say that the disk
        is mended; then the same call must work. "defy": try once more all the same.
    """

    course: str
    head: str
    each: int = 1
    most: int | None = None
    refused: str = "end"

    def __call__(self, folder, say):
        ring._PAGES = 24  # in a process of its own: the write-ahead log begins anew now and then
        ops = course(self.course)
        learner = self._insist(lambda: open_learner(folder, self.head, each=self.each), say, 0)
        at = position(learner, ops, expected(self.course), range(len(ops) + 1))
        say(b"seen %d" % at)
        end = len(ops) if self.most is None else min(len(ops), at + self.most)
        for i in range(at, end):
            say(b"begin %d" % (i + 1))
            self._insist(lambda i=i: perform(learner, ops[i]), say, i + 1)
            if not learner.unsaved:
                say(b"done %d" % (i + 1))
        self._insist(learner.close, say, end)
        say(b"done %d" % end)

    def _insist(self, call, say, number):
        try:
            return call()
        except StorageError:
            say(b"refused %d" % number)
            if self.refused == "end":
                raise
            if self.refused == "mend":
                say(MENDED)
            return call()


@lru_cache
def course(name):
    return COURSES[name]()


@lru_cache
def expected(name):
    """Return what must be there after 0, 1, 2 ... operations: versions, labels, n, Q, G."""
    found = []
    for state in history(course(name)):
        per_class, gram = state.sums(Q)
        n = np.array([count for count, _ in per_class.values()], np.int64)
        sums = np.array([total for _, total in per_class.values()], np.int64).reshape(-1, D)
        found.append((frozenset(state.versions), list(state.labels), n, sums, gram))
    return found


def answer(learner):
    try:
        return learner.scores(PROBE)
    except StateError:  # nothing is known yet
        return None


@lru_cache
def answers(name, head):
    """Return what a learner that nothing has happened to answers after 0, 1, 2 ... operations."""
    with tempfile.TemporaryDirectory() as folder, open_learner(folder, head) as learner:
        found = [answer(learner)]
        for op in course(name):
            perform(learner, op)
            found.append(answer(learner))
    return found


def held(learner, names=None):
    """Return what a learner holds, in the form of `expected`; `names` of versions, if known."""
    m = learner.moments()
    if names is None:  # each is read from the disk
        names = frozenset(version.name for version in learner.versions())
    return names, list(learner.labels), m.n, m.Q.reshape(-1, D), m.G


def fits(held, state):
    """Say whether what a learner holds is exactly this.

    What a rollback leaves behind is kept before it, under an inner name, and renamed after it.
    """
    (kept, labels, n, sums, gram), (versions, *rest) = held, state
    left = {"before-rollback", "before-rollback.new"}
    return (
        labels == rest[0]
        and all(np.array_equal(a, b) for a, b in zip((n, sums, gram), rest[1:], strict=True))
        and versions - left == kept - left
        and (not versions & left or bool(kept & left))
    )


def position(learner, ops, states, possible):
    """Return after how many operations, of those possible, a learner holds what it holds, or None.

    Where it is the same after several, the newest lesson's event tells.
    """
    holds = held(learner)
    found = [i for i in possible if fits(holds, states[i])]
    if len(found) > 1:
        events = {record.event for record in learner.history()}
        for i in reversed(found[1:]):
            named = [op.event.hex() for op in ops[found[0] : i] if op.event]
            if not named or named[-1] in events:
                return i
    return found[0] if found else None


def progress(marks, before=(0, 0)):
    """Return how many operations were acknowledged, and how many begun."""
    acknowledged, begun = before
    for mark in marks:
        if mark != MENDED:
            word, number = mark.split()
            if word in (b"done", b"seen"):
                acknowledged = max(acknowledged, int(number))
            begun = max(begun, int(number))
    return acknowledged, begun


@dataclass(frozen=True)
class Promise:
    """The check of one state of `Teach(course, head, each)`.

    Parameters
    ----------
    before : operations acknowledged, and begun, before the log began.
    """

    course: str
    head: str
    each: int = 1
    before: tuple[int, int] = (0, 0)

    def __call__(self, folder, marks):
        ops, states = course(self.course), expected(self.course)
        acknowledged, begun = progress(marks, self.before)
        turn = _turn(folder)  # what takes long is done in some states, the same ones every time
        learner = open_learner(folder, self.head, each=self.each)  # I4
        try:
            recovery = learner.recovery
            assert not recovery.problems, f"I4: {recovery}"
            assert recovery.lost == 0, f"I4: {recovery}"
            assert not recovery.set_aside, f"I4: {recovery}"
            possible = range(acknowledged, begun + 1)
            at = position(learner, ops, states, possible)  # I1, I2, I3
            assert at is not None, f"I1-I3: not {possible}; {told(learner, states)}"
            assert self._answers_as(learner, at), "I3: the head answers otherwise"
            self._repeat(learner, ops, states, at)
            for op in ops[at : at + (2 if turn % 4 == 0 else 1)]:  # in flight, and what comes next
                found = perform(learner, op)
                assert not getattr(found, "duplicate", False), "I5: in flight, said to be known"
                at += 1
            names = None if states[at][0] - states[max(0, at - 2)][0] else states[at][0]
            assert fits(held(learner, names), states[at]), "I5, I7: what was in flight, or next"
        finally:
            learner.close(save=turn % 4 == 1)
        with closing(sqlite3.connect(Path(folder, STATE, "events.db"))) as db:
            assert db.execute("pragma quick_check").fetchall() == [("ok",)], "I6"
        unknown = set(os.listdir(Path(folder, STATE))) - KNOWN
        assert not unknown, f"left behind: {unknown}"
        if turn % 8 == 1 or (turn % 8 == 0 and self.each == 1):
            with open_learner(folder, self.head, each=self.each) as learner:
                assert fits(held(learner), states[at]), "I7: what was learned after the cut"

    def _answers_as(self, learner, at):
        found, same = answer(learner), answers(self.course, self.head)[at]
        if self.head == "ridge" and same is not None:  # followed lesson by lesson, or solved anew
            return np.allclose(found, same, rtol=1e-9, atol=1e-12)
        return np.array_equal(found, same)

    def _repeat(self, learner, ops, states, at):
        """I5: the newest operation that is there, once more."""
        if at and ops[at - 1].event:
            found = perform(learner, ops[at - 1])
            same = held(learner, states[at][0])
            assert fits(same, states[at]), f"I5: {ops[at - 1].kind} counts twice"
            assert getattr(found, "duplicate", True), "I5: it was there, and is said to be new"


KNOWN = {
    *("events.db", "events.db-wal", "lock", "encoder.edgecl", "versions"),
    *("snapshot-0.safetensors", "snapshot-1.safetensors"),
}


def _turn(folder):
    """Return a number that depends on the state."""
    sizes = sorted(
        (e.name, e.stat().st_size) for place in os.walk(folder) for e in os.scandir(place[0])
    )
    return zlib.crc32(repr(sizes).encode())


def told(learner, states):
    """Say what a learner holds instead of what it should."""
    holds = held(learner)
    fitting = [i for i, state in enumerate(states) if fits(holds, state)]
    return f"it fits after {fitting}, {learner.moments().samples} samples"
