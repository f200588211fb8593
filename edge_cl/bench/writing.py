"""How much a process gives to the disk, and what disk that is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["Account", "disk_of"]

_IO = Path("/proc/self/io")
BY_KERNEL = "the kernel (/proc/self/io)"
BY_SIZE = "the size of the files"


class Account:
    """Bytes that this process has given to the disk since the account was opened.

    Where the kernel keeps none, or counts nothing for this kind of file system, what the files
    below `folder` have grown by.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written, self._size = _write_bytes(), _size(folder)

    def closed(self) -> tuple[int, str]:
        """Return the bytes, and who counted them."""
        now = _write_bytes()
        if self._written is not None and now is not None and now > self._written:
            return now - self._written, BY_KERNEL
        return max(0, _size(self._folder) - self._size), BY_SIZE


def disk_of(folder: Path) -> str:
    """Return the kind of file system that a folder lies on; empty where it is not told."""
    device = os.stat(folder).st_dev  # noqa: PTH116
    name = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    for line in mounts.splitlines():
        fields, _, after = line.partition(" - ")
        if fields.split()[2] == name:
            return after.split()[0]
    return ""


def _write_bytes() -> int | None:
    try:
        text = _IO.read_text(encoding="ascii")
        return int(text.partition("\nwrite_bytes:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        return None


def _size(folder: Path) -> int:
    found = (path.lstat() for path in folder.rglob("*"))
    return sum(one.st_size for one in found if stat.S_ISREG(one.st_mode))
