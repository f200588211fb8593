"""Installing the unit on a board, and starting it."""

from __future__ import annotations

from edge_cl.deploy.attempt import Attempt
from edge_cl.deploy.board import Board
from edge_cl.deploy.connection import Called
from edge_cl.deploy.results import AS_IT_IS
from edge_cl.deploy.unit import NAME, Service, unit_path, unit_text
from edge_cl.errors import DeployError

__all__ = ["Manager"]

_OURS = "# Written by edge-cl deploy"


class Manager:
    """The systemd of a board, that of its user or, through sudo, that of the system.

    Raises
    ------
    DeployError : there is none, its unit is somebody else's, or sudo asks for a password.
    """

    def __init__(self, attempt: Attempt, service: Service, board: Board) -> None:
        self._attempt = attempt
        self._service = service
        self._board = board
        self._text = unit_text(service, folder=board.folder, user=board.user)
        self._path = f"{board.home}/{unit_path(service.kind)}"
        if service.kind == "system":
            self._path = unit_path("system")
        if not board.systemd:
            raise DeployError("there is no systemd on the board", hint="deploy without --service")
        if board.unit and not board.unit.startswith(_OURS):
            raise DeployError(
                f"{self._path} was not written by edge-cl deploy", hint="move it away, on the board"
            )
        if service.mode == "predict" and not board.taught:
            raise DeployError(
                f"nothing was taught yet in {service.state(board.folder)}, and mode predict only "
                "answers",
                hint="deploy without --service and teach it, or say --mode learn --label NAME",
            )
        if service.kind == "system" and attempt.connection.call("sudo", "-n", "true").status:
            raise DeployError(
                "sudo asks for a password on the board", hint="deploy without --system"
            )
        self._active = self._asked("is-active").status == 0
        self._enabled = self._asked("is-enabled").status == 0
        self._lingers = service.kind == "system" or self._asked_linger()

    def needs(self, *, switched: bool) -> list[str]:
        """Return what is to be done, in words; nothing where it runs as it should.

        switched : whether the release that it runs is another one now.
        """
        other = self._board.unit != self._text
        return [
            what
            for what, needed in (
                (f"write {self._path}", other),
                ("enable it", not self._enabled),
                ("start it", other or switched or not self._active),
            )
            if needed
        ]

    def return_to_before(self) -> None:
        """Note that after everything was taken back, the service goes on as before."""

        def as_before() -> None:
            self._systemctl("daemon-reload")
            if self._active:
                self._must("restart", NAME)
            else:
                self._systemctl("stop", NAME)

        self._attempt.undo("the service", as_before)

    def install(self, *, switched: bool) -> tuple[str, bool]:
        """Install the unit and start it, as far as needed; return what was done, and whether."""
        other = self._board.unit != self._text
        needs = self.needs(switched=switched)
        if other:
            self._write()
            self._must("daemon-reload")
        if not self._enabled:
            self._attempt.undo("enabling", lambda: self._systemctl("disable", NAME))
            self._must("enable", NAME)
        if other or switched or not self._active:
            self._must("restart", NAME)  # returns when it says that it is ready, or has failed
        said = f"runs: {self._service.kind} unit {self._path}" if needs else AS_IT_IS
        if self._lingers:
            return said, bool(needs)
        allowed, linger = self._linger()
        return f"{said}; {linger}", bool(needs) or allowed

    def _write(self) -> None:
        attempt, path, before = self._attempt, self._path, self._board.unit
        if self._service.kind == "user":
            attempt.make(path.rpartition("/")[0])
            attempt.write(path, self._text, before=before)
            return
        if before:
            attempt.undo(path, lambda: self._write_as_root(before))
        else:
            attempt.undo(path, lambda: self._root("rm", "-f", path))
        self._write_as_root(self._text)

    def _write_as_root(self, text: str) -> None:
        waiting = f"{self._board.folder}/{NAME}"
        self._attempt.connection.ask("write", path=waiting, content=text)
        try:
            self._root("install", "-m", "644", waiting, self._path)
        finally:
            self._attempt.connection.ask("remove", paths=[waiting])

    def _root(self, *argv: str) -> None:
        self._attempt.run(f"sudo {argv[0]}", "sudo", "-n", *argv)

    def _linger(self) -> tuple[bool, str]:
        """Let the user's services run without a login, where that is allowed."""
        call = self._attempt.connection.call
        if call("loginctl", "enable-linger").status:
            return False, (
                "it ends with the last login there, unless somebody says: "
                f"sudo loginctl enable-linger {self._board.user}"
            )
        self._attempt.undo("lingering", lambda: call("loginctl", "disable-linger"))
        return True, "it runs without a login from now on"

    def _asked_linger(self) -> bool:
        call = self._attempt.connection.call
        user = str(self._board.uid)
        return call("loginctl", "show-user", user, "--property=Linger").out.strip() == "Linger=yes"

    def _asked(self, verb: str) -> Called:
        return self._systemctl(verb, "--quiet", NAME)

    def _must(self, *words: str) -> None:
        done = self._systemctl(*words)
        if done.status:
            user = "--user " if self._service.kind == "user" else ""
            raise DeployError(
                f"systemctl {user}{' '.join(words)} failed on the board: {done.last}",
                hint=f"on the board: journalctl {user}-u edge-cl",
            )

    def _systemctl(self, *words: str) -> Called:
        if self._service.kind == "system":
            return self._attempt.connection.call("sudo", "-n", "systemctl", *words)
        where = {"XDG_RUNTIME_DIR": f"/run/user/{self._board.uid}"}
        return self._attempt.connection.call("systemctl", "--user", *words, environment=where)
