"""A call that names its event counts once, however often it comes, whatever happens in between.

Clients send calls with events, get no answer, send them again; the power fails (a copy of the
folder as it is, opened again) and samples are taught without events in between.
"""

import shutil
import struct

import pytest
from durable_machine import BUNDLE, EVERY, LABELS, NAMES, RING, Changing, Q, X
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from edge_cl import Durability, Learner, features_bundle
from edge_cl.errors import ForgetError, InputError

SMALL = Durability(ring=RING, snapshot_every=EVERY)
CLIENTS = st.integers(0, 3)


def event_of(client, counter):
    return struct.pack(">QQ", client + 1, counter)


class Clients(Changing):
    """Besides all calls without events: calls with, and calls that come again."""

    @initialize()
    def begin(self):
        self.sent = []  # (event, kind, arguments), in order
        self.counter = [0] * 4

    def event(self, client, step=1):
        self.counter[client] += step
        return event_of(client, self.counter[client])

    @rule(client=CLIENTS, labels=LABELS, step=st.sampled_from([1, 1, 5]))
    def taught_by_a_client(self, client, labels, step):
        self._teach(client, labels, step)

    @rule(client=CLIENTS, n=st.sampled_from([EVERY + 1, RING + 2]))
    def taught_much_by_a_client(self, client, n):
        self._teach(client, ["ab"[i % 2] for i in range(n)], 1)

    def _teach(self, client, labels, step):
        event, rows = self.event(client, step), self.rows(len(labels))
        self.sent.append((event, "learned", (rows, labels)))
        lesson = self.learner.learn_many(X[rows], labels, event=event)
        self.model.learn(rows, labels, event)
        assert not lesson.duplicate
        assert self.answer(lesson) == self.model.calls[event].answer
        self.done()

    @precondition(lambda self: self.model.own)
    @rule(client=CLIENTS, data=st.data())
    def undone_by_a_client(self, client, data):
        count = data.draw(st.integers(1, min(12, len(self.model.own))))
        event = self.event(client)
        self.sent.append((event, "undone", (count,)))
        labels = self.learner.undo(count, event=event)
        assert labels == self.model.take_back("undone", self.model.newest(count), event)
        self.done()

    @precondition(lambda self: self.model.own)
    @rule(client=CLIENTS, data=st.data(), by_number=st.booleans())
    def forgotten_by_a_client(self, client, data, by_number):
        seq = data.draw(st.sampled_from(sorted(self.model.own)))
        row, label = self.model.own[seq]
        event = self.event(client)
        if not by_number:
            self.sent.append((event, "forgotten", (seq, row, label)))
            self.learner.forget(X[row], label, event=event)
        elif self.model.held(seq):
            self.sent.append((event, "forgotten", (seq, None, label)))
            assert self.learner.forget_lesson(seq, event=event) == label
        else:
            self.refuse(ForgetError, self.learner.forget_lesson, seq, event=event)
            return
        self.model.take_back("forgotten", [seq], event)
        self.done()

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def again(self, data):
        """A call that was sent before, the newest ones most often."""
        back = data.draw(st.one_of(st.integers(1, 3), st.integers(1, len(self.sent))))
        event, kind, arguments = self.sent[-min(back, len(self.sent))]
        known = self.model.known(event, kind)
        if known == "new":  # a crash has taken it, where that was allowed
            self._the_first_time(event, kind, arguments)
        elif known == "stale":  # the crash took it, and a later one of this client was repeated
            self.refuse(InputError, self._call, event, kind, arguments)
        else:
            self._duplicate(known, event, kind, arguments)

    def _duplicate(self, call, event, kind, arguments):
        try:
            answer = self._call(event, kind, arguments)
        except InputError:  # so long ago that the answer is not kept, or may not be whole
            assert call.first <= self.model.seq - RING + 1
            assert call.last < self.model.seq, "the newest call of all"
        else:
            if kind == "learned":
                assert answer.duplicate
                assert self.answer(answer) == call.answer
            elif kind == "undone":
                assert answer in (call.answer, ()), answer
                assert answer or call.first <= self.model.seq - RING
        self.compare()

    def _the_first_time(self, event, kind, arguments):
        if kind == "learned":
            lesson = self._call(event, kind, arguments)
            self.model.learn(*arguments, event)
            assert not lesson.duplicate
        elif kind == "undone":
            if arguments[0] > len(self.model.own):
                self.refuse(ForgetError, self._call, event, kind, arguments)
                return
            labels = self._call(event, kind, arguments)
            assert labels == self.model.take_back("undone", self.model.newest(*arguments), event)
        else:
            seq, row, label = arguments
            if seq not in self.model.own or self.model.own[seq][1] != label:
                return
            if row is not None and self.model.own[seq][0] != row:
                return
            if row is None and not self.model.held(seq):
                self.refuse(ForgetError, self._call, event, kind, arguments)
                return
            self._call(event, kind, arguments)
            self.model.take_back("forgotten", [seq], event)
        self.done()

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def as_another_kind(self, data):
        event, kind, _ = data.draw(st.sampled_from(self.sent))
        if self.model.known(event, kind) == "new":
            return
        other = "undone" if kind == "learned" else "learned"
        arguments = (1,) if other == "undone" else ([0], ["a"])
        self.refuse(InputError, self._call, event, other, arguments)

    @rule(client=CLIENTS, label=NAMES)
    def a_counter_that_does_not_rise(self, client, label):
        mark = self.model.marks.get(event_of(client, 0)[:8], -1)
        event = event_of(client, max(0, mark - 1))
        if mark > 0 and event not in self.model.calls:
            self.refuse(InputError, self._call, event, "learned", ([0], [label]))

    def _call(self, event, kind, arguments):
        if kind == "learned":
            rows, labels = arguments
            return self.learner.learn_many(X[rows], labels, event=event)
        if kind == "undone":
            return self.learner.undo(*arguments, event=event)
        seq, row, label = arguments
        if row is None:
            return self.learner.forget_lesson(seq, event=event)
        return self.learner.forget(X[row], label, event=event)

    @staticmethod
    def answer(lesson):
        return lesson.samples, lesson.total, lesson.new_classes, lesson.seq


class Grouped(Clients):
    each = 3


class OnRequest(Clients):
    each = 0


@pytest.mark.parametrize("machine", [Clients, Grouped, OnRequest], ids=lambda m: m.__name__)
def test_every_call_counts_once(machine):
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=50))


# -- by hand -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event", [b"", bytes(16), bytes(15), bytes(17), "0" * 16, 7, bytearray(range(16))]
)
def test_what_is_no_event_is_refused_and_changes_nothing(tmp_path, event):
    with Learner.open(tmp_path / "s", bundle=features_bundle(X), head="ncm") as learner:
        learner.learn(X[0], "a")
        before = learner.moments()
        for call in (
            lambda: learner.learn(X[1], "b", event=event),
            lambda: learner.undo(1, event=event),
            lambda: learner.forget(X[0], "a", event=event),
            lambda: learner.forget_lesson(1, event=event),
        ):
            with pytest.raises(InputError, match="16 bytes"):
                call()
        assert learner.moments() == before


def test_a_refused_call_does_not_use_its_event_up(tmp_path):
    with Learner.open(tmp_path / "s", bundle=features_bundle(X), head="ncm") as learner:
        event = event_of(0, 1)
        with pytest.raises(InputError):
            learner.learn(X[0], "", event=event)
        with pytest.raises(ForgetError):
            learner.undo(1, event=event)
        assert not learner.learn(X[0], "a", event=event).duplicate
        assert learner.learn(X[0], "a", event=event).duplicate
        assert learner.status.samples == 1
        assert Q.shape[1] == learner.status.d


def larger_than_the_ring(place):
    """Teach a call of more samples than the ring holds; send it again, now and after a crash."""
    call = {"xs": X[: RING + 9], "labels": ["a", "b", "c"] * 13, "event": event_of(3, 1)}
    options = {"bundle": BUNDLE, "head": "ncm", "durability": SMALL}
    with Learner.open(place / "0", **options) as learner:
        first = learner.learn_many(**call)
        assert not first.duplicate
        shutil.copytree(place / "0", place / "1")
    for turn in "0011":
        with Learner.open(place / turn, **options) as learner:
            again = learner.learn_many(**call)
            assert again.duplicate
            assert Clients.answer(again) == Clients.answer(first)
            assert learner.status.samples == RING + 9


def test_a_call_larger_than_the_ring_counts_once(tmp_path):
    larger_than_the_ring(tmp_path)


def test_many_clients_are_remembered_for_ever(tmp_path):
    """Marks outlive the ring, and a folder that is opened again."""
    with Learner.open(tmp_path / "s", bundle=features_bundle(X), head="ncm") as learner:
        for client in range(300):
            learner.learn_many(X[:20], ["a"] * 20, event=event_of(client, 5))
    with Learner.open(tmp_path / "s") as learner:
        for client in range(300):
            for counter in (5, 4):
                try:
                    assert learner.learn(X[0], "a", event=event_of(client, counter)).duplicate
                except InputError:
                    continue
        assert learner.status.samples == 6000
        assert learner.learn(X[0], "a", event=event_of(7, 6)).samples == 1
