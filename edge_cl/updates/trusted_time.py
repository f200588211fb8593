"""Whether metadata has expired, by a time that cannot be turned back.

A board without a battery wakes up in 1970, when everything is fresh. So timestamp.json carries
the time at which it was signed (TUF itself has no such field), and expiry is judged by the
clock or, where the clock is earlier, by the newest signing time that was believed. What was
believed counts as long as the keys of today have signed it: replacing the timestamp's key also
ends a time that was set too far ahead.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from edge_cl.errors import MissingExtraError, UpdateError
from edge_cl.updates.refusals import EXPIRED
from edge_cl.updates.remembered import Remembered

try:
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Root, Signed, Snapshot, Targets, Timestamp
except ImportError as error:
    raise MissingExtraError("updating over the air", "update") from error

SIGNED_AT = "x-edge-cl-signed-at"
TIME = "%Y-%m-%dT%H:%M:%SZ"

_CLOCK_SLACK = timedelta(days=1)  # below, a clock that is behind is not worth a word

_Role = TypeVar("_Role", Root, Timestamp, Snapshot, Targets)


def refuse_expired(
    memory: Remembered, known: bytes | None, clock: datetime, url: str
) -> tuple[str, ...]:
    """Judge expiry by a time that does not go back; return what is worth telling."""
    root = loaded(Root, memory.newest_root())
    timestamp = loaded(Timestamp, memory.now("timestamp"))
    notes = []
    seen = [signed_at(timestamp)]
    for role in ("timestamp", "snapshot"):
        before = memory.before.get(f"{role}.json")
        if before is None:
            continue
        old = _believed(before, role, root)
        if isinstance(old, Timestamp):  # not a snapshot, for which no time is told
            seen.append(signed_at(old))
        if old is None and (known is None or _same_keys(role, loaded(Root, known), root)):
            notes.append(
                f"the remembered {role}.json was damaged: whether the repository was turned back "
                "could not be seen this time"
            )
    floor = max((time for time in seen if time is not None), default=clock)
    reference = max(clock, floor)
    for signed in (
        *(root, timestamp),
        loaded(Snapshot, memory.now("snapshot")),
        loaded(Targets, memory.now("targets")),
    ):
        if signed.is_expired(reference):
            raise UpdateError(
                f"{signed.type}.json of {url} expired on {signed.expires:{TIME}}, "
                f"it is {reference:{TIME}}",
                hint=EXPIRED,
            )
    if floor - clock > _CLOCK_SLACK:
        notes.append(
            f"the clock says {clock:{TIME}}, but metadata was signed on {floor:{TIME}}: expiry was "
            "judged by that; set the clock"
        )
    return tuple(notes)


def _believed(data: bytes, role: str, root: Root) -> Signed | None:
    """Return remembered metadata, or None where the keys of today did not sign it."""
    try:
        old: Metadata[Any] = Metadata.from_bytes(data)
        root.verify_delegate(role, old.signed_bytes, old.signatures)
    except (RepositoryError, ValueError):
        return None
    signed: Signed = old.signed
    return signed


def _same_keys(role: str, a: Root, b: Root) -> bool:
    return set(a.roles[role].keyids) == set(b.roles[role].keyids)


def signed_at(timestamp: Timestamp) -> datetime | None:
    """Return when a timestamp was signed; None where another tool made it."""
    text = timestamp.unrecognized_fields.get(SIGNED_AT)
    try:
        return datetime.strptime(str(text), TIME).replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def loaded(kind: type[_Role], data: bytes | None) -> _Role:
    """Return metadata that python-tuf has verified a moment ago."""
    loaded: Metadata[_Role] = Metadata.from_bytes(data or b"")
    if not isinstance(loaded.signed, kind):
        raise UpdateError(f"expected {kind.type} metadata, got {loaded.signed.type}")
    return loaded.signed
