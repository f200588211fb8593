"""What this machine is, what a board is, and what a learner needs of it.

`profile` holds what is published about boards, each figure with its source, and `recognise` finds
the one at hand; `machine` is what the machine at hand says of itself; `needs` the bytes that a
learner holds and moves.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "Machine",
    "Needs",
    "Profile",
    "describe_machine",
    "learner_needs",
    "load_profile",
    "profile_names",
    "refuse_oversized",
    "usable_cores",
]

# Imported when asked for: `needs` knows the heads, and with them the compiled kernels, and looking
# at a board must work where these end the process.
_HOME = {
    "Machine": "machine",
    "Needs": "needs",
    "Profile": "profile",
    "describe_machine": "machine",
    "learner_needs": "needs",
    "load_profile": "profile",
    "profile_names": "profile",
    "refuse_oversized": "needs",
    "usable_cores": "machine",
}

if TYPE_CHECKING:
    from edge_cl.device.machine import Machine, describe_machine, usable_cores
    from edge_cl.device.needs import Needs, learner_needs, refuse_oversized
    from edge_cl.device.profile import Profile, load_profile, profile_names


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edge_cl.device' has no attribute {name!r}")
    return getattr(import_module(f"edge_cl.device.{_HOME[name]}"), name)
