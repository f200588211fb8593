"""A window over the newest samples, in blocks that leave it whole.

Of `blocks` blocks the newest is open. When it has seen b = ⌈samples / blocks⌉ arrivals and
another sample comes, a new one is opened; where that is one too many, the oldest leaves the
moments. After t arrivals the window holds the newest W, less those forgotten:

    W = t while t <= b · blocks;   then b (blocks - 1) < W <= b · blocks                (1)

The moments are, bit for bit, the sums of the samples in the window: a block is taken back as
exactly as it was added. Each block is held as what is smaller when it is full: its rows,
2 b d bytes, or its sums, 8 d² bytes and more. With eight bytes of digest a sample, which tell
whether a sample is in the window, and where.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl import arrays
from edge_cl.arrays import I16, I64
from edge_cl.errors import ForgetError, InputError, StateError
from edge_cl.moments import Moments

__all__ = ["Sliding", "digests", "stored_digests"]

Tensors = dict[str, NDArray[Any]]


class Sliding:
    """Moments of the samples in the window. See `edge_cl.forgetting.Memory`.

    Parameters
    ----------
    moments : over no samples; what comes in later has to come through here.
    samples : the most that the window holds, a multiple of `blocks`.
    blocks : >= 2.
    """

    def __init__(self, moments: Moments, *, samples: int, blocks: int) -> None:
        self.moments = moments
        self._most = blocks
        self._size = samples // blocks
        self._blocks = [self._block()]

    @property
    def nbytes(self) -> int:
        """Memory held besides the moments, in bytes."""
        return sum(block.nbytes for block in self._blocks)

    @property
    def recent(self) -> int:
        """See `Memory.recent`."""
        return self.moments.samples

    def add(self, q: I16, y: I64) -> bool:
        """See `Memory.add`."""
        q, y = self._checked(q, y)
        left = False
        while len(q):
            if self._blocks[-1].arrived == self._size:
                self._blocks.append(self._block())
            if len(self._blocks) > self._most:
                self._blocks.pop(0).leave(self.moments)
                left = True
            room = self._size - self._blocks[-1].arrived
            self.moments.add(q[:room], y[:room])
            self._blocks[-1].add(q[:room], y[:room])
            q, y = q[room:], y[room:]
        return left

    def subtraction(self, q: I16, y: I64) -> Callable[[], None]:
        """See `Memory.subtraction`. The newest of equal samples goes; its place stays taken."""
        q, y = self._checked(q, y)
        places: list[tuple[_Block, int, int]] = []
        taken: set[tuple[int, int]] = set()
        for i, digest in enumerate(digests(q, y)):
            for number in reversed(range(len(self._blocks))):
                block = self._blocks[number]
                found = [at for at in block.where(digest) if (number, at) not in taken]
                if found:
                    taken.add((number, found[-1]))
                    places.append((block, found[-1], i))
                    break
            else:
                raise ForgetError("the sample is not in the window: it left, or never came")
        subtract = self.moments.subtraction(q, y)

        def take_back() -> None:
            subtract()
            for block, at, i in sorted(places, key=lambda place: -place[1]):
                block.drop(at, q[i : i + 1], y[i : i + 1])

        return take_back

    def merge(self, other: Moments, classes: I64) -> None:
        """Refuse: sums have no place in the order of arrival, and could never leave."""
        raise InputError(
            "a learner with a window cannot take in what another has learned",
            hint="merge into one that keeps everything, or forgets by halves",
        )

    def tensors(self) -> Tensors:
        """See `Memory.tensors`."""
        return {
            f"{i}.{name}": a
            for i, block in enumerate(self._blocks)
            for name, a in block.tensors().items()
        }

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """See `Memory.restore`."""
        count = len({name.partition(".")[0] for name in tensors})
        if not 1 <= count <= self._most:
            raise StateError(f"expected 1..{self._most} blocks of the window, got {count}")
        blocks, total = [], Moments(self.moments.d, statistics=tuple(self.moments.statistics))
        for i in range(count):
            start = f"{i}."
            own = {name[len(start) :]: a for name, a in tensors.items() if name.startswith(start)}
            block = self._block()
            try:
                block.restore(own, self._size, last=i == count - 1)
                block.refuse_classes(self.moments.k)
                block.add_to(total)
            except (InputError, KeyError, TypeError) as error:
                raise StateError(f"block {i} of the window is not a block: {error}") from error
            blocks.append(block)
        total.grow(self.moments.k)
        if total != self.moments:
            raise StateError("the sums of the state are not those of its window")
        self._blocks = blocks

    def _block(self) -> _Block:
        d = self.moments.d
        rows = 2 * self._size * d <= 8 * d * d
        return _Rows(d) if rows else _Sums(d, tuple(self.moments.statistics))

    def _checked(self, q: I16, y: I64) -> tuple[I16, I64]:
        q = arrays.grid_features(q, self.moments.d)
        return q, arrays.class_indices(y, len(q))


class _Rows:
    """A block held as its rows."""

    def __init__(self, d: int) -> None:
        self.arrived = 0
        self._d = d
        self._rows: list[I16] = []
        self._labels: list[int] = []
        self._digests: list[int] = []

    @property
    def nbytes(self) -> int:
        return len(self._rows) * (2 * self._d + 16)

    def add(self, q: I16, y: I64) -> None:
        self._rows += list(q.copy())
        self._labels += y.tolist()
        self._digests += digests(q, y)
        self.arrived += len(q)

    def where(self, digest: int) -> list[int]:
        return [at for at, one in enumerate(self._digests) if one == digest]

    def drop(self, at: int, q: I16, y: I64) -> None:
        del self._rows[at], self._labels[at], self._digests[at]

    def add_to(self, moments: Moments) -> None:
        moments.add(*self._samples())

    def leave(self, moments: Moments) -> None:
        moments.subtract(*self._samples())

    def tensors(self) -> Tensors:
        q, y = self._samples()
        return {"arrived": np.array([self.arrived]), "q": q, "y": y}

    def restore(self, tensors: Tensors, size: int, *, last: bool) -> None:
        if set(tensors) != {"arrived", "q", "y"}:
            raise StateError(f"expected the rows of a block, got {sorted(tensors)}")
        q = arrays.grid_features(tensors["q"], self._d)
        self.add(q, arrays.class_indices(tensors["y"], len(q)))
        self.arrived = _stored_arrived(tensors["arrived"], len(q), size, last=last)

    def refuse_classes(self, k: int) -> None:
        if max(self._labels, default=-1) >= k:
            raise StateError(f"a block of the window has classes beyond the {k} there are")

    def _samples(self) -> tuple[I16, I64]:
        q = np.array(self._rows, np.int16).reshape(-1, self._d)
        return q, np.array(self._labels, np.int64)


class _Sums:
    """A block held as its sums."""

    def __init__(self, d: int, statistics: tuple[str, ...]) -> None:
        self.arrived = 0
        self._moments = Moments(d, statistics=statistics)
        self._digests: list[int] = []

    @property
    def nbytes(self) -> int:
        return self._moments.nbytes + 8 * len(self._digests)

    def add(self, q: I16, y: I64) -> None:
        self._moments.add(q, y)
        self._digests += digests(q, y)
        self.arrived += len(q)

    def where(self, digest: int) -> list[int]:
        return [at for at, one in enumerate(self._digests) if one == digest]

    def drop(self, at: int, q: I16, y: I64) -> None:
        self._moments.subtract(q, y)
        del self._digests[at]

    def add_to(self, moments: Moments) -> None:
        moments.merge(self._moments, np.arange(self._moments.k))

    def leave(self, moments: Moments) -> None:
        moments.unmerge(self._moments, np.arange(self._moments.k))

    def tensors(self) -> Tensors:
        return {
            "arrived": np.array([self.arrived]),
            "digests": np.array(self._digests, np.uint64),
            "saturated": np.array([self._moments.saturated]),
            **self._moments.tensors(),
        }

    def restore(self, tensors: Tensors, size: int, *, last: bool) -> None:
        sums = dict(tensors)
        arrived, own, saturated = (sums.pop(name) for name in ("arrived", "digests", "saturated"))
        self._moments = Moments.from_tensors(
            **sums, d=self._moments.d, saturated=_number(saturated)
        )
        self._digests = stored_digests(own)
        if len(self._digests) != self._moments.samples:
            raise StateError("a block of the window has another number of digests than samples")
        self.arrived = _stored_arrived(arrived, len(self._digests), size, last=last)

    def refuse_classes(self, k: int) -> None:
        if self._moments.k > k:
            raise StateError(f"a block of the window has classes beyond the {k} there are")


_Block = _Rows | _Sums


def digests(q: I16, y: I64) -> list[int]:
    """Return 64 bits a sample (q, y) that tell it from others."""
    labels = y.astype("<i8")
    return [
        int.from_bytes(
            hashlib.blake2b(row.tobytes() + c.tobytes(), digest_size=8).digest(), "little"
        )
        for row, c in zip(q.astype("<i2"), labels, strict=True)
    ]


def stored_digests(a: NDArray[Any]) -> list[int]:
    """Return digests as they were stored, or raise StateError."""
    if a.dtype != np.uint64 or a.ndim != 1:
        raise StateError("the digests of the state are not digests")
    found: list[int] = a.tolist()
    return found


def _stored_arrived(a: NDArray[Any], held: int, size: int, *, last: bool) -> int:
    arrived = _number(a)
    if not (held <= arrived <= size and (last or arrived == size)):
        raise StateError(f"a block of the window holds {held} of {arrived} samples, of {size}")
    return arrived


def _number(a: NDArray[Any]) -> int:
    if a.dtype != np.int64 or a.shape != (1,):
        raise StateError("expected a count in the state of the window")
    return int(a[0])
