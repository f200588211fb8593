"""What the tensors of a snapshot mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from numpy.typing import NDArray

from edge_cl.features import MapSpec
from edge_cl.forgetting import Everything, Forgetting
from edge_cl.heads import HeadOptions

__all__ = [
    "FORMAT_VERSION",
    "TENSORS",
    "Call",
    "Promotion",
    "Records",
    "Relabelling",
    "Saved",
    "StateHeader",
]

FORMAT_VERSION = 2
# Of every state; the names of parts have a dot
TENSORS = {"n", "Q", "G", "undo_q", "undo_y", "undo_seq", "marks"}


class Relabelling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples before `seq` that were learned as `old` are of class `new`; "": of none."""

    seq: int
    old: str
    new: str


class Promotion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One head came to serve in the place of another, or was found no better.

    seq : when.
    before, after : the head that served, and the one that was to replace it.
    by : "rule" (`head="auto"`) or "command".
    rows : what both were tested on: "prequential", each sample before it was learned, or
        "held-out".
    tested : how many rows; faded ones count in part.
    accuracy_before, accuracy_after : share of right answers on these rows.
    promoted : whether `after` serves now.
    """

    seq: int
    before: str
    after: str
    by: Literal["rule", "command"]
    rows: Literal["prequential", "held-out"]
    tested: float
    accuracy_before: float
    accuracy_after: float
    promoted: bool


class Call(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a call that the ring does not hold has answered, so that a retry gets it again."""

    event: str  # in hex
    kind: str
    seq: int
    samples: int
    total: int
    new_classes: tuple[str, ...] = ()


class Records(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happened that neither sums nor rows tell.

    relabelled : what classes were called before, in order.
    gone : ranges of seq that were rolled back, or lost.
    promotions : which head came to serve in the place of which; the newest ones.
    last_call : the newest call that went past the ring.
    lost : samples that damage has cost so far, as far as they could be counted.
    """

    relabelled: tuple[Relabelling, ...] = ()
    gone: tuple[tuple[int, int], ...] = ()
    promotions: tuple[Promotion, ...] = ()
    last_call: Call | None = None
    lost: int = 0


class StateHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the tensors of a snapshot mean, and which encoder they belong to.

    nonce : drawn when the state began; its ring and its snapshots have the same.
    seq : changes so far; the ring goes on behind it.
    floor : the newest change that only snapshots hold. A snapshot before it leads nowhere.
    archive : whether the ring's file keeps every row, not only the newest.
    """

    format_version: int = FORMAT_VERSION
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
    nonce: str
    seq: int
    floor: int
    archive: bool = False
    records: Records = Records()


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """One snapshot: what the tensors mean, and the tensors of all parts."""

    header: StateHeader
    tensors: dict[str, NDArray[Any]]
