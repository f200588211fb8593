"""The systemd unit that runs a board's learner.

Two kinds. A user unit needs no rights; it is hardened as far as a user's manager can do that
(system call filter, address families, namespaces). A system unit runs as the same user with all
that systemd can take away: no network, no device but cameras, nothing writable but its own state
and cache.

What may not be taken away: `prlimit` and `memfd_create` (an encoder is tried in a child under
limits), memory that is written and then executed (Numba compiles), and the setting of cores.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from edge_cl.deploy.address import PLAIN
from edge_cl.errors import InputError

__all__ = ["NAME", "Kind", "Service", "unit_path", "unit_text"]

NAME = "edge-cl.service"
Kind = Literal["user", "system"]

_STATE = "/var/lib/edge-cl"  # what StateDirectory= makes
_CACHE = "/var/cache/edge-cl"

_BOTH = """\
NoNewPrivileges=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
RestrictAddressFamilies=AF_UNIX
UMask=0077
"""

_SYSTEM = """\
StateDirectory=edge-cl
StateDirectoryMode=0700
CacheDirectory=edge-cl
CacheDirectoryMode=0700
SupplementaryGroups=video
DevicePolicy=closed
DeviceAllow=char-video4linux rw
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=read-only
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
PrivateIPC=yes
PrivateNetwork=yes
PrivateTmp=yes
IPAddressDeny=any
KeyringMode=private
RemoveIPC=yes
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What runs all the time.

    source, mode, label : as `edge-cl run` takes them.
    memory : of `MemoryMax=`.
    silence_s : without a finished frame, after which it is started again.

    Raises
    ------
    InputError : a value cannot stand in a unit.
    """

    kind: Kind = "user"
    source: str = "camera:0"
    mode: Literal["predict", "learn", "prequential"] = "predict"
    label: str | None = None
    memory: str = "75%"
    silence_s: int = 60

    def __post_init__(self) -> None:
        if self.source == "-":
            raise InputError("a service has no stdin: expected a camera, a folder or a file")
        if self.mode == "predict" and self.label is not None:
            raise InputError("expected --label with --mode learn or prequential")
        for value in (self.source, self.label or "-"):
            if not PLAIN.fullmatch(value) or value != value.strip():
                raise InputError(f"{value!r} cannot stand in a unit: it has an odd character")
        if not re.fullmatch(r"[1-9][0-9]*[KMG%]?|infinity", self.memory):
            raise InputError(f"expected memory as 512M or 75%, got {self.memory!r}")
        if self.silence_s < 1:
            raise InputError(f"expected at least 1 s of silence, got {self.silence_s}")

    def state(self, folder: str) -> str:
        """Return where it keeps what it learns."""
        return _STATE if self.kind == "system" else f"{folder}/state"


def unit_path(kind: Kind) -> str:
    """Return where a unit lies; a user's below the home."""
    return f"/etc/systemd/system/{NAME}" if kind == "system" else f".config/systemd/user/{NAME}"


def unit_text(service: Service, *, folder: str, user: str) -> str:
    """Return the unit of a service whose releases lie in `folder`."""
    if not PLAIN.fullmatch(folder):
        raise InputError(f"the folder {folder!r} cannot stand in a unit: it has an odd character")
    system = service.kind == "system"
    program = f"{folder}/current/venv/bin/edge-cl"
    command = [program, "run", service.source, "--mode", service.mode]
    if service.label is not None:
        command += ["--label", service.label]
    command += ["--bundle", f"{folder}/current/bundle.edgecl"]
    command += ["--state", service.state(folder), "--json"]
    cache = _CACHE if system else f"{folder}/current/cache"
    lines = [
        "# Written by edge-cl deploy, which writes it again; changes: systemctl edit edge-cl",
        "[Unit]",
        "Description=edge-cl: a learner on this board",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={_words(command)}",
        f"WorkingDirectory={folder}",
        f"WatchdogSec={service.silence_s}",
        "TimeoutStartSec=300",
        "Restart=on-failure",
        "RestartSec=5",
        "RestartPreventExitStatus=2",
        f"MemoryMax={service.memory}",
        "TasksMax=128",
        f'Environment="XDG_CACHE_HOME={cache}"',
    ]
    if system:
        # The environment is read-only for it: what Numba compiles goes into its own cache
        lines.append(f'Environment="NUMBA_CACHE_DIR={cache}/numba"')
        lines.append(f"ExecStartPre={_words([program, 'warmup'])}")
        lines.append(f"User={user}")
    lines += [*_BOTH.splitlines(), *(_SYSTEM.splitlines() if system else ())]
    target = "multi-user.target" if system else "default.target"
    return "\n".join([*lines, "", "[Install]", f"WantedBy={target}", ""])


def _words(command: list[str]) -> str:
    """Return a command line for a unit: what could be split is quoted."""
    return " ".join(f'"{word}"' if " " in word else word for word in command)
