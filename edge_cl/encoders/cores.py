"""Keeping a network's threads on some cores.

A thread begins on the cores of the thread that makes it. ONNX Runtime and XNNPACK make theirs
while a network is loaded, and the thread that asks for a run works along with them; so the
calling thread is put on the cores while it loads and while it runs, and is put back each time.
That is three calls of the system for each run, some microseconds; nothing else is touched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from edge_cl.device.processors import core_clusters
from edge_cl.errors import InputError
from edge_cl.placement import core_ranges

__all__ = ["checked_cores", "cores_named", "kept_on"]

_WAYS = "big, all, or numbers as in 0,2-3"


def cores_named(text: str) -> tuple[int, ...]:
    """Return the cores that are meant by "big", "all" or numbers as in "0,2-3".

    "big" is the fastest kind of which this process may use any, "all" are all that it may use.

    Raises
    ------
    InputError : it is none of these, or names a core that this process may not use.
    """
    allowed = _allowed()
    if text == "all":
        return tuple(sorted(allowed))
    if text == "big":
        kinds = [allowed & set(cluster.cores) for cluster in core_clusters()]
        return tuple(sorted(next((kind for kind in kinds if kind), allowed)))
    numbers: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part.strip())
        begin, end = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if begin > end:
            raise InputError(f"expected cores as {_WAYS}, got {text!r}")
        numbers |= set(range(begin, end + 1))
    return checked_cores(numbers)


def checked_cores(cores: Iterable[int]) -> tuple[int, ...]:
    """Return cores sorted, each once.

    Raises
    ------
    InputError : there is none, or one that this process may not use.
    """
    wanted, allowed = tuple(sorted(set(cores))), _allowed()
    if not wanted:
        raise InputError(f"expected one core or more, as {_WAYS}, got none")
    beyond = [core for core in wanted if core not in allowed]
    if beyond:
        raise InputError(
            f"expected cores of {core_ranges(allowed)}, which this process may use, "
            f"got {core_ranges(wanted)}"
        )
    return wanted


@contextmanager
def kept_on(cores: tuple[int, ...] | None) -> Iterator[None]:
    """Let the calling thread, and threads that it makes, run on these cores only; None: on any."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _allowed() -> set[int]:
    if not hasattr(os, "sched_getaffinity"):
        raise InputError("this system cannot keep threads on cores", hint="leave cores out")
    return os.sched_getaffinity(0)
