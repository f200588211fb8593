"""The files of a state: snapshots, ring, versions, bundle, and what lies beside them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from edge_cl.assets import shipped_bundle
from edge_cl.bundle import Bundle, open_bundle
from edge_cl.doctor.finding import Finding, note, ok, problem, refusal
from edge_cl.doctor.state.census import Census, census
from edge_cl.errors import EdgeCLError, FormatError
from edge_cl.store import Saved, StateHeader, is_state
from edge_cl.store.snapshots import read_saved, snapshot_paths

__all__ = [
    "beside",
    "kept_bundle",
    "old_format",
    "ring",
    "snapshots",
    "special_files",
    "versions",
]

_MENDS = "the next command that writes puts it aside and makes a new one"
_LEFT_OVER = re.compile(r"\..+\.[A-Za-z0-9_]+")
_SET_ASIDE = re.compile(r".+\.corrupt-[0-9]+")


def snapshots(folder: Path) -> tuple[list[Finding], list[Saved]]:
    """Look at both snapshots; return also those that are whole, the newest first."""
    found: list[Finding] = []
    whole: list[Saved] = []
    for path in snapshot_paths(folder):
        one, saved = _snapshot(path)
        found += one
        whole += [saved] if saved else []
    if len({saved.header.nonce for saved in whole}) > 1:
        says = "the two are of different states: a file was copied from elsewhere"
        found.append(problem("snapshots", says, "put back the one that belongs here"))
    return found, sorted(whole, key=lambda saved: -saved.header.seq)


def _snapshot(path: Path) -> tuple[list[Finding], Saved | None]:
    try:
        _refuse_special(path)
        saved = read_saved(path)
    except FileNotFoundError:
        if not any(os.path.lexists(other) for other in snapshot_paths(path.parent)):
            return [], None
        return [problem(path.name, "it is missing", "the next snapshot makes it anew")], None
    except FormatError as error:
        return [refusal(path.name, error)], None
    except (EdgeCLError, OSError) as error:
        do = _MENDS if isinstance(error, ValueError) else "put it out of the way"
        return [refusal(path.name, error, do)], None
    return [ok(path.name, f"whole: {_described(saved, path)}")], saved


def ring(folder: Path, newest: Saved | None) -> list[Finding]:
    """Look at the ring and the archive in it."""
    path = folder / "events.db"
    try:
        _refuse_special(path)
        counted = census(path)
    except FileNotFoundError:
        if newest is None:
            return []
        return [problem(path.name, "it is missing; what it alone held is lost", _MENDS)]
    except (EdgeCLError, OSError) as error:
        return [refusal(path.name, error, _MENDS)]
    found = list(_rows(path, counted, newest))
    if counted.archived is not None:
        if counted.archive_damaged:
            says = f"{counted.archive_damaged} of {counted.archived} samples are damaged"
            found.append(problem("archive", says, "these cannot be forgotten by number any more"))
        else:
            found.append(ok("archive", f"{counted.archived} samples, each can be forgotten"))
    return found


def _rows(path: Path, counted: Census, newest: Saved | None) -> Iterator[Finding]:
    meta = counted.meta
    told = (
        f"{counted.good} of {meta.rows} rows in use, newest change {counted.newest}, "
        f"{_size_text(path)}"
    )
    if counted.log_bytes:
        told += f", log {counted.log_bytes / 1e6:.1f} MB"
    whole = True
    if newest is not None and (meta.nonce, meta.d) != (newest.header.nonce, newest.header.d):
        yield problem(path.name, "it belongs to another state", _MENDS)
        whole = False
    if counted.damaged:
        says = f"{counted.damaged} of {meta.rows} rows are damaged"
        yield problem(path.name, says, "see below what it costs; " + _MENDS)
        whole = False
    for text in counted.complaints:
        do = "edge-cl version save NAME, then move events.db away: a new one is made"
        yield problem(path.name, f"SQLite says: {text}", do)
        whole = False
    if not whole:
        return
    if newest is None:
        yield ok(path.name, told)
        return
    behind = max(0, counted.newest - newest.header.seq)
    yield ok(path.name, f"{told}, {behind} behind the newest snapshot")
    if 2 * behind > meta.rows:
        yield note(
            path.name,
            f"{behind} changes wait for a snapshot: none could be written for long",
            "make room on the disk; when the ring is full, nothing more is learned",
        )


def versions(folder: Path, newest: Saved | None) -> list[Finding]:
    """Look at every version that is kept."""
    kept, found = folder / "versions", []
    try:
        paths = sorted(kept.glob("*.safetensors")) if kept.is_dir() else []
    except OSError as error:
        return [refusal("versions", error)]
    if os.path.lexists(kept) and not kept.is_dir():
        return [problem("versions", "it is not a folder", "put it out of the way")]
    for path in paths:
        what = f"versions/{path.name}"
        try:
            _refuse_special(path)
            saved = read_saved(path)
        except (EdgeCLError, OSError) as error:
            found.append(refusal(what, error, "delete it, or put back a copy"))
            continue
        if newest is not None and saved.header.nonce != newest.header.nonce:
            found.append(note(what, "it is of another state: it cannot be returned to"))
        else:
            found.append(ok(what, f"whole: {_described(saved, path)}"))
    return found


def kept_bundle(folder: Path, newest: Saved | None) -> list[Finding]:
    """Look at the bundle that the state is opened with."""
    path = folder / "encoder.edgecl"
    kept = os.path.lexists(path)
    what = path.name if kept else "encoder"
    try:
        if kept:
            _refuse_special(path)
        bundle = open_bundle(path if kept else shipped_bundle())
    except (EdgeCLError, OSError) as error:
        return [refusal(what, error, "put back a copy, or name the bundle with --bundle")]
    if newest is not None and not _holds(bundle, newest.header):
        says = f"the state was learned with another encoder, of {newest.header.bundle_name}"
        return [problem(what, says, "name its bundle with --bundle")]
    told = f"{bundle.name}, {_size_text(path)}" if kept else f"{bundle.name}, as it ships"
    return [ok(what, f"whole: {told}")]


def _holds(bundle: Bundle, header: StateHeader) -> bool:
    """Say whether a bundle has the encoder that a state was learned with."""
    members = bundle.manifest.members
    encoders = {members[spec.member].sha256 for spec in bundle.manifest.encoders}
    return header.encoder_sha256 in encoders or header.bundle_sha256 == bundle.sha256


def old_format(folder: Path) -> list[Finding]:
    """Look for the files of format 1."""
    found = []
    if (folder / "snapshot.safetensors").is_file():
        says = "the state is of format 1, which had no ring"
        do = "the next command that writes takes it over, and keeps this file"
        found.append(note("snapshot.safetensors", says, do))
    old = folder / "snapshot.format-1.safetensors"
    if old.is_file():
        says = f"what the state was before format 2, {_size_text(old)}"
        found.append(note(old.name, says, "delete it when you trust the new one"))
    if not is_state(folder) and not (folder / "events.db").exists():
        found.append(
            problem("state", f"nothing was saved in {folder}", "is this the right folder?")
        )
    return found


def beside(folder: Path, now: float, *, writing: bool) -> list[Finding]:
    """Look at what writes that were cut off have left, and at what was put aside."""
    found = []
    for place in (folder, folder / "versions"):
        try:
            entries = sorted(place.iterdir()) if place.is_dir() else []
        except OSError as error:
            found.append(refusal(str(place.name), error))
            continue
        for path in entries:
            if _SET_ASIDE.fullmatch(path.name):
                says = f"damaged, put aside {_age(path, now)} ago, {_size_text(path)}"
                found.append(note(path.name, says, "look at the disk; delete it when done"))
            elif _LEFT_OVER.fullmatch(path.name) and not writing:
                says = f"left by a write that was cut off {_age(path, now)} ago, {_size_text(path)}"
                found.append(note(path.name, says, "the next command that writes removes it"))
    return found


def special_files(folder: Path) -> list[Finding]:
    """Look for what is no file: a pipe in the place of one would be waited for, for ever."""
    names = ("events.db-wal", "encoder.edgecl", "snapshot.safetensors", "events.db")
    paths = [*(folder / name for name in names), *snapshot_paths(folder)]
    return [
        problem(path.name, "it is no regular file", "put it out of the way")
        for path in paths
        if path.exists() and not (path.is_file() or path.is_dir())
    ]


def _size_text(path: Path) -> str:
    try:
        size = path.stat().st_size
    except OSError:
        return "size unknown"
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def _described(saved: Saved, path: Path) -> str:
    samples = int(saved.tensors["n"].sum())
    classes = int((saved.tensors["n"] > 0).sum())
    return f"change {saved.header.seq}, samples: {samples}, classes: {classes}, {_size_text(path)}"


def _age(path: Path, now: float) -> str:
    try:
        seconds = max(0.0, now - path.stat().st_mtime)
    except OSError:
        return "some time"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _refuse_special(path: Path) -> None:
    """Raise OSError for what is no file: a pipe would be waited for, for ever."""
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "it is a folder")
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise OSError(22, "it is no regular file")
