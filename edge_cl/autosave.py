"""Making durable what waits while a learner works, so that a crash costs seconds and not hours."""

from __future__ import annotations

import threading
from types import TracebackType

from edge_cl.errors import EdgeCLError
from edge_cl.learner import Learner


class Autosave:
    """Makes durable what waits every `every_s` seconds, from a thread of its own; never where None.

    saves : how often there was something.
    error : what the disk said; `stop` is set then, and nothing more is tried.
    """

    def __init__(self, learner: Learner, every_s: float | None, stop: threading.Event) -> None:
        self.saves = 0
        self.error: EdgeCLError | None = None
        self._learner = learner
        self._every_s = every_s
        self._stop = stop
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="autosave", daemon=True)

    def __enter__(self) -> None:
        if self._every_s is not None:
            self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while not self._over.wait(self._every_s):
            if not self._learner.status.unsaved:
                continue
            try:
                self._learner.flush()
                self.saves += 1
            except EdgeCLError as error:
                self.error = error
                self._stop.set()
                return
