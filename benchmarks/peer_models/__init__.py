"""Classifiers on ready-made features, from several libraries, behind one face."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np

from edge_cl.arrays import F32, I64


class PeerModel(Protocol):
    """What the comparison needs of a classifier. Work may be put off until it is asked."""

    def learn(self, x: F32, y: I64) -> None:
        """Learn samples (n, d) with classes (n,), in order."""

    def end_group(self) -> None:
        """Hear that a group of classes is over: some published methods solve here."""

    def predict(self, x: F32) -> I64:
        """Return the class of each row of (n, d)."""

    def held_bytes(self) -> int:
        """Memory of what was learned, and of what is needed to go on learning."""


def array_bytes(*held: object) -> int:
    """Return the bytes of all arrays in `held`: in attributes, mappings, lists; each once."""
    seen: dict[int, int] = {}
    waiting = list(held)
    visited: set[int] = set()
    while waiting:
        thing = waiting.pop()
        if id(thing) in visited:
            continue
        visited.add(id(thing))
        if isinstance(thing, np.ndarray):
            owner = thing.base if isinstance(thing.base, np.ndarray) else thing
            seen[id(owner)] = owner.nbytes
        elif isinstance(thing, Mapping):
            waiting.extend(thing.values())
        elif isinstance(thing, Iterable) and not isinstance(thing, str | bytes):
            waiting.extend(thing)
        elif hasattr(thing, "__dict__"):
            waiting.extend(vars(thing).values())
    return sum(seen.values())
