"""What a durable learner must be after any list of calls, in plain Python.

`Model` is changed by the same calls as the learner and keeps lists of samples; everything that a
learner shows is computed from them. Imports nothing of what it judges.
"""

import copy
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Call:
    """What a call with an event was answered, and the numbers of its rows."""

    kind: str
    first: int
    last: int
    answer: tuple


@dataclass
class Model:
    """A learner with a ring of so many rows.

    Attributes
    ----------
    own : number -> [row of X, class], of the samples that stand.
    merged : [row, class] of other learners'.
    records : number -> (kind, class when it came, number of the lesson taken back).
    archived : numbers that the archive keeps.
    gone : numbers that were rolled back.
    calls : event -> `Call`.
    """

    ring: int
    archive: bool = False
    archived: set = field(default_factory=set)
    seq: int = 0
    labels: list = field(default_factory=list)
    own: dict = field(default_factory=dict)
    merged: list = field(default_factory=list)
    records: dict = field(default_factory=dict)
    gone: set = field(default_factory=set)
    calls: dict = field(default_factory=dict)
    marks: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)

    def copy(self):
        return copy.deepcopy(self)

    @property
    def total(self):
        return len(self.own) + len(self.merged)

    def sums(self, q):
        """Return n, Q and G in int64."""
        rows = [*self.own.values(), *self.merged]
        y = np.array([self.labels.index(label) for _, label in rows], np.int64)
        x = q[[row for row, _ in rows]].reshape(-1, q.shape[1])
        Q = np.zeros((len(self.labels), q.shape[1]), np.int64)
        np.add.at(Q, y, x)
        return np.bincount(y, minlength=len(self.labels)), Q, x.T @ x

    def held(self, seq):
        """Say whether the features of a lesson that stands are still there."""
        return seq > self.seq - self.ring or seq in self.archived

    def standing(self, label):
        return [seq for seq, (_, own) in self.own.items() if own == label]

    def taken_back(self):
        """Lessons of the ring that do not stand, and can be named."""
        return [
            seq
            for seq, (kind, *_) in self.records.items()
            if kind == "learned" and seq not in self.own
        ]

    # -- events --------------------------------------------------------------------------------

    def known(self, event, kind):
        """Return "new", "stale", or the `Call` that it names."""
        if event is None:
            return "new"
        if event in self.calls:
            call = self.calls[event]
            return call if call.kind == kind else "another"
        client, counter = event[:8], int.from_bytes(event[8:], "big")
        return "stale" if counter <= self.marks.get(client, -1) else "new"

    def _called(self, event, kind, first, answer):
        if event is not None:
            client, counter = event[:8], int.from_bytes(event[8:], "big")
            self.marks[client] = max(counter, self.marks.get(client, -1))
            self.calls[event] = Call(kind, first, self.seq, answer)

    # -- changes -------------------------------------------------------------------------------

    def learn(self, rows, labels, event=None):
        new = tuple(dict.fromkeys(label for label in labels if label not in self.labels))
        self.labels += new
        first = self.seq + 1
        for row, label in zip(rows, labels, strict=True):
            self.seq += 1
            self.own[self.seq] = [row, label]
            self.archived |= {self.seq} if self.archive else set()
            self.records[self.seq] = ("learned", label, None)
        self._called(event, "learned", first, (len(rows), self.total, new, self.seq))

    def take_back(self, kind, seqs, event=None):
        labels = tuple(self.own[seq][1] for seq in seqs)
        first = self.seq + 1
        for seq in seqs:
            self.seq += 1
            _, label = self.own.pop(seq)
            self.archived.discard(seq)
            self.records[self.seq] = (kind, label, seq)
        self._called(event, kind, first, labels)
        return labels

    def newest(self, count):
        return sorted(self.own, reverse=True)[:count]

    def note(self):
        self.seq += 1
        self.records[self.seq] = ("note", "", None)

    def relabel(self, old, new):
        for sample in [*self.own.values(), *self.merged]:
            if sample[1] == old:
                sample[1] = new

    def rename(self, old, new):
        self.relabel(old, new)
        self.labels[self.labels.index(old)] = new
        self.note()

    def merge_classes(self, source, into):
        self.relabel(source, into)
        self.labels.remove(source)
        self.note()

    def forget_class(self, label):
        for seq in self.standing(label):
            del self.own[seq]
            self.archived.discard(seq)
        self.labels.remove(label)
        self.note()

    def merge(self, rows, labels):
        for row, label in zip(rows, labels, strict=True):
            self.merged.append([row, label])
            if label not in self.labels:
                self.labels.append(label)
        self.note()

    def save_version(self, name):
        content = (self.seq, self.labels, self.own, self.merged, self.gone)
        self.versions[name] = copy.deepcopy(content)

    def rollback(self, name):
        then = copy.deepcopy(self.versions[name])
        self.save_version("before-rollback")
        seq, self.labels, self.own, self.merged, self.gone = then
        self.gone = self.gone | set(range(seq + 1, self.seq + 1))
        self.note()
