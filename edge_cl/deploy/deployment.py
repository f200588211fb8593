"""A deployment, step by step.

    look         what the board is, and what is on it
    wheels       fetched here, where the board shall not ask an index
    environment  a virtual environment with edge-cl
    bundle       copied, its digest compared
    doctor       is the board fit; a blocker ends the deployment
    verify       does it see what the workstation saw; if not, that ends it
    current      the link to what runs is switched
    service      the unit is installed and started
    tidy         what is older than the release before is removed

Where something is right already, its step changes nothing. Before `current` everything goes into
new folders; what fails, there or later, is taken back (`attempt`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from edge_cl.bundle import Bundle, open_bundle
from edge_cl.deploy import checks, release
from edge_cl.deploy.address import PLAIN, Address
from edge_cl.deploy.attempt import Attempt
from edge_cl.deploy.board import Board, look, refuse_unfit
from edge_cl.deploy.connection import Connection
from edge_cl.deploy.release import Release
from edge_cl.deploy.results import AS_IT_IS, Deployed, Progress, Step
from edge_cl.deploy.service import Manager
from edge_cl.deploy.unit import Service, unit_path
from edge_cl.deploy.wheels import Payload, fetch, keep_wheels
from edge_cl.errors import DeployError, InputError

__all__ = ["deploy"]

_STEPS = 9
_RESERVE = 20_000_000  # for what is written besides


def deploy(
    address: Address,
    bundle: Path,
    *,
    service: Service | None = None,
    folder: str = "edge-cl",
    python: str = "python3",
    extras: Sequence[str] = (),
    wheels: Path | None = None,
    offline: bool = False,
    site_packages: bool = False,
    reports: Path | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Deployed:
    """Bring edge-cl and a bundle to a board.

    Parameters
    ----------
    service : what shall run there all the time; None: nothing.
    folder : on the board; below the user's home, where it does not begin at the root.
    python : of the board, that the environment is made with.
    extras : of edge-cl; what the service and the bundle need is added.
    wheels, offline : as `edge_cl.deploy.wheels.fetch` takes them.
    site_packages : the environment sees what the board's system has installed, as picamera2.
    reports : folder to bring the board's reports to; None: beside the bundle.
    dry_run : only say what would be done.

    Raises
    ------
    InputError, BundleError : an argument is wrong; nothing was sent.
    DeployError : the board cannot be reached or taken, or a step failed; it is as it was.
    BackendError : ssh or pip is missing here, or a wheel is not to be had.
    """
    if not folder or folder.startswith(("~", "-")):
        raise InputError(
            f"expected a folder on the board, got {folder!r}",
            hint="one that does not begin with / lies below the home there: edge-cl",
        )
    opened = open_bundle(bundle)
    home = checks.Home(reports or bundle.parent, bundle, opened.sha256, address)
    with (
        tempfile.TemporaryDirectory(prefix="edge-cl-") as fetched,
        Connection(address, python) as connection,
        Attempt(connection) as attempt,
    ):
        work = _Deployment(attempt, home, dry_run, progress or (lambda name, share: None))
        work.begin("look")
        board = look(
            connection,
            python,
            folder=folder,
            unit=unit_path(service.kind) if service else "",
            state="/var/lib/edge-cl" if service and service.kind == "system" else "",
        )
        if not PLAIN.fullmatch(board.folder):  # pip writes it into the first line of scripts
            raise InputError(f"expected a folder of plain characters, got {board.folder!r}")
        refuse_unfit(board, _RESERVE)
        manager = Manager(attempt, service, board) if service else None
        work.say("look", str(board), changed=False)
        wanted = {*extras, *_needed_extras(opened, service)}
        if wheels is not None:
            work.begin("wheels")
        payload = fetch(board, Path(fetched), extras=sorted(wanted), keep=wheels, offline=offline)
        if wheels is not None:
            work.wheels(payload, wheels)
        target = Release(board, payload, bundle, site_packages=site_packages)
        work.environment(board, target, payload, python)
        whole = work.bundle(board, target)
        state = service.state(board.folder) if service else f"{board.folder}/state"
        refused = work.check(board, target, state, whole=whole)
        if not refused:
            work.switch(board, target, manager)
            if not dry_run:
                attempt.keep()
            work.tidy(board, target)
    return Deployed(
        board=board,
        release=target.id,
        steps=tuple(work.steps),
        reports=tuple(home.brought),
        refused=refused,
        lost=tuple(attempt.lost),
        dry_run=dry_run,
    )


class _Deployment:
    """The steps that were done, and the one at work."""

    def __init__(
        self, attempt: Attempt, home: checks.Home, dry_run: bool, progress: Progress
    ) -> None:
        self._attempt = attempt
        self._home = home
        self._dry_run = dry_run
        self._progress = progress
        self.steps: list[Step] = []

    def begin(self, name: str) -> None:
        """Say what begins."""
        self._progress(name, len(self.steps) / _STEPS)

    def say(self, name: str, did: str, *, changed: bool) -> None:
        """Note what a step did; with a dry run, what it would do."""
        if changed and self._dry_run:
            did = f"would {did}"
        self.steps.append(Step(name=name, did=did, changed=changed))
        self._progress(name, 1.0)

    def wheels(self, payload: Payload, folder: Path) -> None:
        """Keep what was fetched for the next time."""
        size = sum(wheel.stat().st_size for wheel in payload.wheels) / 1e6
        new = 0 if self._dry_run else keep_wheels(payload, folder)
        kept = f"; new in {folder}: {new}" if new else ""
        self.say("wheels", f"{len(payload.wheels)}, {size:.1f} MB{kept}", changed=False)

    def environment(self, board: Board, target: Release, payload: Payload, python: str) -> None:
        """Make the environment where there is none like it."""
        self.begin("environment")
        if target.venv_id in board.venvs:
            self.say("environment", AS_IT_IS, changed=False)
            return
        refuse_unfit(board, payload.needed_bytes + target.bundle.stat().st_size + _RESERVE)
        did = f"make {target.venv}, and install {payload.requirement}"
        if not self._dry_run:
            self._attempt.connection.ask("remove", paths=board.left_over)
            release.install(self._attempt, target, board, payload, python)
        self.say("environment", did, changed=True)

    def bundle(self, board: Board, target: Release) -> bool:
        """Copy the bundle where it is not there; return whether all of the release is."""
        self.begin("bundle")
        there = target.id in board.releases
        if there and release.arrived(self._attempt, target):
            self.say("bundle", AS_IT_IS, changed=False)
            return True
        if there and target.id == board.current:
            raise DeployError(
                f"{target.place}/{release.BUNDLE} is not the bundle that was copied there",
                hint="it was changed or damaged on the board: is the card sound? Remove that "
                "folder, and deploy again",
            )
        if not self._dry_run:
            begun = [p for p in board.left_over if p == target.place]
            self._attempt.connection.ask("remove", paths=[target.place] if there else begun)
            release.put_bundle(self._attempt, target, board)
        size = target.bundle.stat().st_size / 1e6
        self.say("bundle", f"copy {target.bundle.name} ({size:.1f} MB)", changed=True)
        return False

    def check(self, board: Board, target: Release, state: str, *, whole: bool) -> str:
        """Ask doctor and verify on the board; return why one of them refuses."""
        if self._dry_run:
            self.say("doctor", "run it there, and bring its report", changed=False)
            self.say("verify", AS_IT_IS if whole else "run it there", changed=False)
            return ""
        self.begin("doctor")
        refused = checks.examine(self._attempt, target, board, state, self._home)
        if refused:
            return refused
        self.say("doctor", "found no blocker", changed=False)
        self.begin("verify")
        if whole and checks.stored_report(self._attempt, target, self._home):
            self.say("verify", AS_IT_IS, changed=False)
            return ""
        report, refused = checks.verify(self._attempt, target, self._home)
        if refused:
            return refused
        release.mark_whole(self._attempt, target, report)
        self.say("verify", "the board sees what the workstation saw", changed=not whole)
        return ""

    def switch(self, board: Board, target: Release, manager: Manager | None) -> None:
        """Let the link lead to the release, and the service run it."""
        self.begin("current")
        switched = board.current != target.id
        if switched and not self._dry_run:
            if manager:
                manager.return_to_before()
            self._attempt.link(f"{board.folder}/current", f"releases/{target.id}")
        did = f"switch to releases/{target.id}, before: {board.current or 'none'}"
        self.say("current", did if switched else AS_IT_IS, changed=switched)
        if manager is None:
            return
        self.begin("service")
        if self._dry_run:
            needs = manager.needs(switched=switched)
            self.say("service", ", ".join(needs) or AS_IT_IS, changed=bool(needs))
            return
        if not switched:
            manager.return_to_before()
        did, changed = manager.install(switched=switched)
        self.say("service", did, changed=changed)

    def tidy(self, board: Board, target: Release) -> None:
        """Remove what is older than the release before, after a switch."""
        old = release.stale(board, target) if board.current != target.id else []
        if not old:
            return
        if not self._dry_run:
            self._attempt.connection.ask("remove", paths=old)
        names = ", ".join("/".join(path.split("/")[-2:]) for path in old)
        self.say("tidy", f"remove {names}", changed=True)


def _needed_extras(bundle: Bundle, service: Service | None) -> set[str]:
    """Return the extras that a service's source and a bundle's encoders need."""
    needed = set()
    if service and service.source.startswith("camera:"):
        needed.add("camera")
    runtimes = {spec.runtime for spec in bundle.manifest.encoders}
    if runtimes == {"litert"}:
        needed.add("litert")
    return needed
