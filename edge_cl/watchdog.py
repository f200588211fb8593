"""Telling the service manager that a run works: systemd's notify protocol.

    READY=1       once everything is open, and frames are waited for
    WATCHDOG=1    after a finished frame, and after nothing else
    STOPPING=1    when the run ends

Whoever waits for these is named by the environment: `NOTIFY_SOCKET`, a datagram socket by path or,
beginning with `@`, in the abstract namespace; `WATCHDOG_USEC`, the time after which silence
is taken for a hang, and `WATCHDOG_PID`, of whom it is expected. Without `NOTIFY_SOCKET` nothing is
done.

No thread and no timer sends anything. A camera that hangs, a network that never answers or a
lock that is never released finishes no frame: no word goes out, and the service is started again.

Frames may be finished by the thousand a second. A word goes out where

    now - last >= WATCHDOG_USEC / 4                                                          (1)
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from time import monotonic

__all__ = ["Watchdog"]


class Watchdog:
    """What waits for word of this process, as its environment says.

    Parameters
    ----------
    environment : the environment of the process.
    clock : seconds that never go back.

    A manager that does not listen any more is no error: a run does not end for it.
    """

    def __init__(
        self, environment: Mapping[str, str] = os.environ, clock: Callable[[], float] = monotonic
    ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._silence = _seconds(environment)
        self._clock = clock
        self._last: float | None = None

    @property
    def silence(self) -> float | None:
        """Seconds without a finished frame that are taken for a hang; None: any are fine."""
        return self._silence

    def ready(self) -> None:
        """Say that everything is open."""
        self._send("READY=1\nSTATUS=waiting for the first frame")

    def finished(self) -> None:
        """Say that a frame is finished, where it is time to."""
        if self._silence is None:
            return
        now = self._clock()
        if self._last is None or now - self._last >= self._silence / 4:  # (1)
            first, self._last = self._last is None, now
            self._send("WATCHDOG=1\nSTATUS=running" if first else "WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the run ends."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if self._address is None:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link,
        ):
            link.setblocking(False)  # a manager whose queue is full must not hold a frame up
            link.sendto(text.encode("ascii"), self._address)


def _address(name: str) -> str | None:
    """Return the address of the socket; None where there is none that could be one."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else None


def _seconds(environment: Mapping[str, str]) -> float | None:
    """Return what silence is taken for a hang, where it is expected of this process."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environment.get("WATCHDOG_USEC", "")
    if not (text.isascii() and text.isdecimal()) or int(text) == 0:
        return None
    return int(text) / 1e6
