"""Tensors with a typed header in one file, under a digest of both.

A safetensors file whose one metadata entry is the digest and the header as JSON. Whatever was
changed after it was written is found before anything is used; that the numbers make sense is
for the caller to check.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from numpy.typing import NDArray

from edge_cl.errors import StateError

_Header = TypeVar("_Header", bound=msgspec.Struct)


def seal(header: msgspec.Struct, tensors: dict[str, NDArray[Any]]) -> bytes:
    """Return the file's bytes; `tensors` are C-contiguous."""
    from safetensors.numpy import save

    text = msgspec.json.encode(header, order="sorted").decode()
    # One entry: safetensors writes several in an order that changes from run to run
    return save(tensors, {"edge_cl": f"{_digest(text, tensors)} {text}"})


def unseal(path: Path, kind: type[_Header]) -> tuple[_Header, dict[str, NDArray[Any]]]:
    """Return header and tensors of a file that `seal` made, with a header of this kind.

    Raises
    ------
    StateError : it cannot be read, is damaged, or has another header.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        entry = msgspec.json.decode(data[8 : 8 + length])["__metadata__"]["edge_cl"]
        tensors = load(data)
        digest, _, text = entry.partition(" ")
        if digest == _digest(text, tensors):
            return msgspec.json.decode(text, type=kind), tensors
        reason = "its digest does not match"
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror}") from error
    except (
        *(msgspec.MsgspecError, SafetensorError, RecursionError),
        *(KeyError, ValueError, TypeError, AttributeError),
    ) as error:
        reason = str(error)
    raise StateError(
        f"{path} is not what this version writes: {reason}",
        hint="restore it from a copy, or update edge-cl",
    )


def _digest(text: str, tensors: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, a in sorted(tensors.items()):
        digest.update(f"|{name}|{a.dtype.str}|{a.shape}|".encode() + a.tobytes())
    return digest.hexdigest()
