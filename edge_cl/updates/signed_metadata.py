"""The newest metadata of a repository, verified before anything is built on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from edge_cl.errors import MissingExtraError, UpdateError
from edge_cl.updates.transport import MAX_METADATA_BYTES
from edge_cl.updates.trusted_time import signed_at

try:
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
except ImportError as error:
    raise MissingExtraError("publishing updates", "update") from error

_Role = TypeVar("_Role", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """The newest metadata that is there; what was never written is None."""

    root: Root
    targets: Targets | None = None
    targets_blob: bytes = b""
    snapshot: Snapshot | None = None
    timestamp: Timestamp | None = None

    @property
    def signed_at(self) -> datetime | None:
        """When it was signed last; None where that is not told."""
        return signed_at(self.timestamp) if self.timestamp else None


def read_signed(folder: Path) -> Signed | None:
    """Return what is there, verified from the newest root down; None where nothing is."""
    versions = sorted(int(p.name.split(".")[0]) for p in folder.glob("[1-9]*.root.json"))
    if not versions:
        return None
    try:
        roots = [_load(Root, folder / f"{n}.root.json", [])[0] for n in versions[-2:]]
        if not (folder / "timestamp.json").exists():
            if list(folder.glob("[2-9]*.json")):
                raise RepositoryError("timestamp.json is missing")
            return Signed(root=roots[-1])  # the first call was interrupted
        timestamp, _ = _load(Timestamp, folder / "timestamp.json", roots)
        meta = timestamp.snapshot_meta
        snapshot, blob = _load(Snapshot, folder / f"{meta.version}.snapshot.json", roots)
        meta.verify_length_and_hashes(blob)
        meta = snapshot.meta["targets.json"]
        targets, blob = _load(Targets, folder / f"{meta.version}.targets.json", roots)
        meta.verify_length_and_hashes(blob)
    except (RepositoryError, OSError, KeyError, ValueError) as error:
        raise UpdateError(
            f"{folder} is not what its keys have signed: {error}",
            hint="take it from a copy, or begin anew in another folder",
        ) from error
    return Signed(
        root=roots[-1],
        targets=targets,
        targets_blob=blob,
        snapshot=snapshot,
        timestamp=timestamp,
    )


def _load(kind: type[_Role], path: Path, roots: list[Root]) -> tuple[_Role, bytes]:
    """Return metadata that one of the roots vouches for; a root for itself.

    The root before the newest one as well: replacing a key may have been interrupted.
    """
    with path.open("rb") as stream:
        blob = stream.read(MAX_METADATA_BYTES)
    loaded: Metadata[_Role] = Metadata.from_bytes(blob)
    if not isinstance(loaded.signed, kind):
        raise RepositoryError(f"{path.name} holds {loaded.signed.type}")
    by = [loaded.signed] if isinstance(loaded.signed, Root) else roots
    if not any(vouches(root, loaded) for root in by):
        raise RepositoryError(f"{path.name} is not signed as root.json asks")
    return loaded.signed, blob


def vouches(root: Root, loaded: Metadata[_Role]) -> bool:
    """Say whether enough keys of a root have signed this metadata."""
    signed = loaded.signed
    return bool(root.get_verification_result(signed.type, loaded.signed_bytes, loaded.signatures))
