"""Publishing bundles: a folder of signed static files, made and extended.

Each call signs again with the keys that are at hand:

    timestamp, snapshot   always needed; they expire after days, and can be on the server
    targets               needed to publish a bundle; expires after a year
    root                  needed to begin, and to replace a key; expires after ten years

Files that nothing refers to yet are written first, timestamp.json last: a client, or a power
cut, finds the repository of before or the new one.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TypeVar

from edge_cl import files
from edge_cl.bundle import open_bundle
from edge_cl.errors import InputError, MissingExtraError, StorageError, UpdateError
from edge_cl.signing import read_signature, signature_path
from edge_cl.updates.client import TARGET
from edge_cl.updates.role_keys import RoleKeys
from edge_cl.updates.signed_metadata import Signed, read_signed, vouches
from edge_cl.updates.trusted_time import SIGNED_AT, TIME

try:
    from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
except ImportError as error:
    raise MissingExtraError("publishing updates", "update") from error

__all__ = ["ROLES", "Published", "publish"]

ROLES = ("root", "targets", "snapshot", "timestamp")
_ROOT_LIFE = timedelta(days=3650)
_TARGETS_LIFE = timedelta(days=365)

_Role = TypeVar("_Role", Targets, Snapshot, Timestamp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a repository holds now.

    targets : names of the bundles in it.
    versions : of each role's metadata.
    expires : when it has to be signed again, at the latest.
    new_keys : private keys that were made.
    """

    targets: tuple[str, ...]
    versions: dict[str, int]
    expires: datetime
    new_keys: tuple[Path, ...]


def publish(
    repository: Path,
    keys: Path,
    bundle: Path | None = None,
    *,
    name: str | None = None,
    days: int = 30,
    root_keys: int = 1,
    root_threshold: int = 1,
    replace: Sequence[str] = (),
    now: datetime | None = None,
) -> Published:
    """Make a repository or extend it, and sign it again.

    Parameters
    ----------
    bundle : to publish, under the name of its file; None signs again what is there. A file
        BUNDLE.sig beside it is published with it.
    name : to publish it under.
    days : until timestamp and snapshot expire: as long as a device can be made to believe that
        nothing is new.
    root_keys, root_threshold : of a new repository: how many keys, and how many must sign.
    replace : roles whose keys are replaced by new ones; root has to agree.
    now : the time of signing; None: by the clock.

    Raises
    ------
    InputError : a name, a role or a number makes no sense, or a key is not at hand.
    BundleError : the file is no bundle.
    UpdateError : the repository is not what its keys have signed, or was signed in the future.
    StorageError : the disk refused; what clients see is the old repository or the new one.
    """
    if not 1 <= root_threshold <= root_keys or days < 1:
        raise InputError(
            f"expected 1 <= root threshold <= root keys and days >= 1, got {root_threshold}, "
            f"{root_keys} and {days}"
        )
    odd = sorted(set(replace) - set(ROLES))
    if odd:
        raise InputError(f"unknown role {odd[0]!r}", hint=f"one of: {', '.join(ROLES)}")
    now = (now or datetime.now(timezone.utc)).replace(microsecond=0)
    fresh = _targets_of(bundle, name)
    with _alone(repository):
        held = RoleKeys(keys)
        old = read_signed(repository / "metadata")
        if old and old.signed_at and old.signed_at > now:
            raise UpdateError(
                f"{repository} was signed on {old.signed_at:{TIME}}, it is {now:{TIME}}",
                hint="set the clock: devices refuse what is signed for the past",
            )
        root, root_blob = _root(old, held, root_keys, root_threshold, replace, now)
        new = _signed_again(old, root, held, fresh, now, timedelta(days=days))
        # In this order: nothing refers to a file that is not there yet
        blobs = {
            f"targets/{entry.hashes['sha256']}.{path}": data
            for path, (entry, data) in fresh.items()
        }
        blobs |= {f"metadata/{root.version}.root.json": root_blob} if root_blob else {}
        blobs |= {f"metadata/{file}": data for file, data in new.blobs.items()}
        held.save()
        _write(repository, blobs)
    return Published(
        targets=tuple(sorted(t for t in new.targets.targets if TARGET.fullmatch(t))),
        versions={
            "root": root.version,
            "targets": new.targets.version,
            "snapshot": new.snapshot.version,
            "timestamp": new.timestamp.version,
        },
        expires=min(root.expires, new.targets.expires, new.timestamp.expires),
        new_keys=tuple(held.made),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _New:
    """Metadata to be written, and its files in the order of writing."""

    targets: Targets
    snapshot: Snapshot
    timestamp: Timestamp
    blobs: dict[str, bytes]


def _targets_of(bundle: Path | None, name: str | None) -> dict[str, tuple[TargetFile, bytes]]:
    """Return the files to publish, by name: a bundle, and its signature where it has one."""
    if bundle is None:
        if name is not None:
            raise InputError("expected a bundle to publish under a name, got none")
        return {}
    opened = open_bundle(bundle)
    target = f"{name or bundle.name.removesuffix('.edgecl')}.edgecl"
    if not TARGET.fullmatch(target):
        raise InputError(
            f"expected a name of letters, digits, '.', '_' and '-', got {target!r}",
            hint="publish it under another name",
        )
    blobs = {target: opened.archive()}
    if signature_path(bundle).exists():
        blobs[f"{target}.sig"] = read_signature(bundle)
    found = {}
    for path, data in blobs.items():
        entry = TargetFile.from_data(path, data, ["sha256"])
        entry.unrecognized_fields["custom"] = {"sha256": opened.sha256, "bundle": opened.name}
        found[path] = (entry, data)
    return found


def _root(
    old: Signed | None,
    keys: RoleKeys,
    count: int,
    threshold: int,
    replace: Sequence[str],
    now: datetime,
) -> tuple[Root, bytes | None]:
    """Return the root to work under, and its file where it is new."""
    if old and not replace:
        return old.root, None
    if old:
        root = copy.deepcopy(old.root)
        root.version += 1
    else:
        root = Root(version=1)
        root.roles["root"].threshold = threshold
    root.expires = now + _ROOT_LIFE
    for role in replace if old else ROLES:
        had = list(root.roles[role].keyids)
        for keyid in had:
            root.revoke_key(keyid, role)
        wanted = len(had) or (count if role == "root" else 1)
        for signer in keys.new(role, wanted) if had else keys.first(role, wanted):
            root.add_key(signer.public_key, role)
    before = old.root if old else root
    signers = keys.of([*before.roles["root"].keyids, *root.roles["root"].keyids])
    metadata = Metadata(root)
    for signer in signers:
        metadata.sign(signer, append=True)
    if not (vouches(before, metadata) and vouches(root, metadata)):
        needed = before.roles["root"].threshold
        raise InputError(
            f"expected {needed} of the root keys in {keys.folder} to change root.json, "
            f"got {len(keys.of(before.roles['root'].keyids))}",
            hint="bring the keys that are kept offline",
        )
    return root, metadata.to_bytes()


def _signed_again(
    old: Signed | None,
    root: Root,
    keys: RoleKeys,
    fresh: dict[str, tuple[TargetFile, bytes]],
    now: datetime,
    life: timedelta,
) -> _New:
    """Return targets, snapshot and timestamp, signed for the keys of `root`."""
    blobs: dict[str, bytes] = {}
    targets = old.targets if old and old.targets else Targets(version=1)
    must = not (old and old.targets_blob and vouches(root, Metadata.from_bytes(old.targets_blob)))
    if fresh or must or keys.of(root.roles["targets"].keyids):
        if old and old.targets:
            targets.version += 1
        for path in list(fresh):
            targets.targets.pop(f"{path}.sig", None)  # of the bundle that was there before
        targets.targets.update({path: entry for path, (entry, _) in fresh.items()})
        targets.expires = now + max(_TARGETS_LIFE, life)
        blobs[f"{targets.version}.targets.json"] = _sign(targets, root, keys)
    elif targets.expires <= now:
        raise InputError(f"targets.json expired, and {keys.folder} holds no key to sign it again")
    targets_blob = blobs.get(f"{targets.version}.targets.json", old.targets_blob if old else b"")

    snapshot = old.snapshot if old and old.snapshot else Snapshot(version=1)
    snapshot.version += bool(old and old.snapshot)
    snapshot.meta["targets.json"] = MetaFile.from_data(targets.version, targets_blob, ["sha256"])
    snapshot.expires = now + life
    blobs[f"{snapshot.version}.snapshot.json"] = blob = _sign(snapshot, root, keys)

    timestamp = old.timestamp if old and old.timestamp else Timestamp(version=1)
    timestamp.version += bool(old and old.timestamp)
    timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, blob, ["sha256"])
    timestamp.expires = now + life
    timestamp.unrecognized_fields[SIGNED_AT] = f"{now:{TIME}}"
    blobs["timestamp.json"] = _sign(timestamp, root, keys)
    return _New(targets=targets, snapshot=snapshot, timestamp=timestamp, blobs=blobs)


def _sign(signed: _Role, root: Root, keys: RoleKeys) -> bytes:
    role = root.roles[signed.type]
    signers = keys.of(role.keyids)
    if len(signers) < role.threshold:
        raise InputError(
            f"expected {role.threshold} of the private keys for {signed.type} in {keys.folder}, "
            f"got {len(signers)}",
            hint="bring the keys that are kept offline",
        )
    metadata = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def _write(repository: Path, blobs: dict[str, bytes]) -> None:
    for name, data in blobs.items():
        path = repository / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {path.parent}: {error.strerror}") from error
        files.write_atomically(path, data)


@contextlib.contextmanager
def _alone(repository: Path) -> Iterator[None]:
    """Be the only one that signs this repository, which is made where there is none."""
    try:
        repository.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(repository, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"cannot open {repository}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise StorageError(f"{repository} is being signed by another process") from None
    finally:
        os.close(descriptor)
