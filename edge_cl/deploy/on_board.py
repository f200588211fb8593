"""What runs on the board while it is deployed to: this file's text goes there over ssh.

It needs a Python and its standard library, nothing of edge-cl. It gets requests on stdin, one JSON
object a line, and answers each with one on stdout; what a login prints besides is passed over by
whoever reads it. It ends with the connection.

    look    what is there
    make    folders, those that are missing
    link    a symbolic link, switched in one step
    write   a small text file, whole or not at all
    read    a small text file
    digest  SHA-256 of files
    remove  files and folders
    unmake  folders that are empty
    call    a program; ended when nobody listens any more
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

MARK = "edge-cl-answer:"
COMPLETE = "complete"  # is written last: what lacks it is left over from an attempt


def look(folder: str, unit: str, state: str) -> dict[str, Any]:
    """Return what decides how a deployment goes on. Only reads."""
    root = absolute(folder)
    current = root / "current"
    libc, version = platform.libc_ver()
    return {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "bits": 64 if sys.maxsize > 2**32 else 32,
        "libc": libc,
        "libc_version": version,
        "board": text("/proc/device-tree/model").strip("\0\n "),
        "venv": find_spec("venv") is not None and find_spec("ensurepip") is not None,
        "home": str(Path.home()),
        "folder": str(root),
        "free_bytes": shutil.disk_usage(existing(root)).free,
        "writable": os.access(existing(root), os.W_OK),
        "venvs": whole(root / "venvs"),
        "releases": {name: venv_of(root, name) for name in whole(root / "releases")},
        "left_over": left_over(root),
        "current": current.readlink().name if current.is_symlink() else "",
        "systemd": shutil.which("systemctl") is not None,
        "unit": text(str(absolute(unit))) if unit else "",
        "taught": any_in(absolute(state) if state else root / "state"),
        "user": os.environ.get("USER") or os.environ.get("LOGNAME") or "",
        "uid": os.getuid(),
    }


def make(folders: list[str]) -> list[str]:
    """Make folders and those above them; return which were not there, the outermost first."""
    made = []
    for name in folders:
        folder = Path(name)
        missing = [p for p in (folder, *folder.parents) if not p.exists()]
        for path in reversed(missing):
            path.mkdir(mode=0o755)
            made.append(str(path))
    return made


def unmake(folders: list[str]) -> None:
    """Remove those folders that are empty, the last one first."""
    for name in reversed(folders):
        with contextlib.suppress(OSError):
            Path(name).rmdir()


def link(path: str, to: str) -> str:
    """Let the link `path` lead to `to`, or to nothing where it is empty; return where it led."""
    place = Path(path)
    before = str(place.readlink()) if place.is_symlink() else ""
    if not to:
        place.unlink(missing_ok=True)
        return before
    waiting = place.with_name(f".{place.name}.{os.getpid()}")
    waiting.symlink_to(to)
    waiting.replace(place)
    return before


def write(path: str, content: str) -> None:
    """Write a text file, on disk before it is in its place."""
    place = Path(path)
    handle, waiting = tempfile.mkstemp(dir=place.parent, prefix=".edge-cl-")
    try:
        with open(handle, "w", encoding="utf-8") as stream:  # noqa: PTH123
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(waiting).chmod(0o644)
        Path(waiting).replace(place)
    except BaseException:
        Path(waiting).unlink(missing_ok=True)
        raise


def digest(paths: list[str]) -> dict[str, str]:
    """Return the digest of each file that is there."""
    found = {}
    for name in paths:
        with contextlib.suppress(OSError), Path(name).open("rb") as stream:
            whole_file = hashlib.sha256()
            while block := stream.read(1 << 20):
                whole_file.update(block)
            found[name] = whole_file.hexdigest()
    return found


def remove(paths: list[str]) -> None:
    """Remove files, and folders with what is in them; what is not there is removed already."""
    for name in paths:
        path = Path(name)
        if path.is_symlink() or path.is_file():
            path.unlink()
        for wait in (0.1, 0.5, 2.0):  # a program that is being ended may still write there
            with contextlib.suppress(OSError):
                shutil.rmtree(path)
            if not path.exists():
                break
            time.sleep(wait)
        else:
            shutil.rmtree(path)


def call(argv: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run a program; return its exit status and what it wrote.

    It is ended when nobody listens any more: a connection that is cut leaves nothing running.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as told:
        try:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=told,
                env=os.environ | environment,
                start_new_session=True,
            )
        except OSError as error:
            return {"status": 127, "out": "", "err": f"{argv[0]}: {error.strerror}"}
        listener = select.poll()
        listener.register(sys.stdout, 0)  # only that it was closed
        while child.poll() is None:
            if listener.poll(50):
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        for stream in (out, told):
            stream.seek(0)
        return {
            "status": child.returncode,
            "out": out.read(8 << 20).decode("utf-8", "replace"),
            "err": told.read(1 << 20).decode("utf-8", "replace"),
        }


def absolute(name: str) -> Path:
    """Return a path below the home where it does not begin at the root."""
    return Path.home() / name


def existing(path: Path) -> Path:
    """Return the innermost folder above `path` that is there."""
    return next(p for p in (path, *path.parents) if p.is_dir())


def whole(folder: Path) -> list[str]:
    """Return the names of what was finished in a folder."""
    return sorted(p.name for p in entries(folder) if (p / COMPLETE).is_file())


def venv_of(root: Path, release: str) -> str:
    """Return the name of the environment that a release runs in; empty where it has none."""
    place = root / "releases" / release / "venv"
    return place.readlink().name if place.is_symlink() else ""


def left_over(root: Path) -> list[str]:
    """Return the paths of what was begun in a folder and not finished."""
    begun = [*entries(root / "venvs"), *entries(root / "releases")]
    waiting = [p for p in entries(root) if p.name == "wheels"]
    return sorted(str(p) for p in begun if not (p / COMPLETE).is_file()) + [str(p) for p in waiting]


def entries(folder: Path) -> list[Path]:
    """Return what is in a folder; nothing where it is not there."""
    return list(folder.iterdir()) if folder.is_dir() else []


def any_in(folder: Path) -> bool:
    """Say whether a folder holds anything, as far as it can be read."""
    try:
        return any(entries(folder))
    except OSError:
        return False


def text(path: str) -> str:
    """Return what a small file says; empty where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")[: 1 << 20]
    except OSError:
        return ""


def main() -> None:
    """Answer requests, until there are no more."""
    verbs: dict[str, Any] = {
        "look": look,
        "make": make,
        "link": link,
        "write": write,
        "read": text,
        "digest": digest,
        "remove": remove,
        "unmake": unmake,
        "call": call,
    }
    for line in sys.stdin:
        request = json.loads(line)
        verb = request.pop("verb")
        try:
            answer = {"answer": verbs[verb](**request)}
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            answer = {"error": f"{error.strerror or error}{where}"}
        sys.stdout.write(f"\n{MARK}{json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
