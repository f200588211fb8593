"""The files and programs through which a system tells of itself.

Everything that is read of a board goes through one `System`, so that a recorded tree can stand in
for a board that is not here: `System(root)` reads below `root`, and asks no program that the
record has no answer of (`root/programs/NAME ARGUMENTS`). Nothing here raises: what cannot be read
is not known.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HERE", "System"]

_SECONDS = 2.0  # that a program may take to answer
_NO_COUNT = 1 << 64  # nothing is counted so far
_MOST_CHARACTERS = 1 << 20  # of a file; cpuinfo of 256 cores is half of it


@dataclass(frozen=True, slots=True)
class System:
    """A system that is here, or a record of one below `root`."""

    root: Path = Path("/")

    @property
    def here(self) -> bool:
        """Whether it is this machine, and not a record."""
        return self.root == Path("/")

    def path(self, name: str) -> Path:
        """Return where the file `name`, an absolute path of the system, lies."""
        return self.root / name.lstrip("/")

    def text(self, name: str) -> str:
        """Return what a file says, stripped; empty where it cannot be read."""
        try:
            with self.path(name).open(encoding="utf-8", errors="replace") as stream:
                data = stream.read(_MOST_CHARACTERS)
        except (OSError, ValueError):
            return ""
        return data.strip().strip("\0")

    def number(self, name: str) -> int | None:
        """Return the integer that a file holds; None where it holds none."""
        try:
            value = int(self.text(name), 0)
        except ValueError:
            return None
        return value if abs(value) < _NO_COUNT else None

    def glob(self, pattern: str) -> list[str]:
        """Return the absolute paths of the system that fit `pattern`, sorted."""
        try:
            found = list(self.root.glob(pattern.lstrip("/")))
        except (OSError, ValueError):
            return []
        return sorted("/" + str(path.relative_to(self.root)) for path in found)

    def run(self, *command: str) -> str | None:
        """Return what a program prints, stripped; None where it is not there, or fails."""
        if not self.here:
            try:
                record = self.root / "programs" / " ".join(command)
                return record.read_text(encoding="utf-8", errors="replace").strip()
            except (OSError, ValueError):
                return None
        program = shutil.which(command[0])
        if program is None:
            return None
        try:
            done = subprocess.run(
                [program, *command[1:]],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
                env=os.environ | {"LC_ALL": "C"},
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None


HERE = System()
