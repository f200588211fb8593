"""Letting Ctrl-C wait until a change is whole.

A KeyboardInterrupt can come between any two steps of Python. Between the sums and the head
it would leave a learner that is neither the old nor the new one, and closing would save it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Hold SIGINT, SIGTERM and SIGHUP back while the block runs; then let them happen.

    Python runs signal handlers in the main thread only; in others there is nothing to hold.
    Handlers that were not installed from Python are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    handlers = {s: h for s in _SIGNALS if callable(h := signal.getsignal(s))}
    try:
        for number in handlers:
            signal.signal(number, lambda number, frame: came.append((number, frame)))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for first, frame in came[:1]:
            handlers[signal.Signals(first)](first, frame)
