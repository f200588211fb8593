"""What has been learned: labels, moments, the newest samples, and the heads over them.

Everything here works on grid features and changes as one: moments, labels and history, then
the heads follow. Not thread-safe; the learner's lock makes it so.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl.arrays import F64, I16, I64
from edge_cl.contest import BLOCK, Contest
from edge_cl.device import refuse_oversized
from edge_cl.errors import EdgeCLError, ForgetError, InputError, StateError
from edge_cl.forgetting import Everything, Forgetting, memory
from edge_cl.heads import Head, HeadOptions, build_head
from edge_cl.history import History
from edge_cl.interrupts import interrupts_wait
from edge_cl.labels import Labels, checked_label
from edge_cl.moments import Moments
from edge_cl.specs import described

Tensors = dict[str, NDArray[Any]]


class Knowledge:
    """One set of moments under one or more heads.

    Parameters
    ----------
    d, scale, mean_square_norm : of the features; see `edge_cl.features.FeatureMap`.
    heads : the options of the heads; the first one serves, the others are compared with it.
    forgetting : when samples leave by themselves.
    auto : whether the head that proves best comes to serve.
    """

    def __init__(
        self,
        heads: Sequence[HeadOptions],
        *,
        d: int,
        scale: float,
        mean_square_norm: float,
        forgetting: Forgetting,
        auto: bool = False,
    ) -> None:
        self.labels = Labels()
        self.scale, self.mean_square_norm = scale, mean_square_norm
        self.options = tuple(heads)
        self.auto = auto
        self.changes = 0  # how often anything here has changed; tells what is unsaved
        needed = {name for options in heads for name in options.promise.statistics}
        self.forgetting = forgetting
        self._memory = memory(forgetting, Moments(d, statistics=sorted(needed)))
        self.history = History(d)
        self._build()

    def _build(self) -> None:
        self._heads = [self._built(options) for options in self.options]
        self.contest = Contest(len(self._heads)) if len(self._heads) > 1 else None

    @property
    def moments(self) -> Moments:
        """The sums of what is remembered."""
        return self._memory.moments

    @property
    def head(self) -> Head:
        """The head that serves."""
        return self._heads[0]

    @property
    def order_free(self) -> bool:
        """Whether samples of several calls may be learned as if of one."""
        return self.contest is None and all(o.promise.from_moments for o in self.options)

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        heads = sum(head.nbytes for head in self._heads)
        return self.moments.nbytes + self._memory.nbytes + self.history.nbytes + heads

    # -- changing ---------------------------------------------------------------------------

    def refuse(self, q: I16, labels: Sequence[str]) -> Labels:
        """Raise InputError where `learn` would; return all labels there would be."""
        names = self.labels
        if not all(label in names for label in labels):
            names = names.copy()
            for label in labels:
                names.index(label)
        self._refuse_oversized(names)
        if isinstance(self.forgetting, Everything):
            self.moments.refuse_beyond(len(q))
        return names

    def learn(self, q: I16, labels: Sequence[str], first: int = 0) -> HeadOptions | None:
        """Learn samples (n, d); return the head that serves from now on, if it is another.

        They are numbered from `first` on; 0: not at all.
        """
        if not len(q):
            return None
        names = self.refuse(q, labels)  # before the first of several parts
        y = np.array([names.index(label) for label in labels], np.int64)
        with self._changing():
            for i, rows in enumerate(self._blocks(len(q))):
                if self.contest:
                    self.contest.test(self._heads, q[rows], y[rows], self.moments.samples)
                for options, head in zip(self.options, self._heads, strict=True):
                    if not options.promise.from_moments:
                        head.scores(q[:0])  # what it starts from must not hold these yet
                left = self._memory.add(q[rows], y[rows])
                if not i:
                    self.changes += 1
                    self.labels = names
                    self.moments.grow(len(names))
                    self.history.extend(q, y, first)
                for options, head in zip(self.options, self._heads, strict=True):
                    if left and options.promise.from_moments:
                        head.refresh()
                    else:
                        head.update(q[rows], y[rows], +1)
            self.history.keep(self._memory.recent)
        return self._promoted()

    def taking_back(
        self, q: I16, labels: Sequence[str], numbers: Sequence[int]
    ) -> Callable[[], None]:
        """Return what takes back samples (n, d); it must be the next change.

        Samples without a number (0) are known by what they are.

        Raises
        ------
        ForgetError : the sums show that they are not in, or a head depends on the order.
        """
        self._require_moments("forget")
        y = np.array([self.labels.known(label) for label in labels], np.int64)
        for c in y:
            if not self.moments.n[c]:
                raise ForgetError(f"no sample of {self.labels[c]!r} is in")
        subtract = self._memory.subtraction(q, y)

        def take_back() -> None:
            with self._changing():
                subtract()
                self.changes += 1
                for row, c, number in zip(q, y.tolist(), numbers, strict=True):
                    self.history.discard(row, c, number)
                for head in self._heads:
                    head.update(q, y, -1)
                self.begin_block()

        return take_back

    def rename(self, old: str, new: str) -> None:
        """Give a class another name."""
        names = list(self.labels.names)
        names[self.labels.known(old)] = new = checked_label(new)
        if new in self.labels:
            raise InputError(
                f"there is a class {new!r} already", hint="two classes can be merged into one"
            )
        self.labels = Labels(names)
        self.changes += 1

    def merge_classes(self, source: str, into: str) -> None:
        """Let all samples of one class be of another; bit-equal to having learned them so.

        Raises
        ------
        ForgetError : samples are forgotten by what they are (`forgetting`), their class
            included, or a head depends on their order.
        """
        a, b = self.labels.known(source), self.labels.known(into)
        if a == b:
            raise InputError(f"expected two classes to merge, got {source!r} twice")
        classes = np.arange(len(self.labels)) - (np.arange(len(self.labels)) > a)
        classes[a] = classes[b]
        self._relabel(classes, without=a, verb="merge classes")

    def drop_class(self, label: str) -> None:
        """Remove the name of a class that has no sample left."""
        a = self.labels.known(label)
        if self.moments.n[a]:
            raise ForgetError(f"{label!r} still has {self.moments.n[a]} samples")
        classes = np.arange(len(self.labels)) - (np.arange(len(self.labels)) > a)
        classes[a] = 0  # it adds nothing
        self._relabel(classes, without=a, verb="forget a class")

    def _relabel(self, classes: I64, *, without: int, verb: str) -> None:
        self._require_moments(verb)
        if not isinstance(self.forgetting, Everything):
            raise ForgetError(
                f"with the forgetting {described(self.forgetting)} it cannot {verb}: what may "
                "leave is known by its class",
                hint="samples leave by themselves here",
            )
        names = [name for i, name in enumerate(self.labels.names) if i != without]
        with self._changing():
            moments = self.moments.relabelled(classes, len(names))
            self._memory = memory(self.forgetting, moments)
            self.labels = Labels(names)
            self.changes += 1
            self.history.relabel(classes)
            self._heads = [self._built(options) for options in self.options]
            self.begin_block()

    def merge(self, moments: Moments, labels: Sequence[str]) -> None:
        """Add what another learner has learned; classes match by name."""
        self._require_moments("merge")
        names = self.labels.copy()
        y = np.array([names.index(label) for label in labels], np.int64)
        self._refuse_oversized(names)
        with self._changing():
            self._memory.merge(moments, y)
            self.changes += 1
            self.labels = names
            self.history.keep(self._memory.recent)
            for head in self._heads:
                head.refresh()
            self.begin_block()

    def replace_head(self, options: HeadOptions) -> None:
        """Let a head with other options serve in the place of the one that does.

        Those that are compared go on as they are; the tally begins anew.
        """
        kept = [
            (other, head)
            for other, head in zip(self.options[1:], self._heads[1:], strict=True)
            if other != options
        ]
        self.options = (options, *(other for other, _ in kept))
        self._heads = [self._built(options), *(head for _, head in kept)]
        self.contest = Contest(len(self._heads)) if kept else None
        self.changes += 1

    def serve(self, options: HeadOptions) -> None:
        """Let a head serve; where it is compared already, the one that did is compared on."""
        if options not in self.options:
            self.replace_head(options)
        elif i := self.options.index(options):
            self._swap(i)
            self.changes += 1

    def under(self, options: HeadOptions) -> Head:
        """Return a head over what was learned: one that is here, or another one.

        Raises
        ------
        InputError : it needs sums that are not kept, or depends on the order of samples.
        """
        if options in self.options:
            return self._heads[self.options.index(options)]
        promise = options.promise
        missing = set(promise.statistics) - self.moments.statistics.keys()
        if missing or not promise.from_moments:
            why = f"the sums {sorted(missing)}" if missing else "every sample, in order"
            raise InputError(f"{described(options)} cannot be tried: it needs {why}")
        return self._built(options)

    def shared(self) -> Knowledge:
        """Return another one over the same sums and heads, for `rename` and `replace_head`.

        These change what it has, not what both share.
        """
        return copy.copy(self)

    def with_heads(self, heads: Sequence[HeadOptions], *, auto: bool) -> Knowledge:
        """Return one of the same samples under `heads`; one that is here goes on.

        Raises
        ------
        InputError : a head needs sums that this one does not have.
        """
        other = Knowledge(
            heads,
            d=self.moments.d,
            scale=self.scale,
            mean_square_norm=self.mean_square_norm,
            forgetting=self.forgetting,
            auto=auto,
        )
        other.restore(self.moments.copy(), self.labels.copy(), self.tensors(), self.options)
        other.changes = self.changes
        return other

    def copy(self) -> Knowledge:
        """Return an independent one that goes on in the same way."""
        return self.with_heads(self.options, auto=self.auto)

    # -- answering --------------------------------------------------------------------------

    def scores(self, q: I16) -> F64:
        """Return the scores (n, k) of the head that serves."""
        if not self.moments.samples:
            raise StateError("nothing has been learned yet", hint="learn something first")
        return self.head.scores(q)

    def answer(
        self, q: I16, *, among: Sequence[str] | None = None, top: int | None = None
    ) -> dict[str, float]:
        """Return label -> probability for one sample (1, d), the likeliest first.

        Parameters
        ----------
        among : the classes that can be meant here; None: all.
        top : how many to return; None: all that have samples.
        """
        scores = self.scores(q)
        if among is not None:
            scores = np.where(self._mask(among), scores, -np.inf)
        p = self.head.probabilities(scores, q)[0]
        names = self.labels
        return {names[c]: float(p[c]) for c in _largest(scores[0], top)}

    # -- keeping ----------------------------------------------------------------------------

    def tensors(self) -> Tensors:
        """Return what has to be stored; names of parts have a dot."""
        found: Tensors = {**self.moments.tensors(), **self.history.tensors()}
        found |= {f"memory.{name}": a for name, a in self._memory.tensors().items()}
        for prefix, head in zip(_prefixes(len(self._heads)), self._heads, strict=True):
            found |= {f"{prefix}.{name}": a for name, a in head.tensors().items()}
        if self.contest:
            found |= {f"contest.{name}": a for name, a in self.contest.tensors().items()}
        return found

    def restore(
        self, moments: Moments, labels: Labels, tensors: Tensors, heads: Sequence[HeadOptions]
    ) -> None:
        """Take back what was stored, of a learner with `heads`.

        A head among them continues where it was. Another one is solved from the moments.

        Raises
        ------
        StateError : the tensors do not fit.
        InputError : a head needs sums that this state does not have.
        """
        parts = {*_prefixes(len(heads)), "contest", "memory"}
        foreign = [name for name in tensors if "." in name and name.partition(".")[0] not in parts]
        if foreign:
            raise StateError(f"the state holds {foreign[0]}, which is no part of it")
        missing = [
            options
            for options in self.options
            if not set(options.promise.statistics) <= moments.statistics.keys()
        ]
        if missing:
            needed = ", ".join(missing[0].promise.statistics)
            raise InputError(
                f"{described(missing[0])} needs sums that this state was not told to keep "
                f"({needed})",
                hint="begin a new state with this head",
            )
        self._memory, self.labels = memory(self.forgetting, moments), labels
        self._memory.restore(_part(tensors, "memory"))
        undo_q, undo_y, undo_seq = (tensors[f"undo_{part}"] for part in ("q", "y", "seq"))
        self.history.restore(undo_q, undo_y, undo_seq, len(labels))
        self._build()
        kept = dict(zip(heads, _prefixes(len(heads)), strict=True))
        for options, head in zip(self.options, self._heads, strict=True):
            if options in kept:
                head.restore(_part(tensors, kept[options]))
        if self.contest and self.options == tuple(heads):
            self.contest.restore(_part(tensors, "contest"))

    # -- private ----------------------------------------------------------------------------

    def _blocks(self, n: int) -> list[I64]:
        """Return the rows of a call in the parts that are tested and learned together.

        One part, unless heads are compared. Samples of one call have no order among them, and
        often come class by class, so that none would be a test of anything: they are mixed,
        where the heads and what is remembered are indifferent to order.
        """
        rows = np.arange(n)
        if self.contest is None or n <= BLOCK:
            return [rows]
        in_any_order = all(options.promise.from_moments for options in self.options)
        if in_any_order and isinstance(self.forgetting, Everything):
            rows = np.random.Generator(np.random.Philox(n)).permutation(rows)
        return [rows[start : start + BLOCK] for start in range(0, n, BLOCK)]

    def _promoted(self) -> HeadOptions | None:
        if not (self.auto and self.contest):
            return None
        best = self.contest.best()
        if not best:
            return None
        self._swap(best)
        return self.options[0]

    def _swap(self, i: int) -> None:
        if self.contest:
            self.contest.swap(i)
        options, heads = list(self.options), self._heads
        options[0], options[i] = options[i], options[0]
        heads[0], heads[i] = heads[i], heads[0]
        self.options = tuple(options)

    def begin_block(self) -> None:
        """Let the next test of compared heads see them as they are then."""
        if self.contest:
            self.contest.begin_block()

    def _require_moments(self, verb: str) -> None:
        for options in self.options:
            if not options.promise.from_moments:
                raise ForgetError(
                    f"{described(options)} depends on the order of samples: it cannot {verb}",
                    hint="another head alone can, from the same state: edge-cl use ridge --alone",
                )

    def _refuse_oversized(self, names: Labels) -> None:
        """Refuse new classes where each has matrices and these would not fit."""
        new = len(names) - len(self.labels)
        if new and "scatter" in self.moments.statistics:
            refuse_oversized(self.moments.d, matrices=2 * new)  # its sum, and an inverse

    def _mask(self, among: Sequence[str]) -> NDArray[np.bool_]:
        if isinstance(among, str):
            raise InputError("expected a sequence of labels, got one string")
        mask = np.zeros(len(self.labels), np.bool_)
        mask[[self.labels.known(label) for label in among]] = True
        if not (self.moments.n[mask] > 0).any():
            raise InputError(f"none of the classes {list(among)} has samples")
        return mask

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Change everything as one; the heads follow, or are solved again."""
        with interrupts_wait():
            try:
                yield
            except EdgeCLError:  # refused before anything was changed
                raise
            except BaseException:
                for head in self._heads:
                    head.refresh()
                raise

    def _built(self, options: HeadOptions) -> Head:
        return build_head(
            options, self.moments, scale=self.scale, mean_square_norm=self.mean_square_norm
        )


def _prefixes(count: int) -> list[str]:
    return ["head", *(f"compared{i}" for i in range(1, count))]


def _part(tensors: Tensors, prefix: str) -> Tensors:
    return {n.partition(".")[2]: a for n, a in tensors.items() if n.startswith(f"{prefix}.")}


def _largest(scores: F64, top: int | None) -> list[int]:
    """Return the indices of the finite scores, largest first, at most `top`; ties by index."""
    found = np.flatnonzero(scores > -np.inf)
    if top is not None and top < len(found):  # 10,000 classes are not sorted for three
        least = np.partition(scores[found], -top)[-top]
        found = found[scores[found] >= least]
    order = found[np.argsort(-scores[found], kind="stable")]
    return [int(c) for c in order[:top]]
