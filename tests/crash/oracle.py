"""What a learner must hold after a list of operations, from the definition: sums in int64.

    n_c = |{i: y_i = c}|,   Q_c = Σ q_i,   G = Σ q_i q_iᵀ,   q = clip(rint(x / s), ±2047)

over the samples that stand. Imports nothing of what it judges, and keeps no state on any disk: the
list of operations is known, and how many were acknowledged was written down while they ran.
"""

from dataclasses import dataclass, field

import numpy as np

HIGHEST = 2047


@dataclass(frozen=True)
class Op:
    """One call of the learner.

    Parameters
    ----------
    kind : which.
    rows : numbers of the vectors that it is about.
    labels : their classes.
    names : of classes or of a version.
    target : number of the operation whose last lesson is forgotten.
    event : the 16 bytes that make a retry harmless, or None.
    """

    kind: str
    rows: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    target: int = -1
    event: bytes | None = None


@dataclass
class Expected:
    """The samples that stand, oldest first: (vector's number, class, operation that taught it)."""

    standing: list = field(default_factory=list)
    merged: list = field(default_factory=list)  # of other learners: no number, cannot be undone
    labels: list = field(default_factory=list)
    versions: dict = field(default_factory=dict)

    def copy(self):
        return Expected(
            list(self.standing), list(self.merged), list(self.labels), dict(self.versions)
        )

    def after(self, i, op):
        """Return what is expected after operation `i`."""
        then = self.copy()
        getattr(then, f"_{op.kind}")(i, op)
        return then

    def sums(self, q):
        """Return {class: (n, Q)} and G for grid vectors `q` (m, d)."""
        rows = [(row, label) for row, label, _ in self.standing] + self.merged
        per_class = {}
        for label in self.labels:
            own = q[[row for row, y in rows if y == label]]
            per_class[label] = len(own), own.sum(axis=0)
        every = q[[row for row, _ in rows]]
        return per_class, every.T @ every

    # --- one method a kind ---

    def _learn(self, i, op):
        for row, label in zip(op.rows, op.labels, strict=True):
            self.standing.append((row, label, i))
            if label not in self.labels:
                self.labels.append(label)

    _learn_many = _learn

    def _undo(self, i, op):
        del self.standing[-op.target :]

    def _forget(self, i, op):
        at = max(k for k, s in enumerate(self.standing) if s[:2] == (op.rows[0], op.labels[0]))
        del self.standing[at]

    def _forget_lesson(self, i, op):
        at = max(k for k, sample in enumerate(self.standing) if sample[2] == op.target)
        del self.standing[at]

    def _relabel(self, change):
        self.standing = [(row, change.get(y, y), i) for row, y, i in self.standing]
        self.merged = [(row, change.get(y, y)) for row, y in self.merged]

    def _rename_class(self, i, op):
        old, new = op.names
        self._relabel({old: new})
        self.labels[self.labels.index(old)] = new

    def _merge_classes(self, i, op):
        source, into = op.names
        self._relabel({source: into})
        self.labels.remove(source)

    def _forget_class(self, i, op):
        self.standing = [sample for sample in self.standing if sample[1] != op.names[0]]
        self.labels.remove(op.names[0])

    def _merge(self, i, op):
        for row, label in zip(op.rows, op.labels, strict=True):
            self.merged.append((row, label))
            if label not in self.labels:
                self.labels.append(label)

    def _save(self, i, op):
        pass

    def _save_version(self, i, op):
        self.versions[op.names[0]] = self.copy()

    def _rollback(self, i, op):
        versions, now = self.versions, self.copy()
        then = versions[op.names[0]]
        self.standing, self.merged = list(then.standing), list(then.merged)
        self.labels = list(then.labels)
        self.versions = {**versions, "before-rollback": now}


def history(ops):
    """Return what is expected after 0, 1, 2 ... operations."""
    states = [Expected()]
    for i, op in enumerate(ops):
        states.append(states[-1].after(i, op))
    return states


def grid(x, step):
    """Return vectors on the grid, int64."""
    return np.clip(np.rint(np.asarray(x, np.float64) / step), -HIGHEST, HIGHEST).astype(np.int64)
