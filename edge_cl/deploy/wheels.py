"""What is installed on a board, and the wheels that are fetched for it on the workstation.

edge-cl itself comes from where this one was installed from: a checkout is built into a wheel and
copied; what came from an index is taken from an index. What it depends on is fetched by the board,
or here, for the board's architecture, Python and glibc, where the board reaches no index.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from edge_cl.deploy.board import Board
from edge_cl.deploy.on_board import digest
from edge_cl.errors import BackendError, InputError, StorageError

__all__ = ["Payload", "fetch", "keep_wheels", "platforms"]

_NAME = "edge-cl"
# What a wheel of edge-cl is built from; a checkout has more
_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "edge_cl", "device_profiles", "export")
_OLDEST_GLIBC = 17  # of manylinux2014
_FETCHED_BYTES = 900_000_000  # of an environment whose wheels the board fetches itself
_UNPACKED = 5  # an environment, by the size of its wheels; their copies are counted in


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What is installed.

    requirement : for pip: `edge-cl[camera]==0.1.0`.
    wheels : files to copy to the board.
    index : whether the board may ask an index for what they lack.
    """

    requirement: str
    wheels: tuple[Path, ...]
    index: bool

    @property
    def identity(self) -> str:
        """Return a digest that is another one when anything else would be installed."""
        known = {
            # an own wheel is built anew each time: what is in it counts, not when it was made
            wheel.name: _contents(wheel) if wheel.name.startswith("edge_cl-") else _digest(wheel)
            for wheel in self.wheels
        }
        return hashlib.sha256(
            json.dumps([self.requirement, known, self.index], sort_keys=True).encode()
        ).hexdigest()

    @property
    def needed_bytes(self) -> int:
        """Return how much room it takes on the board, roughly."""
        if self.index:
            return _FETCHED_BYTES
        return _UNPACKED * sum(wheel.stat().st_size for wheel in self.wheels)


def fetch(
    board: Board, folder: Path, *, extras: Sequence[str], keep: Path | None, offline: bool
) -> Payload:
    """Return what to install on a board; its wheels lie in `folder`.

    Parameters
    ----------
    folder : empty.
    keep : where wheels are kept from one time to the next, and taken from; None: the board fetches
        them itself, only the wheel of a checkout is made here.
    offline : take them from `keep`, and ask no index.

    Raises
    ------
    BackendError : pip is not there, or has not found something.
    InputError : `offline` without a folder.
    """
    wanted = f"[{','.join(sorted(set(extras)))}]" if extras else ""
    version = metadata.version(_NAME)
    requirement = f"{_NAME}{wanted}=={version}"
    if offline and keep is None:
        raise InputError("--offline takes the wheels from --wheels DIR: expected one")
    own = None if offline else _checkout()
    if own is not None:
        _build(own, folder)
    if keep is None:
        return Payload(requirement=requirement, wheels=_in(folder), index=True)
    if offline and not keep.is_dir():
        raise InputError(f"no folder {keep}")
    requirements = [requirement]
    if board.version < (3, 11):  # pip asks the Python that it runs in, not the board's
        requirements.append("tomli>=2")
    _pip(
        "download",
        *("--dest", str(folder), "--find-links", str(folder)),
        *(("--find-links", str(keep)) if keep.is_dir() else ()),
        *(["--no-index"] if offline else []),
        *("--only-binary=:all:", "--implementation", "cp"),
        *("--python-version", ".".join(map(str, board.version))),
        *(part for tag in _abis(board) for part in ("--abi", tag)),
        *(part for tag in platforms(board) for part in ("--platform", tag)),
        *requirements,
    )
    return Payload(requirement=requirement, wheels=_in(folder), index=False)


def keep_wheels(payload: Payload, folder: Path) -> int:
    """Copy wheels that are not there yet into `folder`, but not our own; return how many.

    Raises
    ------
    StorageError : the disk refused.
    """
    new = [w for w in payload.wheels if not (folder / w.name).exists()]
    new = [w for w in new if not w.name.startswith("edge_cl-")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for wheel in new:
            shutil.copyfile(wheel, folder / wheel.name)
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error.strerror or error}") from error
    return len(new)


def platforms(board: Board) -> list[str]:
    """Return the tags of the wheels that run on a board, the newest first."""
    major, minor = board.glibc
    tags = [f"manylinux_{major}_{n}_{board.machine}" for n in range(minor, _OLDEST_GLIBC - 1, -1)]
    return [*tags, f"manylinux2014_{board.machine}", f"linux_{board.machine}"]


def _abis(board: Board) -> list[str]:
    return ["cp{}{}".format(*board.version), "abi3", "none"]


def _in(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob("*.whl")))


def _checkout() -> Path | None:
    """Return the checkout that edge-cl was installed from; None: it came from an index."""
    root = Path(__file__).parents[2]
    if (root / "pyproject.toml").is_file():  # it runs from there: what is installed does not count
        return root
    text = metadata.distribution(_NAME).read_text("direct_url.json")
    if text is None:
        return None
    told = json.loads(text)
    place = Path(url2pathname(urlparse(told.get("url", "")).path))
    if "dir_info" not in told or not (place / "pyproject.toml").is_file():
        raise BackendError(
            f"edge-cl was installed from {told.get('url')}, and cannot be made a wheel of again",
            hint="put its wheel into --wheels DIR, and say --offline",
        )
    return place


def _build(checkout: Path, folder: Path) -> None:
    """Make a wheel of a checkout, without leaving anything in it."""
    with tempfile.TemporaryDirectory(prefix="edge-cl-") as copy:
        for name in _SOURCES:
            source, target = checkout / name, Path(copy) / name
            if source.is_dir():
                leave = shutil.ignore_patterns("__pycache__", "*.egg-info", "tests")
                shutil.copytree(source, target, ignore=leave)
            else:
                shutil.copyfile(source, target)
        _pip("wheel", "--no-deps", "--wheel-dir", str(folder), copy)


def _pip(*arguments: str) -> None:
    if importlib.util.find_spec("pip") is None:
        raise BackendError(
            f"{sys.executable} has no pip, and wheels are fetched with it",
            hint=f"{sys.executable} -m ensurepip",
        )
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        said = (errors or done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
        raise BackendError(
            f"pip {arguments[0]} failed: {said.removeprefix('ERROR: ')[:300]}",
            hint="is there a wheel for this board? docs/guides/deploy-to-a-board.md says which",
        )


def _digest(path: Path) -> str:
    return digest([str(path)])[str(path)]


def _contents(wheel: Path) -> str:
    """Return a digest of what is in a wheel, whenever it was packed."""
    with zipfile.ZipFile(wheel) as archive:
        members = sorted((one.filename, one.CRC, one.file_size) for one in archive.infolist())
    return hashlib.sha256(json.dumps(members).encode()).hexdigest()
