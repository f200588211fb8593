"""What a device asks of a repository, and what it refuses.

The protocol is python-tuf's: root keys and their rotation, thresholds, versions that only grow,
lengths and digests, expiry. Added here are limits on every length, no delegations, and a time
that cannot be turned back: expiry is judged by the clock or, where that is earlier, by the
newest signing time among the metadata that was believed. A board without a battery wakes up in
1970, when everything is fresh.

An update that is refused raises UpdateError and has changed nothing on the shelf.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edge_cl import __version__
from edge_cl.bundle import read_bundle
from edge_cl.errors import BundleError, MissingExtraError, UpdateError
from edge_cl.manifest import MAX_BUNDLE_BYTES
from edge_cl.shelf import Installed, Shelf
from edge_cl.signing import MAX_SIGNATURE_BYTES
from edge_cl.updates.refusals import refused
from edge_cl.updates.remembered import remembered
from edge_cl.updates.transport import MAX_METADATA_BYTES, RepositoryFetcher, repository_url
from edge_cl.updates.trusted_time import loaded, refuse_expired

try:
    from tuf.api.metadata import TargetFile, Targets
    from tuf.ngclient import Updater, UpdaterConfig
except ImportError as error:
    raise MissingExtraError("updating over the air", "update") from error

__all__ = ["Update", "fetch_update", "update_shelf"]

TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.edgecl")

_HEX = re.compile(r"[0-9a-f]{64}")
_LIMITS = UpdaterConfig(
    max_root_rotations=256,  # since the root that the device came with
    max_delegations=0,
    root_max_length=64 << 10,
    timestamp_max_length=16 << 10,
    snapshot_max_length=64 << 10,
    targets_max_length=MAX_METADATA_BYTES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """The newest bundle of a repository.

    target : its name there.
    sha256 : the bundle's identity.
    data, signature : its bytes, verified; None where it was not fetched, or not signed.
    notes : what is worth telling, a line each.
    """

    target: str
    sha256: str
    data: bytes | None
    signature: bytes | None
    notes: tuple[str, ...]


def fetch_update(
    repository: str,
    *,
    root: bytes,
    cache: Path,
    name: str | None = None,
    have: Collection[str] = (),
    now: datetime | None = None,
    idle_s: float = 30.0,
    total_s: float = 3600.0,
) -> Update:
    """Ask a repository for its newest bundle, and verify it.

    Parameters
    ----------
    repository : a URL (http, https, file) or the path of a folder.
    root : root metadata that this device trusts from the start.
    cache : folder in which is remembered what was believed; made where there is none.
    name : of the bundle there; needed where the repository has more than one.
    have : sha256 of bundles that need not be fetched.
    now : by which expiry is judged; None: by the clock.
    idle_s, total_s : see `RepositoryFetcher`.

    Raises
    ------
    UpdateError : it cannot be fetched, or is not to be trusted.
    BundleError : what was published is no bundle that this version reads.
    StorageError : what was believed cannot be remembered.
    InputError : `repository` is no place.
    """
    url = repository_url(repository)
    fetcher = RepositoryFetcher(__version__, idle_s=idle_s, total_s=total_s)
    with remembered(cache) as memory:
        with refused("the root metadata of this device"):
            updater = Updater(
                metadata_dir=str(memory.work),
                metadata_base_url=f"{url}metadata/",
                target_base_url=f"{url}targets/",
                fetcher=fetcher,
                config=_LIMITS,
                bootstrap=root,
            )
        known = memory.newest_root()
        try:
            with refused(url):
                updater.refresh()
        finally:
            memory.keep()  # also what was believed before something was refused
        notes = refuse_expired(memory, known, now or datetime.now(timezone.utc), url)
        listed = loaded(Targets, memory.now("targets")).targets
        target = _chosen(listed, name, url)
        told = _custom_sha256(listed[target])
        if told is not None and told in have:
            return Update(target=target, sha256=told, data=None, signature=None, notes=notes)
        data = _download(updater, listed[target], memory.work, MAX_BUNDLE_BYTES, url)
        signed = listed.get(f"{target}.sig")
        signature = (
            _download(updater, signed, memory.work, MAX_SIGNATURE_BYTES, url) if signed else None
        )
    found = read_bundle(data, target).sha256
    if told is not None and told != found:
        raise UpdateError(
            f"{target} of {url}: expected bundle {told[:12]}, got {found[:12]}",
            hint="publish it again",
        )
    return Update(target=target, sha256=found, data=data, signature=signature, notes=notes)


def update_shelf(
    shelf: Shelf,
    repository: str,
    *,
    root: bytes,
    name: str | None = None,
    force: bool = False,
    now: datetime | None = None,
) -> tuple[Update, Installed | None]:
    """Fetch the newest bundle and install it on a shelf; None where it is current already.

    Parameters
    ----------
    force : fetch and install it whatever the shelf has, and also where it failed here before.

    Raises
    ------
    BundleError : it failed on this shelf before, or the shelf's `check` refuses it.
    UpdateError, StorageError, InputError, StateError : see `fetch_update` and `Shelf.install`.
    """
    before = shelf.status
    current = before.current or ""
    update = fetch_update(
        repository,
        root=root,
        cache=shelf.folder / "updates",
        name=name,
        have=() if force else (current, *before.bad),
        now=now,
    )
    if update.sha256 in before.bad and not force:
        raise BundleError(
            f"{update.target} ({update.sha256[:12]}) failed on {shelf.folder} before",
            hint="publish another one, or force it",
        )
    if update.data is None:
        return update, None
    return update, shelf.install(update.data, signature=update.signature, force=force)


def _chosen(listed: dict[str, TargetFile], name: str | None, url: str) -> str:
    names = sorted(target for target in listed if TARGET.fullmatch(target))
    if name is None and len(names) == 1:
        return names[0]
    wanted = f"{name}.edgecl" if name is not None else None
    if wanted in names and wanted is not None:
        return wanted
    expected = f"a bundle named {name}" if name is not None else "one bundle"
    raise UpdateError(
        f"expected {expected} in {url}, found {', '.join(names) or 'none'}",
        hint="name one of them" if names else "publish one",
    )


def _custom_sha256(target: TargetFile) -> str | None:
    custom = target.custom
    told = custom.get("sha256") if isinstance(custom, dict) else None
    return told if isinstance(told, str) and _HEX.fullmatch(told) else None


def _download(updater: Updater, target: TargetFile, folder: Path, limit: int, url: str) -> bytes:
    if target.length > limit:
        raise UpdateError(
            f"{target.path} of {url} has {target.length} bytes, at most {limit} are taken",
            hint="publish another one",
        )
    if not _HEX.fullmatch(target.hashes.get("sha256", "")) or len(target.hashes) != 1:
        raise UpdateError(
            f"expected one digest of {target.path} of {url}, a sha256, got "
            f"{', '.join(sorted(target.hashes))}",
            hint="publish it with edge-cl publish",
        )
    path = folder / "target"
    with refused(url):
        updater.download_target(target, filepath=str(path))
    return path.read_bytes()
