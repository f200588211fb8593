"""The ZIP archive of a bundle, in the one form that this package writes.

Any ZIP tool opens it; this reader accepts nothing else. A ZIP says everything twice, before
each member and in a directory at the end, and readers differ in which they believe. Here
everything but a member's name, checksum and size is a constant, and the directory must be, byte
for byte, the one that follows from the members. So there is no room for links, devices, folders,
times, comments, extra fields, gaps, or bytes before, between or behind: the same members have one
archive, and an archive with any byte changed is another or none.

No size is believed before it was compared with its limit and with the bytes that are there, and
no name is ever used as a path.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from edge_cl.errors import BundleError
from edge_cl.manifest import MAX_MEMBERS, MEMBER, largest

__all__ = ["MANIFEST", "pack", "unpack"]

MANIFEST = "manifest.json"

# signature, version 2.0, no flags, stored, 1 January 1980; then what differs: crc, size twice,
# length of the name; no extra field
_LOCAL = struct.Struct("<4s5H3I2H")
_LOCAL_CONSTANTS = (b"PK\x03\x04", 20, 0, 0, 0, 33)
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_CENTRAL_CONSTANTS = (b"PK\x01\x02", 20 | 3 << 8, 20, 0, 0, 0, 33)
_REGULAR_FILE = 0o600 << 16  # what other tools unpack it as
_END = struct.Struct("<4s4H2IH")
_DAMAGED = "the file may be cut short; fetch or export it again"
_EDITED = "the bundle was damaged or edited; fetch or export it again"


class _Entry(NamedTuple):
    name: bytes
    crc: int
    size: int
    offset: int  # of the header

    @property
    def start(self) -> int:
        """Where its bytes begin."""
        return self.offset + _LOCAL.size + len(self.name)


def pack(head: bytes, members: Mapping[str, bytes]) -> bytes:
    """Return the archive of a manifest and its members: the same content, the same bytes."""
    parts: list[bytes] = []
    entries = []
    offset = 0
    for name, data in [(MANIFEST, head), *sorted(members.items())]:
        entry = _Entry(name.encode("ascii"), zlib.crc32(data), len(data), offset)
        entries.append(entry)
        parts += [_local(entry), entry.name, data]
        offset = entry.start + entry.size
    return b"".join([*parts, _directory(entries, offset, _digest(head))])


def unpack(data: bytes, where: str) -> dict[str, bytes]:
    """Return manifest and members of an archive that `pack` made; `where` is for the errors.

    Raises
    ------
    BundleError : any other bytes.
    """
    entries, end = _walk(data, where)
    head = data[entries[0].start : entries[0].start + entries[0].size]
    comment = data[-64:]
    if data[end:] != _directory(entries, end, comment):
        raise BundleError(
            f"{where}: the archive's directory is not the one that its members make",
            hint=_DAMAGED,
        )
    if comment != _digest(head):
        raise BundleError(f"{where}: the manifest is not the one that was written", hint=_EDITED)
    members = {}
    for entry in entries:
        member = data[entry.start : entry.start + entry.size]
        if zlib.crc32(member) != entry.crc:
            raise BundleError(f"{where}: {entry.name.decode()} is damaged", hint=_EDITED)
        members[entry.name.decode()] = member
    return members


def _walk(data: bytes, where: str) -> tuple[list[_Entry], int]:
    """Return the members as their headers tell, and where the directory must begin."""
    if not data.startswith(_LOCAL_CONSTANTS[0]):
        raise BundleError(f"{where} is not an edge-cl bundle, or damaged", hint=_DAMAGED)
    entries: list[_Entry] = []
    offset = 0
    while data.startswith(_LOCAL_CONSTANTS[0], offset):
        if len(entries) == MAX_MEMBERS:
            raise BundleError(f"{where} has more than {MAX_MEMBERS} members")
        entry = _entry(data, offset, where)
        _check_name(entry, entries, where)
        offset = entry.start + entry.size
        entries.append(entry)
    return entries, offset


def _entry(data: bytes, offset: int, where: str) -> _Entry:
    if len(data) - offset < _LOCAL.size:
        raise BundleError(f"{where} ends within a header", hint=_DAMAGED)
    *constants, crc, packed, size, name_length, extra = _LOCAL.unpack_from(data, offset)
    start = offset + _LOCAL.size + name_length
    name = data[offset + _LOCAL.size : start]
    shown = ascii(name.decode("ascii", "replace"))[:80]
    if tuple(constants) != _LOCAL_CONSTANTS or packed != size or extra:
        raise BundleError(
            f"{where}: {shown} is compressed, encrypted, or was not written by edge-cl"
        )
    if size > len(data) - start:
        raise BundleError(f"{where}: {shown} claims {size} bytes, more than follow", hint=_DAMAGED)
    return _Entry(name, crc, size, offset)


def _check_name(entry: _Entry, before: list[_Entry], where: str) -> None:
    name = entry.name.decode("ascii", "replace")
    if not before and name != MANIFEST:
        raise BundleError(f"{where} is not an edge-cl bundle: no manifest comes first")
    if entry.name in (e.name for e in before):
        raise BundleError(f"{where}: {ascii(name)[:80]} occurs twice")
    if before and not MEMBER.fullmatch(name):
        raise BundleError(f"{where}: unknown member {ascii(name)[:80]}")
    if len(before) > 1 and entry.name < before[-1].name:
        raise BundleError(f"{where}: the members are not in order of their names")
    if entry.size > largest(name):
        raise BundleError(f"{where}: {name} has {entry.size} bytes, at most {largest(name)} may be")


def _local(entry: _Entry) -> bytes:
    sizes = (entry.size, entry.size)
    return _LOCAL.pack(*_LOCAL_CONSTANTS, entry.crc, *sizes, len(entry.name), 0)


def _directory(entries: list[_Entry], start: int, comment: bytes) -> bytes:
    """Return what follows the members: one record for each, and the end with the comment."""
    records = b"".join(
        _CENTRAL.pack(
            *(*_CENTRAL_CONSTANTS, e.crc, e.size, e.size, len(e.name)),
            *(0, 0, 0, 0, _REGULAR_FILE, e.offset),
        )
        + e.name
        for e in entries
    )
    count = (0, 0, len(entries), len(entries))
    return records + _END.pack(b"PK\x05\x06", *count, len(records), start, len(comment)) + comment


def _digest(head: bytes) -> bytes:
    return hashlib.sha256(head).hexdigest().encode()
