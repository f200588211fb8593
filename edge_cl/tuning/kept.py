"""What `edge-cl tune` chose, remembered for this machine.

One small JSON file for each bundle in the user's cache folder. It holds what it was measured
under: the bundle, the kernel of the system, the governor, the processor, the libraries. Where one
of these is another now, the choice is not used; a file that is damaged is none.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec

from edge_cl import files
from edge_cl.bounded_read import read_bounded
from edge_cl.bundle import Bundle
from edge_cl.device.machine import describe_machine
from edge_cl.encoders import proven
from edge_cl.encoders.cores import cores_named
from edge_cl.errors import InputError, StorageError
from edge_cl.tuning.settings import Setting

__all__ = ["KeptChoice", "choice_path", "forget_choice", "keep_choice", "kept_choice"]

_MAX_BYTES = 1 << 18
_VERSION = 1  # of the file, and of how settings are measured
_LIBRARIES = ("onnxruntime", "ai-edge-litert", "tflite-runtime")


class _Under(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a choice depends on."""

    bundle_sha256: str
    kernel: str
    governor: str
    cpu: str
    cores: int
    libraries: dict[str, str]


class KeptChoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A choice as it is kept.

    date : when it was measured.
    chosen : for a learner that begins.  by_member : for one that has learned with that encoder.
    """

    version: int = _VERSION
    date: str
    chosen: Setting
    by_member: dict[str, Setting]
    under: _Under


def keep_choice(
    bundle: Bundle, *, date: str, chosen: Setting, by_member: dict[str, Setting]
) -> Path:
    """Remember a choice for this machine as it is now, and return the file.

    Raises
    ------
    StorageError : there is no folder for it, or the disk refused.
    """
    path = choice_path(bundle)
    kept = KeptChoice(date=date, chosen=chosen, by_member=by_member, under=_now(bundle))
    files.write_atomically(path, msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")
    return path


def choice_path(bundle: Bundle) -> Path:
    """Return the file in which a choice is kept; its folder is made.

    Raises
    ------
    StorageError : it cannot be, or nothing can be written there.
    """
    path = _path(bundle)
    if path is None:
        raise StorageError("there is no folder to keep the choice in", hint="set XDG_CACHE_HOME")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {path.parent}: {error.strerror}") from error
    if not os.access(path.parent, os.W_OK):
        raise StorageError(f"cannot write to {path.parent}", hint="set XDG_CACHE_HOME")
    return path


def kept_choice(bundle: Bundle) -> KeptChoice | None:
    """Return what was chosen for `bundle` on this machine as it is now; None: nothing was."""
    path = _path(bundle)
    if path is None:
        return None
    try:
        kept = msgspec.json.decode(
            read_bounded(path, _MAX_BYTES, error=InputError), type=KeptChoice
        )
    except (InputError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    members = {spec.member for spec in bundle.manifest.encoders}
    named = {kept.chosen.member, *kept.by_member, *(s.member for s in kept.by_member.values())}
    if kept.version != _VERSION or kept.under != _now(bundle) or not named <= members:
        return None
    allowed = set(cores_named("all"))
    pinned = [s.cores for s in (kept.chosen, *kept.by_member.values()) if s.cores is not None]
    return kept if all(set(cores) <= allowed for cores in pinned) else None


def forget_choice(bundle: Bundle) -> bool:
    """Remove what was chosen for `bundle`; return whether there was anything.

    Raises
    ------
    StorageError : it cannot be removed.
    """
    path = _path(bundle)
    if path is None:
        return False
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageError(f"cannot remove {path}: {error.strerror}") from error
    return True


def _path(bundle: Bundle) -> Path | None:
    place = proven.folder()
    return None if place is None else place.parent / "tuned" / f"{bundle.sha256[:32]}.json"


def _now(bundle: Bundle) -> _Under:
    machine = describe_machine()
    return _Under(
        bundle_sha256=bundle.sha256,
        kernel=platform.release(),
        governor=machine.governor,
        cpu=f"{machine.cpu} ({machine.architecture})",
        cores=machine.cores,
        libraries={name: v for name, v in machine.packages.items() if name in _LIBRARIES},
    )
