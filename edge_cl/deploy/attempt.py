"""Changing a board so that a failure leaves it as it was.

Every change is noted together with what takes it back, before it is made. On any error, a Ctrl-C
included, what was noted is taken back, the newest change first. Where the connection is gone,
nothing can be: what is unfinished then bears no mark that it is whole, is used by nothing, and is
removed by the next deployment.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

from edge_cl.deploy.connection import Called, Connection
from edge_cl.errors import DeployError, EdgeCLError

__all__ = ["Attempt"]


class Attempt:
    """Changes that are kept where `keep` was called before the block ends.

    lost : what could not be taken back, one line each.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.lost: list[str] = []
        self._undo = ExitStack()

    def __enter__(self) -> Attempt:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._undo.close()
        if isinstance(error, EdgeCLError) and self.lost:
            error.hint = "; ".join(filter(None, (error.hint, *self.lost)))

    def keep(self) -> None:
        """Take nothing back: everything is done, and right."""
        self._undo.pop_all()

    def undo(self, what: str, action: Callable[[], object]) -> None:
        """Note how a change is taken back."""

        def take_back() -> None:
            try:
                action()
            except DeployError as error:
                self.lost.append(f"{what} was not taken back: {error}")

        self._undo.callback(take_back)

    def make(self, *folders: str) -> None:
        """Make folders that are missing."""
        made = self.connection.ask("make", folders=list(folders))
        self.undo("a new folder", lambda: self.connection.ask("unmake", folders=made))

    def own(self, path: str) -> None:
        """Note that all of `path` is this attempt's."""
        self.undo(path, lambda: self.connection.ask("remove", paths=[path]))

    def link(self, path: str, to: str) -> None:
        """Let a link lead somewhere else."""
        before = self.connection.ask("link", path=path, to=to)
        self.undo(path, lambda: self.connection.ask("link", path=path, to=before))

    def write(self, path: str, text: str, *, before: str) -> None:
        """Write a file that said `before`; empty: it was not there."""
        ask = self.connection.ask
        if before:
            self.undo(path, lambda: ask("write", path=path, content=before))
        else:
            self.own(path)
        ask("write", path=path, content=text)

    def run(self, what: str, *argv: str, environment: dict[str, str] | None = None) -> Called:
        """Run a program that must succeed."""
        done = self.connection.call(*argv, environment=environment)
        if done.status:
            raise DeployError(f"{what} failed on the board: {done.last}")
        return done
