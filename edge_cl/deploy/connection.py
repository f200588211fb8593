"""One connection to a board, by the user's own OpenSSH client.

It is opened once, as a master; what else is needed are sessions in it, through a socket in a folder
that only this user can enter. Nothing is ever asked: a password or an unknown host key is an error.

One session runs `on_board` and answers requests; each file is a session of its own. What a session
runs is one of a few fixed lines of shell, and what varies stands behind it as quoted arguments:
nothing that a user or a board says is ever read as shell.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from edge_cl.deploy import on_board
from edge_cl.deploy.address import Address
from edge_cl.deploy.ssh_refusals import refusal
from edge_cl.errors import BackendError, DeployError

__all__ = ["Called", "Connection"]

_PYTHON = 'exec "$1" -I -B -c "$2"'
_RECEIVE = 'umask 022 && cat > "$1" && sha256sum < "$1"'
_CONNECT_S = 15
_SETTINGS = (
    "BatchMode=yes",
    f"ConnectTimeout={_CONNECT_S}",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
)


@dataclass(frozen=True, slots=True)
class Called:
    """How a program on the board ended, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line of what it said, for an error."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1].strip()[:300] if lines else f"exit status {self.status}"


class Connection:
    """A connection that lasts as long as the block.

    Parameters
    ----------
    python : the Python of the board that the requests run in.

    Raises
    ------
    BackendError : OpenSSH is not installed.
    DeployError : the board cannot be reached, or lets nobody in.
    """

    def __init__(self, address: Address, python: str = "python3") -> None:
        self._address = address
        self._python = python
        self._answering: subprocess.Popen[bytes] | None = None
        self._ssh = shutil.which("ssh") or ""
        if not self._ssh:
            raise BackendError("ssh is not installed here", hint="apt install openssh-client")

    def __enter__(self) -> Connection:
        self._folder = Path(tempfile.mkdtemp(prefix="edge-cl-"))  # mode 700
        try:
            self._open()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_answering()
        self._master.terminate()
        self._master.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def shell(self, script: str, *arguments: str, data: Path | None = None) -> Called:
        """Run a fixed line of shell on the board; the file `data` is its stdin."""
        with (data or Path(os.devnull)).open("rb") as stdin:
            child = self._session(script, *arguments, stdin=stdin)
            try:
                out, told = child.communicate()
            except BaseException:
                child.kill()
                child.communicate()
                raise
        self._refuse_lost(child.returncode)
        return Called(child.returncode, _text(out), _text(told))

    def ask(self, verb: str, **request: Any) -> Any:
        """Put one request to `on_board`, and return its answer."""
        if self._answering is None:
            source = inspect.getsource(on_board)
            self._answering = self._session(_PYTHON, self._python, source, stdin=subprocess.PIPE)
        message = json.dumps({"verb": verb, **request}).encode() + b"\n"
        try:
            answer = self._exchange(self._answering, message)
        except BaseException:  # a Ctrl-C too: the next request must not get this one's answer
            self._end_answering()
            raise
        if answer is None:
            status, told = self._end_answering()
            self._refuse_lost(status)
            raise DeployError(f"{self._address.name} did not answer {verb!r}: {told}")
        if "error" in answer:
            raise DeployError(f"{self._address.name} could not {verb}: {answer['error']}")
        return answer["answer"]

    def call(self, *argv: str, environment: dict[str, str] | None = None) -> Called:
        """Run a program on the board."""
        return Called(**self.ask("call", argv=list(argv), environment=environment or {}))

    def send(self, file: Path, path: str) -> None:
        """Copy a file to the board; the digest of what arrived is compared."""
        done = self.shell(_RECEIVE, path, data=file)
        if done.status:
            raise DeployError(f"{self._address.name} could not take {file.name}: {done.last}")
        if on_board.digest([str(file)])[str(file)] not in done.out.split():
            raise DeployError(f"{file.name} did not arrive on {self._address.name} as it is here")

    @staticmethod
    def _exchange(child: subprocess.Popen[bytes], message: bytes) -> dict[str, Any] | None:
        """Return the answer to a request; None where the session has ended."""
        if child.stdin is None or child.stdout is None:
            return None
        try:
            child.stdin.write(message)
            child.stdin.flush()
        except BrokenPipeError:
            return None
        mark = on_board.MARK.encode()
        for line in child.stdout:
            if line.startswith(mark):
                answer: dict[str, Any] = json.loads(line[len(mark) :])
                return answer
        return None

    def _end_answering(self) -> tuple[int, str]:
        """End the session that answers; return its exit status, and the last it said."""
        child, self._answering = self._answering, None
        if child is None:
            return 0, ""
        if child.stdin is not None:
            with contextlib.suppress(OSError):
                child.stdin.close()
                child.stdin = None
        try:
            _, told = child.communicate(timeout=2)
        except subprocess.TimeoutExpired:  # it is at work: on the board that ends, too
            child.kill()
            _, told = child.communicate()
        return child.returncode, Called(child.returncode, "", _text(told)).last

    def _refuse_lost(self, status: int) -> None:
        if status == 255 and self._master.poll() is not None:
            raise DeployError(f"the connection to {self._address.name} was lost")

    def _session(self, script: str, *arguments: str, stdin: Any) -> subprocess.Popen[bytes]:
        words = ["sh", "-c", script, "edge-cl", *arguments]
        return subprocess.Popen(
            [
                *self._command("-S", str(self._socket), "-o", "ControlMaster=no"),
                "--",
                self._address.name,
                " ".join(shlex.quote(word) for word in words),
            ],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for us: what was begun must be undone
        )

    def _command(self, *arguments: str) -> list[str]:
        settings = [part for setting in _SETTINGS for part in ("-o", setting)]
        # ssh takes the first value that it is told: the user's own come before ours
        return [self._ssh, "-T", *arguments, *self._address.arguments, *settings]

    def _open(self) -> None:
        self._socket = self._folder / "s"
        told = self._folder / "told"
        with told.open("wb") as stderr:
            self._master = subprocess.Popen(
                [
                    *self._command("-M", "-N", "-S", str(self._socket), "-o", "ControlPersist=no"),
                    "--",
                    self._address.name,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=os.environ | {"LC_ALL": "C"},
                start_new_session=True,
            )
        try:
            self._wait_for(told)
        except BaseException:
            self._master.kill()
            self._master.wait()
            raise

    def _wait_for(self, told: Path) -> None:
        until = time.monotonic() + 4 * _CONNECT_S  # by way of a proxy it may take longer
        while not self._socket.exists():
            if self._master.poll() is not None:
                raise refusal(self._address, told.read_text(encoding="utf-8", errors="replace"))
            if time.monotonic() > until:
                raise DeployError(f"{self._address.name} does not answer")
            time.sleep(0.02)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
