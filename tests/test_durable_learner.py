"""Laws of a learner that keeps its state in a folder, over random histories of all its calls.

The machine is in `durable_machine.py`, what it is compared with in `learner_model.py`.
"""

import shutil
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from crash.explore import explore, workers
from crash.tracer import trace, why_not
from durable_machine import BUNDLE, EVERY, RING, Changing, Machine, X
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from media import FAST
from numpy.testing import assert_allclose, assert_array_equal

from edge_cl import Durability, Learner
from edge_cl.errors import ForgetError, StateError
from edge_cl.sealed import seal
from edge_cl.store.snapshots import read_snapshots


class Ridge(Changing):
    head = "ridge"

    @rule()
    def tune(self):
        if self.model.total > 1:
            self.learner.tune()
            self.model.note()
            self.done()

    def fresh(self):
        return None  # its λ is another one after `tune`


class Archiving(Changing):
    archive = True


class Grouped(Changing):
    each = 3


class OnRequest(Changing):
    each = 0


class LDA(Changing):
    head = "lda"


class Compared(Changing):
    compared = ("ncm-euclidean",)


class InOrder(Machine):
    """A head that depends on the order: replayed call by call, it has the same bits."""

    head = "kalman"

    def compare_scores(self, scores):
        if scores is not None:
            assert_array_equal(self.scores(), scores)

    def fresh(self):
        return None

    @rule(name=st.sampled_from(["v1", "v2"]))
    def save_version(self, name):
        self.learner.save_version(name)
        self.model.save_version(name)
        self.done()

    @rule(name=st.sampled_from(["v1", "v2"]))
    def rollback(self, name):
        if name in self.model.versions:
            self.learner.rollback(name)
            self.model.rollback(name)
            self.done()

    @rule()
    def refused(self):
        if self.model.own:
            seq, (row, label) = next(iter(self.model.own.items()))
            self.refuse(ForgetError, self.learner.undo, 1)
            self.refuse(ForgetError, self.learner.forget, X[row], label)
            self.refuse(ForgetError, self.learner.forget_lesson, seq)
            self.refuse(ForgetError, self.learner.forget_class, label)
            if len(self.model.labels) > 1:
                self.refuse(ForgetError, self.learner.merge_classes, *self.model.labels[:2])


SMALL = Durability(ring=RING, snapshot_every=EVERY)
MACHINES = [Changing, Ridge, LDA, Archiving, Compared, InOrder, Grouped, OnRequest]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.__name__)
def test_any_history_is_that_of_the_model(machine):
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=40))


# -- samples that leave by themselves ----------------------------------------------------------


@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("forgetting", ["halve:16", "window:24:3"])
@pytest.mark.parametrize("head", ["ridge", "ncm"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=8)
def test_what_leaves_by_itself_has_left_after_a_crash_too(head, forgetting, each, seed):
    rng = np.random.default_rng(seed)
    live = Learner.open(bundle=BUNDLE, head=head, forgetting=forgetting)
    durability = msgspec.structs.replace(SMALL, each=each)
    with tempfile.TemporaryDirectory(dir=FAST) as place:
        turn, at = 0, 0
        learner = Learner.open(
            f"{place}/0", bundle=BUNDLE, head=head, forgetting=forgetting, durability=durability
        )
        for _ in range(12):
            for _ in range(int(rng.integers(1, 5))):
                n = int(rng.choice([1, 1, 1, 4, 13]))
                labels = ["abc"[c] for c in rng.integers(0, 3, n)]
                for one in (live, learner):
                    one.learn_many(X[at : at + n], labels)
                at += n
            if rng.random() < 0.3 and live.status.undoable:
                for one in (live, learner):
                    one.undo(1)
            learner.flush()
            if rng.random() < 0.6:
                shutil.copytree(f"{place}/{turn}", f"{place}/{turn + 1}")
                learner.close(save=False)
                turn += 1
                learner = Learner.open(f"{place}/{turn}", bundle=BUNDLE, durability=durability)
            assert learner.moments() == live.moments()
            assert learner.labels == live.labels
            assert learner.status.undoable == live.status.undoable
            if not live.status.samples:
                continue
            assert_allclose(learner.scores(X[:9]), live.scores(X[:9]), rtol=1e-7, atol=1e-7)
        learner.close(save=False)


# -- the archive -------------------------------------------------------------------------------


def test_an_archive_reaches_behind_the_ring_and_ends_with_its_file(tmp_path):
    options = {"bundle": BUNDLE, "durability": SMALL}
    with Learner.open(tmp_path / "s", archive=True, head="ncm", **options) as learner:
        for i in range(3 * RING):
            learner.learn(X[i], "ab"[i % 2])
    with Learner.open(tmp_path / "s", **options) as learner:  # once on, it stays on
        assert learner.forget_lesson(2) == "b"
        learner.learn(X[100], "c")
        with pytest.raises(ForgetError):
            learner.forget_lesson(2)
    events = tmp_path / "s" / "events.db"
    data = bytearray(events.read_bytes())
    data[:100] = bytes(100)
    events.write_bytes(data)
    with Learner.open(tmp_path / "s", **options) as learner:
        assert learner.recovery.problems
        assert learner.recovery.set_aside
        assert learner.status.samples == 3 * RING  # the snapshots hold them all
        before = learner.moments()
        for refused in (lambda: learner.forget_lesson(4), lambda: learner.forget_class("a")):
            with pytest.raises(ForgetError):
                refused()
        assert learner.moments() == before
        learner.learn_many(X[200:205], ["new"] * 5)  # from here on it is kept again
        for i in range(2 * RING):
            learner.learn(X[300 + i], "a")
        assert learner.forget_class("new") == 5


# -- states of an older format -----------------------------------------------------------------


class Format1(msgspec.Struct, frozen=True, kw_only=True):
    """The header of a state before there was a ring."""

    format_version: int = 1
    bundle_name: str
    bundle_sha256: str
    encoder_sha256: str
    d: int
    scale: float
    map: object
    head: object
    compared: tuple = ()
    auto: bool = False
    statistics: tuple = ()
    forgetting: object
    labels: tuple
    saturated: int


OLD = {"n", "Q", "G", "undo_q", "undo_y"}


def old_state(folder, *, head):
    """Make a state of format 1; return what it holds, and its file."""
    with tempfile.TemporaryDirectory() as place:
        with Learner.open(place, bundle=BUNDLE, head=head) as learner:
            learner.learn_many(X[:20], ["abc"[i % 3] for i in range(20)])
            learner.forget(X[3], "a")
            holds = learner.moments(), learner.labels, learner.scores(X[:9])
        found = max(read_snapshots(Path(place)), key=lambda one: one.saved.header.seq).saved
        bundle = Path(place, "encoder.edgecl").read_bytes()
    told = {name: getattr(found.header, name) for name in Format1.__struct_fields__}
    header = Format1(**{**told, "format_version": 1})
    tensors = {n: a for n, a in found.tensors.items() if n in OLD or "." in n}
    folder.mkdir(parents=True)
    data = seal(header, tensors)
    (folder / "snapshot.safetensors").write_bytes(data)
    (folder / "encoder.edgecl").write_bytes(bundle)
    return holds, data


def migrates(folder, holds, data):
    """Opened, it holds what it held; the old file is kept as it was; learning goes on."""
    with Learner.open(folder, durability=SMALL) as learner:
        assert learner.moments() == holds[0]
        assert learner.labels == holds[1]
        assert_allclose(learner.scores(X[:9]), holds[2], rtol=1e-7, atol=1e-7)
        assert learner.recovery.lost == 0
        learner.undo(1)
        learner.learn(X[30], "d")
    assert (folder / "snapshot.format-1.safetensors").read_bytes() == data
    assert not (folder / "snapshot.safetensors").exists()
    with Learner.open(folder) as learner:
        assert learner.status.samples == 19
        assert not learner.recovery.problems


@pytest.mark.parametrize("head", ["ridge", "ncm", "kalman"])
def test_an_old_state_migrates_and_its_file_is_kept(tmp_path, head):
    if head == "kalman":
        with pytest.raises(ForgetError):
            old_state(tmp_path / "s", head=head)
        return
    migrates(tmp_path / "s", *old_state(tmp_path / "s", head=head))


def test_an_old_state_is_read_without_being_changed(tmp_path):
    holds, data = old_state(tmp_path / "s", head="ncm")
    before = sorted(path.name for path in (tmp_path / "s").iterdir())
    with Learner.open(tmp_path / "s", read_only=True) as learner:
        assert learner.moments() == holds[0]
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == before
    assert (tmp_path / "s" / "snapshot.safetensors").read_bytes() == data


def test_a_damaged_old_state_is_refused_and_left_alone(tmp_path):
    _, data = old_state(tmp_path / "s", head="ncm")
    spoiled = bytes([*data[:-9], data[-9] ^ 1, *data[-8:]])
    (tmp_path / "s" / "snapshot.safetensors").write_bytes(spoiled)
    with pytest.raises(StateError):
        Learner.open(tmp_path / "s")
    assert (tmp_path / "s" / "snapshot.safetensors").read_bytes() == spoiled


class Migrating:
    def __call__(self, folder, say):
        Learner.open(Path(folder, "s"), durability=SMALL).close(save=False)


class Migrated:
    def __init__(self, holds, data):
        self._holds, self._data = holds, data

    def __call__(self, folder, marks):
        migrates(Path(folder, "s"), self._holds, self._data)


def cut_while_migrating(place):
    holds, data = old_state(place / "s", head="ncm")
    told = trace(Migrating(), place)
    assert not told.error, told.error
    return explore(told.log, Migrated(holds, data), seeds=3)


def test_a_migration_can_be_cut_off_at_any_step(tmp_path, figure):
    with workers(1) as pool:
        if reason := pool.submit(why_not).result():
            pytest.skip(reason)
        report = pool.submit(cut_while_migrating, tmp_path).result()
    figure(f"cut while an old state migrates: {report}")
    assert not report.failures, "\n".join(report.failures)
    assert report.distinct > 100
