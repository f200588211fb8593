"""Tensors with a typed header in one file, under a digest of both.

A safetensors file whose one metadata entry is the digest and the header as JSON. Whatever was
changed after it was written is found before anything is used; that the numbers make sense is
for the caller to check. A header has the field `format_version`.
"""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_cl.errors import FormatError, StateError, StorageError
from edge_cl.files import refuse_special

__all__ = ["digest", "seal", "unseal"]

MAX_HEADER_BYTES = 95 << 20  # 100,000 labels of 200 characters; safetensors reads 100 MB
_HINT = "restore it from a copy, or start anew in another place"

_Header = TypeVar("_Header", bound=msgspec.Struct)


def seal(header: msgspec.Struct, tensors: dict[str, NDArray[Any]]) -> bytes:
    """Return the file's bytes: the same for the same content."""
    from safetensors.numpy import save

    text = msgspec.json.encode(header, order="sorted").decode()
    tensors = {name: np.ascontiguousarray(a) for name, a in tensors.items()}
    if len(text.encode()) + text.count('"') + text.count("\\") > MAX_HEADER_BYTES - 4096:
        raise StorageError(f"a header of {len(text)} characters is too large to be read again")
    # One entry: safetensors writes several in an order that changes from run to run
    return save(tensors, {"edge_cl": f"{digest(text, tensors)} {text}"})


def unseal(
    path: Path, kind: type[_Header], *, version: int
) -> tuple[_Header, dict[str, NDArray[Any]]]:
    """Return header and tensors of a file that `seal` made, with a header of this kind.

    Raises
    ------
    FileNotFoundError : there is no file.
    StateError : it is damaged (the medium, or the bytes), or has another header.
    FormatError : it has another format.
    StorageError : it may not be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    refuse_special(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except MemoryError:
        raise StateError(f"{path} is larger than memory", hint=_HINT) from None
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        if error.errno == errno.EIO:
            raise StateError(message, hint=_HINT) from error
        raise StorageError(message) from error
    damaged = f"{path} is damaged"
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(MAX_HEADER_BYTES, len(data) - 8):
        raise StateError(f"{damaged}: it is cut short", hint=_HINT)
    try:
        entry = msgspec.json.decode(data[8 : 8 + length], type=_Preamble).metadata.edge_cl
        tensors = load(data)
    except (
        *(msgspec.MsgspecError, SafetensorError, RecursionError),
        *(KeyError, ValueError, TypeError),
    ) as error:
        raise StateError(f"{damaged}: {error}", hint=_HINT) from error
    found, _, text = entry.partition(" ")
    if found != digest(text, tensors):
        raise StateError(f"{damaged}: its digest does not match", hint=_HINT)
    try:
        told = msgspec.json.decode(text, type=_Version).format_version
        if told != version:
            raise FormatError(
                f"{path} has format {told}, this edge-cl reads {version}", hint="update edge-cl"
            )
        return msgspec.json.decode(text, type=kind), tensors
    except (msgspec.MsgspecError, RecursionError) as error:
        raise StateError(f"{path}: the header does not fit: {error}") from error


def digest(text: str, tensors: dict[str, NDArray[Any]]) -> str:
    """Return the sha256 in hex of a header and all tensors with their names and shapes."""
    sha = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        a = tensors[name]
        sha.update(f"|{name}|{a.dtype.str}|{a.shape}|".encode())
        sha.update(np.ascontiguousarray(a).data if a.size else b"")
    return sha.hexdigest()


class _Metadata(msgspec.Struct):
    edge_cl: str


class _Preamble(msgspec.Struct):
    metadata: _Metadata = msgspec.field(name="__metadata__")


class _Version(msgspec.Struct):
    format_version: int
