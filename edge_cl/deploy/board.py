"""What a board says of itself, and whether it can be deployed to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from edge_cl.deploy.connection import Connection
from edge_cl.errors import DeployError

__all__ = ["Board", "look", "refuse_unfit"]

# Two lines, for a Python too old to run anything else. A login may print things before them.
_FIRST = (
    'uname -sm; command -v "$1" >/dev/null 2>&1 || { echo edge-cl-python none; exit 0; }; '
    '"$1" -c \'import sys; print("edge-cl-python %d.%d.%d" % tuple(sys.version_info[:3]))\''
)
_OLDEST = (3, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A board, and what of edge-cl is on it.

    board : what its firmware calls it; empty where it does not tell.
    folder : absolute, where everything lies.
    venvs : names of those that are whole.
    releases : name -> venv, of those that are whole; `left_over` paths of what is not.
    current : the release that the link leads to.
    unit : the text of the service's unit; empty where there is none.
    taught : whether there is a state.
    """

    machine: str
    python: str
    bits: int
    libc: str
    libc_version: str
    board: str
    venv: bool
    home: str
    folder: str
    free_bytes: int
    writable: bool
    venvs: tuple[str, ...]
    releases: dict[str, str]
    left_over: tuple[str, ...]
    current: str
    systemd: bool
    unit: str
    taught: bool
    user: str
    uid: int

    @property
    def version(self) -> tuple[int, int]:
        """Of its Python: (3, 11)."""
        major, minor, *_ = self.python.split(".")
        return int(major), int(minor)

    @property
    def glibc(self) -> tuple[int, int]:
        """Of its C library: (2, 36)."""
        major, minor, *_ = (*self.libc_version.split("."), "0")
        return int(major), int(minor)

    def __str__(self) -> str:
        named = f"{self.board}, " if self.board else ""
        return (
            f"{named}{self.machine}, Python {self.python}, {self.libc} {self.libc_version}, "
            f"{self.free_bytes / 1e9:.1f} GB free"
        )


def look(connection: Connection, python: str, *, folder: str, unit: str, state: str) -> Board:
    """Ask a board what it is, and what is there.

    Raises
    ------
    DeployError : it has no Python that edge-cl runs on.
    """
    first = connection.shell(_FIRST, python)
    lines = [line.split() for line in first.out.splitlines()]
    versions = [line[1] for line in lines if line[:1] == ["edge-cl-python"] and len(line) == 2]
    if not versions:
        raise DeployError(f"the board does not answer as a Unix system does: {first.last}")
    system = next((line for line in lines if len(line) == 2 and line[0] == "Linux"), None)
    if system is None:
        raise DeployError("expected a board that runs Linux", hint="others were never tried")
    refuse_machine(system[1], 64)
    refuse_python(versions[-1], python)
    answer: dict[str, Any] = connection.ask("look", folder=folder, unit=unit, state=state)
    return msgspec.convert(answer, Board)


def refuse_unfit(board: Board, needed_bytes: int) -> None:
    """Raise DeployError where a board cannot run edge-cl, or has no room for it."""
    refuse_machine(board.machine, board.bits)
    if board.libc != "glibc":
        raise DeployError(
            f"expected a system with glibc, got {board.libc or 'another C library'}",
            hint="there are no wheels of ONNX Runtime for musl (Alpine): take Debian or Ubuntu",
        )
    if not board.venv:
        raise DeployError(
            "the board's Python cannot make a virtual environment",
            hint="on the board: sudo apt install python3-venv",
        )
    if not board.writable:
        raise DeployError(
            f"{board.folder} cannot be written by this user", hint="take another --folder"
        )
    if board.free_bytes < needed_bytes:
        raise DeployError(
            f"expected {needed_bytes / 1e6:.0f} MB free on the board, "
            f"got {board.free_bytes / 1e6:.0f} MB"
        )


def refuse_machine(machine: str, bits: int) -> None:
    """Raise DeployError unless a machine is one there are wheels for."""
    if machine not in ("aarch64", "x86_64") or bits != 64:
        what = f"{machine} with a {bits}-bit system" if bits != 64 else machine
        raise DeployError(
            f"expected a 64-bit board (aarch64 or x86_64), got {what}",
            hint="there are no wheels of ONNX Runtime for 32 bits: install a 64-bit system",
        )


def refuse_python(version: str, command: str) -> None:
    """Raise DeployError unless a Python is new enough."""
    hint = "install one, or name it: --python /usr/local/bin/python3.11"
    if version == "none":
        raise DeployError(f"there is no {command} on the board", hint=hint)
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        raise DeployError(
            f"expected Python {_OLDEST[0]}.{_OLDEST[1]} or newer on the board, got {version}",
            hint=hint,
        )
