"""States of format 1, which had one snapshot and no ring, become states of format 2.

One way: the old file is kept as it was, under another name, when the new ones are whole.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec
import numpy as np

from edge_cl import files
from edge_cl.errors import FormatError, StateError
from edge_cl.features import MapSpec
from edge_cl.forgetting import Everything, Forgetting
from edge_cl.heads import HeadOptions
from edge_cl.sealed import unseal
from edge_cl.store.header import TENSORS, Saved, StateHeader
from edge_cl.store.recovery import Proven

__all__ = ["OLD_SNAPSHOT", "migrated", "retire"]

OLD_SNAPSHOT = "snapshot.safetensors"

_KEPT = "snapshot.format-1.safetensors"


class _Header1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The header of format 1."""

    format_version: int
    bundle_name: str
    bundle_sha256: str
    encoder_sha256: str
    d: int
    scale: float
    map: MapSpec
    head: HeadOptions
    compared: tuple[HeadOptions, ...] = ()
    auto: bool = False
    statistics: tuple[str, ...] = ()
    forgetting: Forgetting = Everything()
    labels: tuple[str, ...]
    saturated: int


def migrated(folder: Path) -> Proven | None:
    """Return what an old state holds, as a new one; None where there is no old one.

    Raises
    ------
    StateError : it is damaged.
    """
    path = folder / OLD_SNAPSHOT
    try:
        old, tensors = unseal(path, _Header1, version=1)
    except FileNotFoundError:
        return None
    except FormatError as error:
        raise StateError(f"{path} is no state of an older edge-cl: {error}") from error
    if not tensors.keys() >= TENSORS - {"undo_seq", "marks"}:
        raise StateError(f"{path} holds the tensors {sorted(tensors)}, which is not a state")
    told = {field: getattr(old, field) for field in old.__struct_fields__}
    del told["format_version"]
    header = StateHeader(**told, nonce=secrets.token_hex(8), seq=0, floor=0)
    tensors["undo_seq"] = np.zeros(len(tensors["undo_y"]), np.int64)
    tensors["marks"] = np.zeros((0, 2), np.uint64)
    saved = Saved(header=header, tensors=tensors)
    return Proven(saved=saved, replay=[], earlier=[], seq=0, damaged_ring=True)


def retire(folder: Path) -> None:
    """Put the old snapshot out of the way; the new ones are whole."""
    old = folder / OLD_SNAPSHOT
    if old.exists():
        files.rename(old, folder / _KEPT)
