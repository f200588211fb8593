"""Everything that may change what was learned; each change durable before it is visible.

The samples of a call get numbers, one after the other; so does every other change. A call that
was named by an event (`edge_cl.lessons`) is made once, however often it comes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from edge_cl.arrays import I16
from edge_cl.errors import ForgetError, StateError, StorageError
from edge_cl.heads import HeadOptions
from edge_cl.held import held_lesson, held_lessons, number_of
from edge_cl.journal import Journal
from edge_cl.knowledge import Knowledge
from edge_cl.labels import checked_label
from edge_cl.lessons import Answer, checked_event
from edge_cl.moments import Moments
from edge_cl.promotion import with_promotion
from edge_cl.results import LessonRecord, Version
from edge_cl.specs import described
from edge_cl.stopwatch import Stopwatch
from edge_cl.store import PRESENT, Promotion, Relabelling, Saved
from edge_cl.store.rows import Kind

__all__ = ["Ledger"]


class Ledger:
    """The changes that a journal takes."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def learn(
        self, q: I16, labels: Sequence[str], event: bytes | None, watch: Stopwatch
    ) -> tuple[Answer, HeadOptions | None, bool]:
        """Learn samples (n, d).

        Returns what was answered, the head that serves from now on if it is another, and
        whether the event was known, so that nothing was learned.
        """
        event = checked_event(event)
        with self.journal.changing():
            if old := self.journal.lessons.answered(event, "learned"):
                return old, None, True
            known = self.journal.knowledge
            with self.journal.lock:
                names = known.refuse(q, labels)
                total = known.moments.samples + len(q)
            new = names.names[len(known.labels) :]
            if not len(q):
                nothing = Answer(kind="learned", seq=self.journal.seq, samples=0, total=total)
                return nothing, None, False
            first, unseen, samples = self.journal.seq + 1, set(new), []
            for i, label in enumerate(labels):
                row = self.journal.row("learned", label, q[i], i, len(q), total, event=event)
                if label in unseen:
                    unseen.remove(label)
                    row = replace(row, new=True)
                samples.append((row, q[i]))
            served_before = known.options[0]
            if len(q) <= self.journal.most_rows or self.journal.store is None:
                served = self.journal.record(samples, lambda: known.learn(q, labels, first), watch)
            else:
                served = self.journal.replace(
                    lambda other: other.learn(q, labels, first), samples, new, watch=watch
                )
            if served:
                self.journal.promoted(served_before)
            watch.lap("learn")
            self.journal.snapshot_if_due()
            watch.lap("commit")
            answer = Answer(
                kind="learned",
                seq=self.journal.seq,
                samples=len(q),
                total=total,
                labels=tuple(labels),
                new_classes=new,
            )
            return answer, served, False

    def undo(self, count: int, event: bytes | None = None) -> Answer:
        """Take back the newest `count` samples, newest first.

        Raises
        ------
        ForgetError : there are not so many, or a head depends on the order of samples.
        """
        event = checked_event(event)
        with self.journal.changing():
            if old := self.journal.lessons.answered(event, "undone"):
                return old
            q, y, numbers = self.journal.knowledge.history.newest(count)
            labels = [self.journal.knowledge.labels[c] for c in y]
            return self._take_back("undone", q, labels, numbers, event)

    def forget(self, q: I16, label: str, event: bytes | None = None) -> Answer:
        """Take back one sample (1, d), whenever it was learned.

        Raises
        ------
        ForgetError : the sums show that it is not in, or a head depends on the order of samples.
        """
        event = checked_event(event)
        with self.journal.changing():
            if old := self.journal.lessons.answered(event, "forgotten"):
                return old
            number = number_of(self.journal, q[0], label)
            return self._take_back("forgotten", q, [label], [number], event)

    def forget_lesson(self, seq: int, event: bytes | None = None) -> Answer:
        """Take back the lesson of this number, as long as its features are held.

        Raises
        ------
        ForgetError : they are not, it is no lesson, or it was taken back.
        """
        event = checked_event(event)
        with self.journal.changing():
            if old := self.journal.lessons.answered(event, "forgotten"):
                return old
            row, q = held_lesson(self.journal, seq)
            label = self.journal.lessons.label_now(row)
            return self._take_back("forgotten", q[None], [label], [seq], event)

    def forget_class(self, label: str) -> int:
        """Take back all samples of a class, and its name; return how many.

        Raises
        ------
        ForgetError : not all of them are held.
        """
        with self.journal.changing():
            label = self._known(label)
            n = int(self.journal.knowledge.moments.n[self.journal.knowledge.labels.known(label)])
            samples = held_lessons(self.journal, label)
            if len(samples) != n:
                raise ForgetError(
                    f"{label!r} has {n} samples, of which {len(samples)} are held: the sums do not "
                    "say which products came from a class",
                    hint="with an archive, from the first lesson on, any class can be forgotten",
                )

            def forget(other: Knowledge) -> None:
                if n:
                    q = np.stack([q for _, q in samples])
                    other.taking_back(q, [label] * n, [row.seq for row, _ in samples])()
                other.drop_class(label)

            change = Relabelling(seq=self.journal.seq + 1, old=label, new="")
            self._relabel(forget, change, "forgot")
            if self.journal.ring:
                with contextlib.suppress(StorageError):  # forgotten they are; this frees room
                    self.journal.ring.drop_archived([(row.seq, row.seq) for row, _ in samples])
            return n

    def rename_class(self, old: str, new: str) -> None:
        """Give a class another name."""
        with self.journal.changing():
            old, new = self._known(old), checked_label(new)
            change = Relabelling(seq=self.journal.seq + 1, old=old, new=new)
            other = self.journal.knowledge.shared()
            self._relabel(lambda other: other.rename(old, new), change, "renamed", other)

    def merge_classes(self, source: str, into: str) -> None:
        """Let all samples of one class be of another."""
        with self.journal.changing():
            source, into = self._known(source), self._known(into)
            change = Relabelling(seq=self.journal.seq + 1, old=source, new=into)
            self._relabel(lambda other: other.merge_classes(source, into), change, "merged")

    def merge(self, moments: Moments, labels: Sequence[str]) -> None:
        """Add what another learner has learned; classes match by name."""
        with self.journal.changing():
            note = self.journal.note(f"merged {moments.samples} samples of another learner")
            self.journal.replace(lambda other: other.merge(moments, labels), [note])

    def replace_head(self, options: HeadOptions) -> None:
        """Let another head serve."""
        with self.journal.changing():
            note = self.journal.note(f"head {described(options)}")
            other = self.journal.knowledge.shared()
            self.journal.replace(lambda other: other.replace_head(options), [note], instead=other)

    def promote(self, found: Promotion, options: HeadOptions) -> Promotion:
        """Let a head serve that was found better; record that, or that it was not."""
        with self.journal.changing():
            found = msgspec.structs.replace(found, seq=self.journal.seq + 1)
            verb = "promoted" if found.promoted else "did not promote"
            note = self.journal.note(f"{verb} {found.after} over {found.before}")

            def serve(other: Knowledge) -> None:
                if found.promoted:
                    other.serve(options)

            records = with_promotion(self.journal.records, found)
            self.journal.replace(serve, [note], records=records)
            return found

    def save_version(self, name: str) -> None:
        """Keep everything as it is now under a name."""
        with self.journal.changing():
            store = self.journal.require_store()
            self.journal.save()
            store.save_version(name, self.journal.saved())

    def rollback(self, name: str, knowledge: Callable[[Saved], Knowledge]) -> Saved:
        """Let everything be as it was when a version was kept; what was is kept as another.

        `knowledge` gives what a snapshot holds. What was taught since is rolled back; events of
        it stay known, so that a retry does not teach it again.
        """
        with self.journal.changing():
            store = self.journal.require_store()
            saved = store.load_version(name)
            if saved.header.nonce != self.journal.nonce:
                raise StateError(f"version {name!r} is of another state")
            other, then = knowledge(saved), saved.header
            self.save_version(PRESENT)
            note = self.journal.note(f"rolled back to {name}, change {then.seq}")
            records = msgspec.structs.replace(
                then.records,
                gone=(*then.records.gone, (then.seq + 1, self.journal.seq)),
                promotions=self.journal.records.promotions,
                last_call=self.journal.records.last_call,
                lost=self.journal.records.lost,
            )
            self.journal.replace(lambda _: None, [note], records=records, instead=other)
            store.finish_rollback(self.journal.records.gone)
            return saved

    def drop_version(self, name: str) -> None:
        """Remove a version that was kept."""
        with self.journal.writing():
            self.journal.require_store().drop_version(name)

    def versions(self) -> tuple[Version, ...]:
        """Return what was kept under names, oldest first."""
        store = self.journal.require_store()
        return tuple(sorted(map(self._version, store.versions()), key=lambda version: version.seq))

    def _version(self, name: str) -> Version:
        try:
            saved = self.journal.require_store().load_version(name)
        except StateError as error:
            return Version(name=name, seq=0, samples=0, classes=0, head="", problem=str(error))
        header = saved.header
        return Version(
            name=name,
            seq=header.seq,
            samples=int(saved.tensors["n"].sum()),
            classes=len(header.labels),
            head=described(header.head),
        )

    @property
    def promotions(self) -> tuple[Promotion, ...]:
        """Which head came to serve in the place of which; newest last."""
        return self.journal.records.promotions

    def history(self, limit: int | None = None) -> tuple[LessonRecord, ...]:
        """Return the newest changes, newest first."""
        with self.journal.writing():
            return self.journal.lessons.newest(limit)

    def standing(self) -> set[int]:
        """Return the numbers of the lessons that are held and were not taken back."""
        with self.journal.writing():
            return {row.seq for row in self.journal.lessons.standing()}

    def _take_back(
        self, kind: Kind, q: I16, labels: Sequence[str], numbers: Sequence[int], event: bytes | None
    ) -> Answer:
        known = self.journal.knowledge
        with self.journal.lock:
            take_back = known.taking_back(q, labels, numbers)
            total = known.moments.samples - len(q)
        n, samples = len(q), []
        for i, (label, number) in enumerate(zip(labels, numbers, strict=True)):
            row = self.journal.row(kind, label, q[i], i, n, total, event=event, target=number)
            samples.append((row, q[i]))
        if len(q) <= self.journal.most_rows or self.journal.store is None:
            self.journal.record(samples, take_back)
        else:
            self.journal.replace(lambda other: other.taking_back(q, labels, numbers)(), samples)
        self.journal.snapshot_if_due()
        return Answer(kind=kind, seq=self.journal.seq, samples=n, total=total, labels=tuple(labels))

    def _relabel(
        self,
        apply: Callable[[Knowledge], None],
        change: Relabelling,
        verb: str,
        instead: Knowledge | None = None,
    ) -> None:
        became = f" to {change.new}" if change.new else ""
        note = self.journal.note(f"{verb} {change.old}{became}")
        records = msgspec.structs.replace(
            self.journal.records, relabelled=(*self.journal.records.relabelled, change)
        )
        self.journal.replace(apply, [note], records=records, instead=instead)

    def _known(self, label: str) -> str:
        return self.journal.knowledge.labels[self.journal.knowledge.labels.known(label)]
