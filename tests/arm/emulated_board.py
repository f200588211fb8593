"""A Raspberry Pi 4 and a Pi 5 that exist only in software: aarch64 Python under QEMU.

    python tests/arm/emulated_board.py cortex-a72 -c 'import platform; print(platform.machine())'

Everything comes from packages, into one folder (`EDGE_CL_ARM_CACHE`, by default
`~/.cache/edge-cl-arm`) and nowhere else (`board_parts`). It takes half a minute and 700 MB the
first time, and nothing after.

Only the CPU's instructions are emulated; system calls are the host's. So an illegal instruction
is found, and a wrong sum; a millisecond means nothing, and the weaker memory order of ARM does
not show. A limit on memory (RLIMIT_AS) is accepted by QEMU and has no effect.

`sys.executable` of a guest is a script that starts the emulator, so that children run there too.
`edge_cl` is the checkout's, as it would be installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where it is run as a program

from arm import board_parts
from arm.board_parts import CPUS, PACKAGES, UnavailableError, set_up, unsuitable

__all__ = ["CHECKOUT", "CPUS", "PACKAGES", "Board", "UnavailableError", "board"]

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Board:
    """An emulated board: its CPU's name, and the folder that holds all of them."""

    cpu: str
    folder: Path

    @property
    def home(self) -> Path:
        """The folder of its own."""
        return self.folder / self.cpu

    @property
    def python(self) -> Path:
        """A program that runs Python there."""
        return self.home / "python"

    def run(
        self,
        *arguments: str | Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        timeout: float = 600.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run Python with `arguments` there, in `cwd`; `edge_cl` is that of this checkout."""
        return subprocess.run(
            [self.python, *arguments],
            cwd=cwd,
            env={**self.environment(), **(env or {})},
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )

    def emulator_version(self) -> str:
        """Return the version of QEMU."""
        qemu = self.folder / "qemu/usr"
        library = {"LD_LIBRARY_PATH": str(qemu / "lib/x86_64-linux-gnu")}
        command = [qemu / "bin/qemu-aarch64", "--version"]
        told = subprocess.run(command, env=library, capture_output=True, text=True, check=True)
        return told.stdout.splitlines()[0]

    def environment(self) -> dict[str, str]:
        """Return what a guest's environment is to be."""
        ours = ("PYTHON", "NUMBA_", "EDGE_CL_", "PYTEST_", "COV_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return kept | {
            "PYTHONPATH": str(_installed_checkout(self.folder)),
            "NUMBA_CACHE_DIR": str(self.home / "numba"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "OPENBLAS_NUM_THREADS": "1",  # else a waiting thread spins, at the emulator's speed
            "OMP_NUM_THREADS": "1",
        }


def board(cpu: str, progress: Callable[[str], None] = lambda text: None) -> Board:
    """Return the board of a CPU; set up when it is first asked for.

    Raises
    ------
    UnavailableError : this is no Debian on x86-64, or packages cannot be had.
    """
    if cpu not in CPUS:
        raise ValueError(f"expected one of {', '.join(CPUS)}, got {cpu!r}")
    if reason := unsuitable():
        raise UnavailableError(reason)
    recipe = Path(board_parts.__file__).read_bytes() + PACKAGES.read_bytes()
    folder = _cache() / hashlib.sha256(recipe).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if not (folder / "ready").exists():
            progress(f"setting emulated boards up in {folder}")
            set_up(folder)
            (folder / "ready").touch()
    return Board(cpu, folder)


def seconds_of_children() -> float:
    """Return the CPU time, user and system, of the processes waited for so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cache() -> Path:
    chosen = os.environ.get("EDGE_CL_ARM_CACHE")
    return Path(chosen).resolve() if chosen else Path.home() / ".cache" / "edge-cl-arm"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time set up."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _installed_checkout(folder: Path) -> Path:
    """Return a folder in which `edge_cl` is as it would be installed from this checkout."""
    home = folder / f"checkout-{hashlib.sha256(bytes(CHECKOUT)).hexdigest()[:12]}"
    package = home / "edge_cl"
    package.mkdir(parents=True, exist_ok=True)
    wanted = {path.name: path for path in (CHECKOUT / "edge_cl").iterdir()}
    wanted["device_profiles"] = CHECKOUT / "device_profiles"
    for old in package.iterdir():
        if old.name not in wanted:
            old.unlink(missing_ok=True)
    for name, path in wanted.items():
        with contextlib.suppress(FileExistsError):
            (package / name).symlink_to(path)
    return home


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> int:
    """Run Python on one of the boards, with the arguments after its CPU's name."""
    if len(sys.argv) < 2 or sys.argv[1] not in CPUS:
        _say(f"usage: {sys.argv[0]} {{{','.join(CPUS)}}} [arguments of Python]")
        return 2
    try:
        there = board(sys.argv[1], _say)
    except UnavailableError as error:
        _say(str(error))
        return 1
    command = [str(there.python), *sys.argv[2:]]
    return subprocess.run(command, env=there.environment(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
