"""One row of the ring: a sample that was learned or taken back, in a fixed number of bytes.

    offset  size
         0     8   seq     1, 2, 3 ... over the life of a state; 0: never written
         8    16   event   what the caller named the call; zeros: nothing
        24     1   kind    1 learned, 2 undone, 3 forgotten, 4 a note
        25     1   flags   1: the last row of its call, 2: the label was new
        26     2   bytes of the label
        28     8   target  seq of the lesson that is taken back; 0: not known
        36     8   when    wall clock in µs since 1970; shown, never relied on
        44     8   total   samples that were in after the call
        52   800   label   UTF-8, zeros behind it
       852   2 d   grid features, int16
         …     4   CRC-32 of all before

All numbers are little-endian. A row holds the label itself and not an index, so that it can be
read alone. The CRC is over everything: one over the features only lets a flipped label pass.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from edge_cl.arrays import I16
from edge_cl.errors import StateError
from edge_cl.labels import MAX_LABEL_LENGTH
from edge_cl.plausible import GRID_MAX

__all__ = ["Kind", "Row", "mark_of", "pack", "packed_kind", "row_bytes", "unpack"]

Kind = Literal["learned", "undone", "forgotten", "note"]

_KINDS: tuple[Kind, ...] = ("learned", "undone", "forgotten", "note")
_HEAD = struct.Struct("<Q16sBBHQqQ")
_CRC = struct.Struct("<I")
_LABEL = 4 * MAX_LABEL_LENGTH  # bytes, in UTF-8
_LAST, _NEW = 1, 2
_NO_EVENT = bytes(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a row says, its features apart.

    seq : its place among all changes.
    event : the 16 bytes that the caller named the call; None: nothing.
    label : the class as it was called then; of a note, its text.
    target : seq of the lesson that is taken back; 0 where it is not known.
    when_us : wall clock, µs since 1970.
    total : samples that were in after the call.
    last : whether the call ends here.
    new : whether the label was new.
    mark : CRC-32 of the features.
    """

    seq: int
    event: bytes | None
    kind: Kind
    label: str
    target: int
    when_us: int
    total: int
    last: bool
    new: bool
    mark: int


def row_bytes(d: int) -> int:
    """Return the size of a row of `d` features."""
    return _HEAD.size + _LABEL + 2 * d + _CRC.size


def pack(row: Row, q: I16) -> bytes:
    """Return the bytes of a row with features `q` (d,)."""
    label = row.label.encode()
    if len(label) > _LABEL:  # a note; labels are shorter
        label = label[:_LABEL].decode(errors="ignore").encode()
    head = _HEAD.pack(
        row.seq,
        row.event or _NO_EVENT,
        _KINDS.index(row.kind) + 1,
        _LAST * row.last + _NEW * row.new,
        len(label),
        row.target,
        row.when_us,
        row.total,
    )
    body = head + label.ljust(_LABEL, b"\0") + q.astype("<i2").tobytes()
    return body + _CRC.pack(zlib.crc32(body))


def unpack(data: bytes, d: int) -> tuple[Row, I16] | None:
    """Return a row and its features (d,), or None where none was written yet.

    Raises
    ------
    StateError : it is damaged.
    """
    if not data.strip(b"\0"):
        if len(data) != row_bytes(d):
            raise StateError(f"expected a row of {row_bytes(d)} bytes, got {len(data)}")
        return None
    if len(data) != row_bytes(d) or _CRC.unpack(data[-4:])[0] != zlib.crc32(data[:-4]):
        raise StateError("a row of the ring is damaged: its checksum does not match")
    seq, event, kind, flags, length, target, when_us, total = _HEAD.unpack_from(data)
    text, features = data[_HEAD.size : _HEAD.size + _LABEL], data[_HEAD.size + _LABEL : -4]
    q = np.frombuffer(features, "<i2").astype(np.int16)
    fits = (
        1 <= kind <= len(_KINDS)
        and length <= _LABEL
        and np.abs(q, dtype=np.int32).max() <= (GRID_MAX)
    )
    if not (seq and fits):
        raise StateError("a row of the ring is none that this edge-cl has written")
    try:
        label = text[:length].decode()
    except UnicodeDecodeError as error:
        raise StateError(f"a row of the ring has no label: {error}") from error
    row = Row(
        seq=seq,
        event=None if event == _NO_EVENT else event,
        kind=cast(Kind, _KINDS[kind - 1]),
        label=label,
        target=target,
        when_us=when_us,
        total=total,
        last=bool(flags & _LAST),
        new=bool(flags & _NEW),
        mark=zlib.crc32(features),
    )
    return row, q


def packed_kind(data: bytes) -> tuple[Kind, int]:
    """Return kind and target of a packed row."""
    _, _, kind, _, _, target, _, _ = _HEAD.unpack_from(data)
    return _KINDS[kind - 1], int(target)


def mark_of(q: I16) -> int:
    """Return the mark of features (d,): see `Row`."""
    return zlib.crc32(q.astype("<i2").tobytes())
