"""What a state lives in: its folder, its disk, who is writing, and SQLite."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from edge_cl.doctor.finding import Finding, note, ok, problem, refusal
from edge_cl.store import Saved

__all__ = ["access", "lock_holder", "locked", "space", "sqlite_version"]

_LOG_BYTES = 5 << 20  # what the ring's log takes before it is moved into the file


def access(folder: Path) -> list[Finding]:
    """Look at who may read and write."""
    try:
        found = folder.stat()
    except OSError as error:
        return [refusal("folder", error)]
    findings: list[Finding] = []
    if found.st_mode & 0o077:
        says = f"others may look into it (mode {found.st_mode & 0o777:03o}): sums are personal data"
        findings.append(note("folder", says, f"chmod 700 {folder}"))
    if not os.access(folder, os.R_OK | os.X_OK):
        return [*findings, problem("folder", "you may not read it", "become its owner")]
    unreadable = [path.name for path in _files(folder) if not os.access(path, os.R_OK)]
    if unreadable:
        findings.append(problem("folder", f"you may not read {', '.join(sorted(unreadable))}"))
    if not os.access(folder, os.W_OK):
        says = "it cannot be written here: it answers, and learns nothing"
        findings.append(note("folder", says, "if that is not meant: mount, owner, mode"))
    elif found.st_uid != os.geteuid():
        findings.append(note("folder", f"it belongs to user {found.st_uid}, not to you"))
    return findings or [ok("folder", "private, and can be written")]


def lock_holder(folder: Path) -> tuple[bool, int | None]:
    """Return whether a process has the state open for writing, and which one where it is known.

    The lock is asked for, shared and for an instant: nothing else tells on every system.
    """
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False, None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True, _pid_of_lock(os.fstat(descriptor).st_ino)
    except OSError:
        return False, None
    finally:
        os.close(descriptor)
    return False, None


def locked(folder: Path, *, held: bool, pid: int | None) -> Finding:
    """Say who is writing."""
    path = folder / "lock"
    if os.path.lexists(path) and not path.is_file():
        return problem("lock", "it is not a file", "put it out of the way")
    if not held:
        return ok("lock", "free")
    who = f"process {pid}" if pid else "another process"
    return ok("lock", f"held: {who} has the state open for writing")


def space(folder: Path, whole: Iterable[Saved]) -> list[Finding]:
    """Compare what is free with what the next snapshot takes: it is written beside the old one."""
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        return [refusal("disk", error)]
    free = disk.f_bavail * disk.f_frsize
    sizes = [sum(a.nbytes for a in saved.tensors.values()) for saved in whole]
    needed = max(sizes, default=0) + (1 << 16)
    told = f"{free / 1e6:.0f} MB free, the next snapshot takes {needed / 1e6:.1f} MB"
    do = "make room: without snapshots, learning ends when the ring is full"
    if free < needed:
        return [problem("disk", told, do)]
    if free < needed + _LOG_BYTES:
        return [note("disk", told, do)]
    if disk.f_files and disk.f_favail == 0:
        return [problem("disk", "no file can be made: the disk has no inode left", do)]
    return [ok("disk", told)]


def sqlite_version() -> Finding:
    """Say which SQLite this is."""
    return ok("SQLite", f"{sqlite3.sqlite_version}, by one connection that locks the file")


def _pid_of_lock(inode: int) -> int | None:
    """Return who holds a lock on a file, as Linux tells."""
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        parts = line.split()
        if len(parts) > 5 and parts[1] == "FLOCK" and parts[5].rpartition(":")[2] == str(inode):
            return int(parts[4]) if int(parts[4]) > 0 else None
    return None


def _files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except OSError:
        return []
