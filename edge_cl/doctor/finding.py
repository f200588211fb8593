"""One thing that was looked at, and how it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_cl.errors import EdgeCLError

__all__ = ["Finding", "Verdict", "note", "ok", "problem", "refusal", "warning"]

Verdict = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found about one thing.

    what : a file of the folder, or what else was looked at.
    verdict : "ok"; "note": nothing is wrong, but it is good to know; "warning": it works, and not
        as well or as safely as it could; "problem": it does not work.
    says : one line.
    do : what to do about it, one line, or empty.
    """

    what: str
    verdict: Verdict
    says: str
    do: str = ""


def ok(what: str, says: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(what=what, verdict="ok", says=says)


def note(what: str, says: str, do: str = "") -> Finding:
    """Return a finding that is good to know."""
    return Finding(what=what, verdict="note", says=says, do=do)


def warning(what: str, says: str, do: str = "") -> Finding:
    """Return a finding that something works, and not as it should."""
    return Finding(what=what, verdict="warning", says=says, do=do)


def problem(what: str, says: str, do: str = "") -> Finding:
    """Return a finding that something is wrong."""
    return Finding(what=what, verdict="problem", says=says, do=do)


def refusal(what: str, error: Exception, do: str = "") -> Finding:
    """Return the problem that an error is; its hint is what to do, where nothing is told."""
    if isinstance(error, EdgeCLError):
        return problem(what, " ".join(str(error).split()), do or error.hint)
    if isinstance(error, OSError):
        return problem(what, f"it cannot be read: {error.strerror or error}", do)
    return problem(what, f"{type(error).__name__}: {error}", do)
