"""What lies on a board, and how a release is put there.

    FOLDER/venvs/ID/        an environment with edge-cl; releases share it
    FOLDER/releases/ID/     bundle.edgecl, the board's report on it, cache/, venv -> ../../venvs/ID
    FOLDER/current          -> releases/ID, switched in one step
    FOLDER/state/           what was learned: never touched

An ID is a digest of what is inside: other wheels, another Python or another bundle have another
one. What is whole holds a file `complete`, written last. The release before the current one stays,
to return to; older ones are removed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from urllib.parse import quote

from edge_cl.deploy.attempt import Attempt
from edge_cl.deploy.board import Board
from edge_cl.deploy.on_board import COMPLETE, digest
from edge_cl.deploy.wheels import Payload
from edge_cl.errors import DeployError

__all__ = [
    "BUNDLE",
    "Release",
    "arrived",
    "install",
    "mark_whole",
    "put_bundle",
    "report_name",
    "stale",
]

_ID_LENGTH = 16
BUNDLE = "bundle.edgecl"


class Release:
    """Where a release lies, or will lie.

    Parameters
    ----------
    bundle : the file here.
    site_packages : whether its environment sees what the board's system has installed.
    """

    def __init__(
        self, board: Board, payload: Payload, bundle: Path, *, site_packages: bool
    ) -> None:
        self.bundle = bundle
        self.bundle_digest = digest([str(bundle)])[str(bundle)]
        self.site_packages = site_packages
        self.venv_id = _id(payload.identity, board.machine, board.version, site_packages)
        self.id = _id(self.venv_id, self.bundle_digest)
        self.venv = f"{board.folder}/venvs/{self.venv_id}"
        self.place = f"{board.folder}/releases/{self.id}"
        self.program = f"{self.place}/venv/bin/edge-cl"
        self.wheels = f"{board.folder}/wheels"

    @property
    def environment(self) -> dict[str, str]:
        """Return what its programs are told: what they cache goes when the release goes."""
        return {"XDG_CACHE_HOME": f"{self.place}/cache"}


def install(
    attempt: Attempt, release: Release, board: Board, payload: Payload, python: str
) -> None:
    """Make the environment of a release, and fill Numba's cache in it."""
    connection = attempt.connection
    attempt.make(f"{board.folder}/venvs")
    attempt.own(release.venv)
    packages = ["--system-site-packages"] if release.site_packages else []
    attempt.run("making an environment", python, "-m", "venv", *packages, release.venv)
    requirement = payload.requirement
    if payload.wheels:
        attempt.make(release.wheels)
        attempt.own(release.wheels)
        for wheel in payload.wheels:
            connection.send(wheel, f"{release.wheels}/{wheel.name}")
            if wheel.name.startswith("edge_cl-"):  # this very one, whatever an index has
                place = quote(f"{release.wheels}/{wheel.name}")
                requirement = f"{payload.requirement.partition('==')[0]} @ file://{place}"
    attempt.run(
        "installing edge-cl",
        *(f"{release.venv}/bin/python", "-m", "pip", "install", "--quiet", "--no-input"),
        *("--no-cache-dir", "--disable-pip-version-check", "--only-binary=:all:"),
        *([] if payload.index else ["--no-index"]),
        *(["--find-links", release.wheels] if payload.wheels else []),
        requirement,
    )
    connection.ask("remove", paths=[release.wheels])
    attempt.run("edge-cl warmup", f"{release.venv}/bin/edge-cl", "warmup", "--json")
    connection.ask("write", path=f"{release.venv}/{COMPLETE}", content=payload.requirement + "\n")


def put_bundle(attempt: Attempt, release: Release, board: Board) -> None:
    """Make the folder of a release, and copy its bundle."""
    attempt.make(f"{board.folder}/releases", f"{release.place}/cache")
    attempt.own(release.place)
    attempt.link(f"{release.place}/venv", f"../../venvs/{release.venv_id}")
    attempt.connection.send(release.bundle, f"{release.place}/{BUNDLE}")


def arrived(attempt: Attempt, release: Release) -> bool:
    """Say whether a release that is there holds the bundle as it is here."""
    path = f"{release.place}/{BUNDLE}"
    found: dict[str, str] = attempt.connection.ask("digest", paths=[path])
    return found.get(path) == release.bundle_digest


def mark_whole(attempt: Attempt, release: Release, report: str) -> None:
    """Note that everything of a release is there and was checked; `report`: its file's name."""
    path = f"{release.place}/{COMPLETE}"
    attempt.connection.ask("write", path=path, content=report + "\n")


def stale(board: Board, release: Release) -> list[str]:
    """Return the paths of releases older than the one before, and of environments none needs."""
    stays = {board.current, release.id}
    needed = {release.venv_id, board.releases.get(board.current, "")}
    return [f"{board.folder}/releases/{name}" for name in board.releases if name not in stays] + [
        f"{board.folder}/venvs/{name}" for name in board.venvs if name not in needed
    ]


def report_name(stored: str, release: Release) -> str:
    """Return the file name of the report that `verify` says it stored."""
    folder, _, name = stored.rpartition("/")
    if folder != release.place or not name.endswith(".board.json"):
        raise DeployError(f"verify stored its report in an unexpected place: {stored[:200]!r}")
    return name


def _id(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_ID_LENGTH]
