"""`edge-cl doctor` and `edge-cl verify` on the board, and their reports brought home.

    NAME.SHA.HOST.doctor.json, NAME.SHA.HOST.board.json     beside the bundle NAME.edgecl

SHA is the beginning of the bundle's digest, HOST what the board was called: the reports of several
boards and of several versions lie side by side.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from edge_cl import files
from edge_cl.deploy.address import Address
from edge_cl.deploy.attempt import Attempt
from edge_cl.deploy.board import Board
from edge_cl.deploy.connection import Called
from edge_cl.deploy.on_board import COMPLETE
from edge_cl.deploy.release import BUNDLE, Release, report_name
from edge_cl.errors import DeployError

__all__ = ["Home", "examine", "stored_report", "verify"]

_PASSED, _REFUSED = 0, 3  # exit codes of both commands
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


class Home:
    """Where reports are brought.

    brought : what was.
    """

    def __init__(self, folder: Path, bundle: Path, sha256: str, address: Address) -> None:
        host = _ODD.sub("-", address.name.rpartition("@")[2])
        self._stem = f"{bundle.stem}.{sha256[:8]}.{host}"
        self._folder = folder
        self.brought: list[Path] = []

    def bring(self, kind: str, report: Any) -> None:
        """Write a report here, whole or not at all."""
        path = self._folder / f"{self._stem}.{kind}.json"
        blob = json.dumps(report, indent=2, ensure_ascii=False).encode() + b"\n"
        if not path.is_file() or path.read_bytes() != blob:
            files.write_atomically(path, blob)
        self.brought.append(path)


def examine(attempt: Attempt, release: Release, board: Board, state: str, home: Home) -> str:
    """Run the doctor on the board; return why it refuses, empty where it does not."""
    what = [state] if board.taught else ["--board"]
    done = attempt.connection.call(
        release.program, "doctor", *what, "--json", environment=release.environment
    )
    report = _report("doctor", done)
    home.bring("doctor", report)
    return f"doctor: {done.last}" if done.status else ""


def verify(attempt: Attempt, release: Release, home: Home) -> tuple[str, str]:
    """Compare the board's features with the workstation's.

    Returns the file name of the board's own report, and why it refuses, empty where it does not.
    """
    done = attempt.connection.call(
        *(release.program, "verify", f"{release.place}/{BUNDLE}", "--on-device", "--json"),
        environment=release.environment,
    )
    report = _report("verify", done)
    name = report_name(str(report.pop("stored", "")), release)
    home.bring("board", report)
    return name, f"verify: {done.last}" if done.status else ""


def stored_report(attempt: Attempt, release: Release, home: Home) -> bool:
    """Bring home what an earlier verify found; False where that is not there any more."""
    ask = attempt.connection.ask
    name = ask("read", path=f"{release.place}/{COMPLETE}").strip()
    text = ask("read", path=f"{release.place}/{name}") if name and "/" not in name else ""
    try:
        report = json.loads(text)
        found = report["found"]
    except (ValueError, KeyError, TypeError):
        return False
    home.bring("board", found)
    return True


def _report(command: str, done: Called) -> dict[str, Any]:
    """Return the report that a command printed, whether or not it passed."""
    if done.status not in (_PASSED, _REFUSED):
        raise DeployError(f"edge-cl {command} failed on the board: {done.last}")
    for line in reversed(done.out.splitlines()):
        try:
            report = json.loads(line)
        except ValueError:
            continue
        if isinstance(report, dict):
            return report
    raise DeployError(f"edge-cl {command} printed no report on the board: {done.last}")
