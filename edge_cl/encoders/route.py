"""How a network is asked to be run, as it is told to a runner and to the trial of a network."""

from __future__ import annotations

import msgspec

__all__ = ["ON_CPU", "Route"]


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a network is to run on.

    accelerator : a name of `edge_cl.encoders.accelerators`.
    options : of the execution provider or delegate, besides its default ones.
    strict : whether a node that does not run there is an error.
    """

    accelerator: str = "cpu"
    options: dict[str, str] = {}
    strict: bool = False


ON_CPU = Route()
