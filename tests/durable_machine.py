"""A learner on a real folder beside its `Model`, for hypothesis to drive.

After every call the two are compared; a crash is a copy of the folder as it is, opened again.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from crash.oracle import grid
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from learner_model import Model
from media import FAST
from numpy.testing import assert_allclose, assert_array_equal

from edge_cl import Durability, Learner, features_bundle
from edge_cl.errors import EdgeCLError, ForgetError, InputError

D, ROWS = 3, 4000
X = np.random.default_rng(4).standard_normal((ROWS, D)).astype(np.float32)
BUNDLE = features_bundle(X)
Q = grid(X, BUNDLE.manifest.embedding.scale)
RING, EVERY = 30, 10
NAMES = st.sampled_from("abcdefg")
LABELS = st.lists(NAMES, min_size=1, max_size=6)
VERSIONS = st.sampled_from(["v1", "v2", "before-rollback"])


class Machine(RuleBasedStateMachine):
    """Laws that hold for every head and every durability.

    Attributes
    ----------
    head, each, archive, compared : how the learner is opened.
    """

    head = "ncm"
    each = 1
    archive = False
    compared = None

    def __init__(self):
        super().__init__()
        self._place = tempfile.TemporaryDirectory(dir=FAST)
        self._turn = self._row = 0
        self.model = Model(RING, self.archive)
        self.since = [self.model.copy()]  # what a crash may leave
        self.learner = self._open()

    def teardown(self):
        self.learner.close(save=False)
        self._place.cleanup()

    @property
    def folder(self):
        return Path(self._place.name, str(self._turn))

    @property
    def begun(self):
        return (self.folder / "snapshot-0.safetensors").exists()

    def _open(self):
        return Learner.open(
            self.folder,
            bundle=BUNDLE,
            head=None if self.begun else self.head,  # one that was tuned stays so
            durability=Durability(each=self.each, ring=RING, snapshot_every=EVERY),
            archive=self.archive,
            compare=self.compared,
        )

    def rows(self, n):
        self._row += n
        return list(range(self._row - n, self._row))

    def done(self):
        """A call was made and the model has followed: they are the same."""
        self.since.append(self.model.copy())
        if not self.learner.unsaved:
            del self.since[:-1]
        self.compare()

    def refuse(self, error, call, *arguments, **named):
        """A call is refused and changes nothing."""
        before = self._content()
        try:
            call(*arguments, **named)
        except error:
            pass
        else:
            raise AssertionError(f"expected {error.__name__} from {call.__name__}{arguments}")
        assert self._content() == before
        self.compare()

    def _content(self):
        return {
            p.name: p.read_bytes() for p in self.folder.iterdir() if p.name.startswith("snapshot-")
        }

    def compare(self):
        m, (n, total, gram) = self.learner.moments(), self.model.sums(Q)
        assert list(self.learner.labels) == self.model.labels
        assert_array_equal(m.n, n)
        assert_array_equal(m.Q.reshape(-1, D), total)
        assert_array_equal(m.G, gram)
        assert self.learner.status.seq == self.model.seq
        assert self.learner.status.lost == 0

    # -- learning -------------------------------------------------------------------------------

    @rule(label=NAMES)
    def learn(self, label):
        rows = self.rows(1)
        lesson = self.learner.learn(X[rows[0]], label)
        self.model.learn(rows, [label])
        assert (lesson.seq, lesson.total) == (self.model.seq, self.model.total)
        assert lesson.durable or self.each != 1
        self.done()

    @rule(labels=LABELS)
    def learn_many(self, labels):
        self._many(labels)

    @rule(n=st.sampled_from([EVERY + 1, 17, RING + 5]), label=NAMES)
    def learn_more_than_go_into_the_ring_at_once(self, n, label):
        self._many([label if i % 3 else "abc"[i % 2] for i in range(n)])

    def _many(self, labels):
        rows = self.rows(len(labels))
        lesson = self.learner.learn_many(X[rows], labels)
        known = list(self.model.labels)
        self.model.learn(rows, labels)
        assert list(lesson.new_classes) == self.model.labels[len(known) :]
        assert (lesson.samples, lesson.seq) == (len(labels), self.model.seq)
        self.done()

    # -- opening, crashes -----------------------------------------------------------------------

    @rule()
    def flush(self):
        self.learner.flush()
        self.done()

    @rule()
    def save(self):
        self.learner.save()
        self.done()

    @rule()
    def reopen(self):
        scores = self.scores()
        self.learner.close()
        self.learner = self._open()
        assert not self.learner.recovery.problems
        assert_array_equal(self.scores(), scores)
        self.done()

    @rule()
    def crash(self):
        scores, saved = self.scores(), not self.learner.unsaved
        before, self._turn = self.folder, self._turn + 1
        if before.exists():
            shutil.copytree(before, self.folder)
        self.learner.close(save=False)
        self.learner = self._open()
        recovery = self.learner.recovery
        assert not recovery.problems
        assert recovery.lost == 0
        assert not recovery.unfinished
        seq = self.learner.status.seq
        versions = self.model.versions  # these never wait
        self.model = next(model for model in self.since if model.seq == seq).copy()
        self.model.versions = versions
        self.compare()
        self.since = [self.model.copy()]
        if saved:
            self.compare_scores(scores)
        self.compare_history()

    @rule()
    def look(self):
        self.compare_history()
        if self.begun:
            with Learner.open(self.folder, bundle=BUNDLE, read_only=True) as reader:
                assert reader.status.seq in {model.seq for model in self.since}
                assert not reader.recovery.problems
        fresh = self.fresh()
        if fresh is not None:
            some = [label for label in self.model.labels if label in fresh.labels]
            own, new = (
                learner.scores(X[:20])[:, [learner.labels.index(label) for label in some]]
                for learner in (self.learner, fresh)
            )
            assert_allclose(own, new, rtol=1e-6, atol=1e-6)

    def fresh(self):
        """Return a learner that was taught, in one call, what stands; None where nothing does."""
        rows = [*self.model.own.values(), *self.model.merged]
        if not rows:
            return None
        fresh = Learner.open(bundle=BUNDLE, head=self.head, compare=self.compared)
        fresh.learn_many(X[[row for row, _ in rows]], [label for _, label in rows])
        return fresh

    def scores(self):
        return self.learner.scores(X[:20]) if self.model.total else None

    def compare_scores(self, scores):
        if scores is not None:
            assert_allclose(self.scores(), scores, rtol=1e-7, atol=1e-7)

    def compare_history(self):
        """The newest changes are told as they were, and whether they stand."""
        told = self.learner.history()
        assert [r.seq for r in told] == list(
            range(self.model.seq, max(0, self.model.seq - RING), -1)
        )
        for record in told:
            kind, _, target = self.model.records[record.seq]
            assert record.kind == kind
            if kind == "learned":
                assert record.stands == (record.seq in self.model.own), record
                if record.stands:
                    assert record.label == self.model.own[record.seq][1]
            elif record.seq in self.model.gone:
                assert not record.stands
            elif kind == "note":
                assert record.stands
            if target is not None and record.target is not None:
                assert record.target == target


class Changing(Machine):
    """What a head that is a function of the sums allows besides."""

    @precondition(lambda self: self.model.own)
    @rule(data=st.data())
    def undo(self, data):
        count = data.draw(st.integers(1, min(len(self.model.own), 14)))
        labels = self.learner.undo(count)
        assert labels == self.model.take_back("undone", self.model.newest(count))
        self.done()

    @precondition(lambda self: self.model.own)
    @rule(data=st.data())
    def forget(self, data):
        seq = data.draw(st.sampled_from(sorted(self.model.own)))
        row, label = self.model.own[seq]
        self.learner.forget(X[row], label)
        self.model.take_back("forgotten", [seq])
        self.done()

    @precondition(lambda self: self.model.own)
    @rule(data=st.data())
    def forget_lesson(self, data):
        seq = data.draw(st.sampled_from(sorted(self.model.own)))
        if self.model.held(seq):
            label = self.learner.forget_lesson(seq)
            assert (label,) == self.model.take_back("forgotten", [seq])
            self.done()
        else:
            self.refuse(ForgetError, self.learner.forget_lesson, seq)

    @precondition(lambda self: self.model.taken_back())
    @rule(data=st.data())
    def forget_what_does_not_stand(self, data):
        seq = data.draw(st.sampled_from(self.model.taken_back()))
        self.refuse(ForgetError, self.learner.forget_lesson, seq)

    @precondition(lambda self: self.model.labels)
    @rule(data=st.data())
    def forget_class(self, data):
        label = data.draw(st.sampled_from(self.model.labels))
        held = all(self.model.held(seq) for seq in self.model.standing(label))
        if held and all(own != label for _, own in self.model.merged):
            n = len(self.model.standing(label))
            assert self.learner.forget_class(label) == n
            self.model.forget_class(label)
            self.done()
        else:
            self.refuse(ForgetError, self.learner.forget_class, label)

    @precondition(lambda self: self.model.labels)
    @rule(data=st.data(), new=NAMES)
    def rename_class(self, data, new):
        old = data.draw(st.sampled_from(self.model.labels))
        if new in self.model.labels:
            self.refuse(InputError, self.learner.rename_class, old, new)
        else:
            self.learner.rename_class(old, new)
            self.model.rename(old, new)
            self.done()

    @precondition(lambda self: len(self.model.labels) > 1)
    @rule(data=st.data())
    def merge_classes(self, data):
        source, into = data.draw(st.permutations(self.model.labels))[:2]
        self.learner.merge_classes(source, into)
        self.model.merge_classes(source, into)
        self.done()

    @rule(labels=LABELS)
    def merge(self, labels):
        rows = self.rows(len(labels))
        with Learner.open(bundle=BUNDLE, head=self.head, compare=self.compared) as other:
            other.learn_many(X[rows], labels)
            self.learner.merge(other)
        self.model.merge(rows, labels)
        self.done()

    @rule(name=VERSIONS)
    def save_version(self, name):
        self.learner.save_version(name)
        self.model.save_version(name)
        self.done()

    @rule(name=VERSIONS)
    def rollback(self, name):
        if name in self.model.versions:
            self.learner.rollback(name)
            self.model.rollback(name)
            self.done()
        else:
            self.refuse(InputError, self.learner.rollback, name)

    @rule()
    def refused(self):
        self.refuse(InputError, self.learner.learn, X[0], "")
        self.refuse(InputError, self.learner.learn_many, [X[0], np.full(D, np.nan)], ["a", "b"])
        self.refuse(ForgetError, self.learner.undo, len(self.model.own) + 1)
        self.refuse(EdgeCLError, self.learner.forget_class, "nobody")
        self.refuse(EdgeCLError, self.learner.rename_class, "nobody", "somebody")
        self.refuse(EdgeCLError, self.learner.forget_lesson, self.model.seq + 1)
