"""Whom to deploy to: `user@host`, and what OpenSSH shall be told besides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edge_cl.errors import InputError

__all__ = ["PLAIN", "Address"]

# What ssh itself takes as a name, and no shell or option parser reads as anything else
_NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9_:][A-Za-z0-9._:%-]*")
# Of a folder or a label: nothing that a unit file, or the first line of a script, reads as more
PLAIN = re.compile(r"[\w./+@:,= -]+")
_OPTION = re.compile(r"[A-Za-z]+=[^\r\n\0]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A board, as the user's own ssh reaches it.

    name : `user@host`, or a host or alias that ~/.ssh/config knows.
    port, identity : None: what ssh would take.
    options : `KEY=VALUE`, each as after `ssh -o`.

    Raises
    ------
    InputError : one of them is not what it should be.
    """

    name: str
    port: int | None = None
    identity: Path | None = None
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(f"expected user@host, got {self.name!r}")
        if self.port is not None and not 1 <= self.port <= 65535:
            raise InputError(f"expected a port of 1 to 65535, got {self.port}")
        if self.identity is not None and not self.identity.is_file():
            raise InputError(f"no key in {self.identity}")
        for option in self.options:
            if not _OPTION.fullmatch(option):
                raise InputError(
                    f"expected an option KEY=VALUE, got {option!r}", hint="see man ssh_config"
                )

    @property
    def arguments(self) -> list[str]:
        """Return what ssh is told of it, the name apart."""
        told = [part for option in self.options for part in ("-o", option)]
        if self.port is not None:
            told += ["-p", str(self.port)]
        if self.identity is not None:
            told += ["-i", str(self.identity), "-o", "IdentitiesOnly=yes"]
        return told
