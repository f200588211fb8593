"""What was found when a bundle's encoders were run on this machine, as data."""

from __future__ import annotations

from dataclasses import dataclass

from edge_cl.agreement import Agreement
from edge_cl.device import Machine
from edge_cl.placement import Placement

__all__ = ["Between", "EncoderCheck", "HeadsHere", "Latency", "Verified"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds of one input, over `runs` runs."""

    median_ms: float
    p99_ms: float
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadsHere:
    """Accuracy by head, learned and tested here on `tested` inputs; see `edge_cl.held_out`."""

    accuracy: dict[str, float]
    tested: int
    held_out: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderCheck:
    """One encoder file on this machine.

    placement : where it ran here.
    workstation : against what the same file gave where it was made; None: not in the bundle.
    heads : None unless labelled inputs were given.
    """

    member: str
    runtime: str
    precision: str
    placement: Placement
    float_model: Agreement
    workstation: Agreement | None
    latency: Latency
    heads: HeadsHere | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """Two encoder files of one precision, on this machine."""

    members: tuple[str, str]
    agreement: Agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was found.

    threads : of each encoder.
    skipped : member -> why it cannot run here: a library is missing.
    failed : member -> why it does not work here.
    misses : one line for each bar that was missed; empty where this machine sees the same.
    verdict : the same in plain words.
    """

    bundle: str
    bundle_sha256: str
    machine: Machine
    threads: int
    inputs: int
    min_cosine: float
    min_workstation: float
    encoders: tuple[EncoderCheck, ...]
    between: tuple[Between, ...]
    skipped: dict[str, str]
    failed: dict[str, str]
    misses: tuple[str, ...]
    verdict: str
