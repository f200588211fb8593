"""The state of a learner on disk: durable before it is visible, proven when it is read."""

from __future__ import annotations

from edge_cl.store.durability import Durability, durability_named
from edge_cl.store.folder import PRESENT, Store, is_state
from edge_cl.store.header import TENSORS, Call, Promotion, Records, Relabelling, Saved, StateHeader
from edge_cl.store.recovery import Proven, Recovery

__all__ = [
    "PRESENT",
    "TENSORS",
    "Call",
    "Durability",
    "Promotion",
    "Proven",
    "Records",
    "Recovery",
    "Relabelling",
    "Saved",
    "StateHeader",
    "Store",
    "durability_named",
    "is_state",
]
