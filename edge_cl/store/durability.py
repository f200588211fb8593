"""When a lesson is on disk: before `learn` returns, a few lessons later, or when saved."""

from __future__ import annotations

import re

import msgspec

from edge_cl.errors import InputError

LARGEST_RING = 1 << 16


class Durability(msgspec.Struct, frozen=True, kw_only=True):
    """How changes reach the disk.

    each : how many calls share one commit, >= 1; 0: only `flush`, `save` and `close` commit.
    ring : samples that the ring of a new state holds. What it holds can be replayed, listed,
        and taken back by number.
    snapshot_every : samples between snapshots, at most a third of the ring: then either
        snapshot may rot, and the other one with the ring still gives everything.
    """

    each: int = 1
    ring: int = 4096
    snapshot_every: int = 1000

    def __post_init__(self) -> None:
        if self.each < 0:
            raise InputError(f"expected 0 or more calls a commit, got {self.each}")
        if not 3 <= 3 * self.snapshot_every <= self.ring <= LARGEST_RING:
            raise InputError(
                f"expected a ring of at most {LARGEST_RING} samples and of three times those "
                f"between snapshots, got {self.ring} and {self.snapshot_every}"
            )


def durability_named(text: str) -> Durability:
    """Parse what people type: lesson, group:N or save."""
    if text == "lesson":
        return Durability()
    if text == "save":
        return Durability(each=0)
    if found := re.fullmatch(r"group:([1-9][0-9]{0,5})", text):
        return Durability(each=int(found[1]))
    raise InputError(f"unknown durability {text!r}", hint="one of: lesson, group:N, save")
