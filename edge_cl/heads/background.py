"""A solution computed anew in a thread, beside the weights that serve meanwhile.

The thread works on copies. Rows learned while it solves are noted, and brought into the new
solution by it as well, block after block, until a few are left for the caller's thread: what
holds that up is the copy and the swap, not the solution.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from edge_cl.arrays import F64, I16, I64
from edge_cl.heads.ridge_solution import FEW, Problem, Rows, Solution, count

_ROUNDS = 8  # of catching up, before the caller takes what is left


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """What a solution in the background took, and what it was good for.

    pause_s : seconds for which the caller's thread was held, copy and swap together.
    solve_s : seconds in the background.
    residual : ‖(G + λI) W - Q‖ / ‖Q‖ of the weights that served until then.
    """

    pause_s: float
    solve_s: float
    residual: float


class BackgroundSolve:
    """Solve `problem` in a thread; `W` (d, k) are the weights that serve, copied here."""

    def __init__(self, problem: Problem, W: F64) -> None:
        self._rows: list[Rows] = []
        self._taken = 0
        self._nbytes = 2 * problem.G.nbytes + problem.Q.nbytes + 2 * W.nbytes
        self._solution: Solution | None = None
        self._error: Exception | None = None
        self._residual = self._seconds = 0.0
        self._thread = threading.Thread(
            target=self._run, args=(problem, W.copy()), name="edge-cl solve", daemon=True
        )
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the thread is still at work."""
        return self._thread.is_alive()

    @property
    def nbytes(self) -> int:
        """Memory held at most, in bytes: G, and the inverse in the making."""
        return self._nbytes + sum(q.nbytes + y.nbytes for q, y, _ in self._rows)

    @property
    def noted(self) -> int:
        """Rows noted so far."""
        return count(self._rows)

    def note(self, q: I16, y: I64, sign: int) -> None:
        """Remember rows that the moments have gained (+1) or lost (-1) since the copy."""
        self._rows.append((q.copy(), y.copy(), sign))

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    @property
    def error(self) -> Exception | None:
        """What ended the thread before it was done."""
        return self._error

    def result(self) -> Solution | None:
        """Return the solution with all rows noted in it; None where digits would be lost."""
        if self._solution is not None and not self._solution.take(self._rows[self._taken :]):
            return None
        return self._solution

    def renewal(self, pause_s: float) -> Renewal:
        """Return what it took, once it has ended."""
        return Renewal(pause_s=pause_s, solve_s=self._seconds, residual=self._residual)

    def _run(self, problem: Problem, W: F64) -> None:
        start = time.perf_counter()
        try:
            self._residual = problem.residual(W)
            solution: Solution | None = problem.solve()
            for _ in range(_ROUNDS):
                rows = self._rows[self._taken :]  # the caller only appends
                if solution is None or count(rows) <= FEW:
                    break
                solution = solution if solution.take(rows) else None
                self._taken += len(rows)
            self._solution = solution
        except Exception as error:  # noqa: BLE001  # it is for the caller's thread to tell
            self._error = error
        self._seconds = time.perf_counter() - start
