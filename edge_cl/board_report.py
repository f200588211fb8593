"""A board's own report on a bundle, kept beside it.

    NAME.edgecl  →  NAME.SHA.MACHINE.board.json

SHA is the beginning of the bundle's digest and MACHINE what the machine says it is, so that the
reports of several boards and of several versions lie side by side. A report names its bundle by
the whole digest: it stays true when files are renamed. It is replaced by the next report of the
same bundle on the same machine, and by nothing else.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec

from edge_cl import files
from edge_cl.bounded_read import read_bounded
from edge_cl.device import Machine
from edge_cl.errors import InputError
from edge_cl.verify_results import Verified

__all__ = ["report_path", "write_report"]

_MAX_BYTES = 1 << 20
_ODD = re.compile(r"[^a-z0-9]+")


class _Report(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="edge-cl board"):
    format_version: Literal[1] = 1
    found: Verified


class _Whose(msgspec.Struct, frozen=True, kw_only=True):
    """What tells whether a report is one of the same bundle and machine."""

    bundle_sha256: str
    machine: Machine


class _Earlier(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="edge-cl board"):
    found: _Whose


def report_path(bundle: Path, found: Verified) -> Path:
    """Return where the report of this machine on the file `bundle` lies."""
    machine = _ODD.sub("-", _machine(found.machine)[0].lower()).strip("-")[:60] or "machine"
    return bundle.with_name(f"{bundle.stem}.{found.bundle_sha256[:8]}.{machine}.board.json")


def write_report(bundle: Path, found: Verified) -> Path:
    """Write the report beside the file `bundle`, whole or not at all, and return its path.

    Raises
    ------
    InputError : a file is in its place that is no earlier report of the same.
    StorageError : the disk refused.
    """
    path = report_path(bundle, found)
    if (path.exists() or path.is_symlink()) and not _earlier(path, found):
        raise InputError(
            f"{path} is not an earlier report of this machine on this bundle",
            hint="move it away",
        )
    blob = msgspec.json.format(msgspec.json.encode(_Report(found=found)), indent=2)
    files.write_atomically(path, blob + b"\n")
    return path


def _earlier(path: Path, found: Verified) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    try:
        blob = read_bounded(path, _MAX_BYTES, error=InputError)
        whose = msgspec.json.decode(blob, type=_Earlier).found
    except (InputError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    same = whose.bundle_sha256 == found.bundle_sha256
    return same and _machine(whose.machine) == _machine(found.machine)


def _machine(m: Machine) -> tuple[str, str]:
    """Return what stays when software is updated: the board (or the processor), its kind."""
    return m.board or m.cpu, m.architecture
