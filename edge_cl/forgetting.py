"""What a learner remembers of a stream that drifts: everything, by halves, or a window.

    everything                 no sample leaves by itself
    halve:PERIOD               after every PERIOD arrivals, all sums are halved
                               (`edge_cl.halving`): a sample weighs 2^-a after a halvings
    window:SAMPLES[:BLOCKS]    the newest SAMPLES arrivals, leaving by blocks, 8 unless told
                               (`edge_cl.window`)

All three keep integers, so the sums do not depend on how a stream was cut into calls, and
nothing drifts: a recursion that multiplies by 0.99 in float64 loses positive definiteness
after some thousand samples without excitation, these never do. How badly conditioned what
heads solve can become is known before any data: with the most that the sums can count,

    N⁺ = SAMPLES of a window,   2 PERIOD + k of halves,   2³¹ of everything             (1)
    cond(G + λI) <= 1 + tr(G) / λ <= 1 + N⁺ d g / λ                                     (2)

where g bounds the square that one sample adds to a feature: 2047², or 2048² + d + 2 of halved
sums; λ in squared grid steps. For halves, n_c -> ⌈n_c / 2⌉ gives N -> at most (N + k) / 2;
what remains is never more than PERIOD + k, and PERIOD more come before the next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_cl import arrays
from edge_cl.arrays import I16, I64
from edge_cl.errors import ForgetError, InputError, StateError
from edge_cl.moments import GRID_MAX, MAX_SAMPLES, Moments
from edge_cl.plausible import largest_square
from edge_cl.window import Sliding, Tensors, digests, stored_digests

__all__ = [
    "Everything",
    "Forgetting",
    "Halving",
    "Memory",
    "Window",
    "condition_bound",
    "forgetting_named",
    "memory",
    "most_samples",
]

_LONGEST = 1 << 28  # periods and windows


class Everything(msgspec.Struct, frozen=True, tag="everything"):
    """No sample leaves by itself."""


class Halving(msgspec.Struct, frozen=True, kw_only=True, tag="halve"):
    """All sums are halved after every `period` arrivals, 1 .. 2²⁸."""

    period: int

    def __post_init__(self) -> None:
        if not 1 <= self.period <= _LONGEST:
            raise InputError(f"expected a period in 1..{_LONGEST}, got {self.period}")


class Window(msgspec.Struct, frozen=True, kw_only=True, tag="window"):
    """The newest `samples` arrivals, a multiple of `blocks`, which are 2 or more."""

    samples: int
    blocks: int = 8

    def __post_init__(self) -> None:
        if not (2 <= self.blocks <= self.samples <= _LONGEST and self.samples % self.blocks == 0):
            raise InputError(
                f"expected a window of 2 or more blocks and a multiple of samples, got "
                f"{self.samples} samples in {self.blocks} blocks"
            )


Forgetting = Everything | Halving | Window


class Memory(Protocol):
    """Moments, and when samples leave them."""

    moments: Moments

    @property
    def nbytes(self) -> int:
        """Memory held besides the moments, in bytes."""

    @property
    def recent(self) -> int:
        """How many of the newest samples, forgotten ones apart, can still be taken back."""

    def add(self, q: I16, y: I64) -> bool:
        """Add samples, see `Moments.add`; say whether others left: then heads must `refresh`."""

    def subtraction(self, q: I16, y: I64) -> Callable[[], None]:
        """Return what takes back samples that were added; it must be the next change.

        Raises
        ------
        ForgetError : one has left, was halved, or never came.
        """

    def merge(self, other: Moments, classes: I64) -> None:
        """Add the sums of another learner, see `Moments.merge`; heads must `refresh`.

        Raises
        ------
        InputError : they do not fit, or have no place here. Nothing has changed.
        """

    def tensors(self) -> Tensors:
        """Return what must be stored besides the moments, to go on bit for bit."""

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `tensors` returned; the moments are in place.

        Raises
        ------
        StateError : it is not the state of this kind of memory over these moments.
        """


def forgetting_named(text: str) -> Forgetting:
    """Parse what people type: see the hint of its error."""
    if text == "everything":
        return Everything()
    if found := re.fullmatch(r"halve:([0-9]{1,9})", text):
        return Halving(period=int(found[1]))
    if found := re.fullmatch(r"window:([0-9]{1,9})(?::([0-9]{1,9}))?", text):
        return Window(samples=int(found[1]), blocks=int(found[2] or 8))
    raise InputError(
        f"unknown kind of forgetting {text!r}",
        hint="one of: everything, halve:PERIOD, window:SAMPLES, window:SAMPLES:BLOCKS",
    )


def memory(spec: Forgetting, moments: Moments) -> Memory:
    """Return the memory of that kind around `moments`, which are of no samples yet."""
    if isinstance(spec, Halving):
        return _Halved(moments, spec.period)
    if isinstance(spec, Window):
        return Sliding(moments, samples=spec.samples, blocks=spec.blocks)
    return _Kept(moments)


def most_samples(spec: Forgetting, k: int) -> int:
    """Return N⁺ of (1), for k classes."""
    if isinstance(spec, Halving):
        return 2 * spec.period + k
    return spec.samples if isinstance(spec, Window) else MAX_SAMPLES


def condition_bound(spec: Forgetting, *, d: int, k: int, ridge: float) -> float:
    """Return the bound (2) on the condition number of G + λI, λ = `ridge` > 0 in grid steps²."""
    square = largest_square(d) if isinstance(spec, Halving) else GRID_MAX**2
    return 1.0 + most_samples(spec, k) * d * square / ridge  # (2)


class _Kept:
    """Everything stays."""

    nbytes = 0

    def __init__(self, moments: Moments) -> None:
        self.moments = moments

    @property
    def recent(self) -> int:
        return self.moments.samples

    def add(self, q: I16, y: I64) -> bool:
        self.moments.add(q, y)
        return False

    def subtraction(self, q: I16, y: I64) -> Callable[[], None]:
        return self.moments.subtraction(q, y)

    def merge(self, other: Moments, classes: I64) -> None:
        self.moments.merge(other, classes)

    def tensors(self) -> Tensors:
        return {}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        if tensors:
            raise StateError(f"expected nothing but moments, got {sorted(tensors)}")


class _Halved:
    """Halved after every `period` arrivals. What came since can be taken back, by its digest."""

    def __init__(self, moments: Moments, period: int) -> None:
        self.moments = moments
        self._period = period
        self._since = 0
        self._digests: list[int] = []

    @property
    def nbytes(self) -> int:
        return 8 * len(self._digests)

    @property
    def recent(self) -> int:
        return len(self._digests)

    def add(self, q: I16, y: I64) -> bool:
        q, y = self._checked(q, y)
        halved = False
        while len(q):
            room = self._period - self._since
            self.moments.add(q[:room], y[:room])
            self._digests += digests(q[:room], y[:room])
            self._since += len(q[:room])
            q, y = q[room:], y[room:]
            if self._since == self._period:
                self._halve()
                halved = True
        return halved

    def subtraction(self, q: I16, y: I64) -> Callable[[], None]:
        q, y = self._checked(q, y)
        left = list(self._digests)
        for digest in digests(q, y):
            if digest not in left:
                raise ForgetError("the sample was halved since it was learned, or never was")
            left.remove(digest)
        subtract = self.moments.subtraction(q, y)

        def take_back() -> None:
            subtract()
            self._digests = left

        return take_back

    def merge(self, other: Moments, classes: I64) -> None:
        """See `Memory.merge`. The other's samples count as arrivals, a period at most."""
        if other.samples > self._period:
            raise InputError(
                f"expected at most a period of {self._period} samples to merge, got {other.samples}"
            )
        trial = Moments(self.moments.d, statistics=tuple(self.moments.statistics))
        trial.merge(other, classes)  # raises what there is to raise
        if self._since + other.samples > self._period:
            self._halve()
        self.moments.merge(other, classes)
        self._since += other.samples
        if self._since == self._period:
            self._halve()

    def tensors(self) -> Tensors:
        return {
            "since": np.array([self._since]),
            "digests": np.array(self._digests, np.uint64),
        }

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        if set(tensors) != {"since", "digests"}:
            raise StateError(f"expected the state of halving, got {sorted(tensors)}")
        since, found = tensors["since"], stored_digests(tensors["digests"])
        if since.dtype != np.int64 or since.shape != (1,):
            raise StateError("expected a count of the samples since the sums were halved")
        if not len(found) <= int(since[0]) < self._period:
            raise StateError(f"the state has {since[0]} samples since a halving, {len(found)} told")
        self._since, self._digests = int(since[0]), found

    def _halve(self) -> None:
        self.moments.halve()
        self._since, self._digests = 0, []

    def _checked(self, q: I16, y: I64) -> tuple[I16, I64]:
        q = arrays.grid_features(q, self.moments.d)
        return q, arrays.class_indices(y, len(q))
