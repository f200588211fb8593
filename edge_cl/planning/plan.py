"""What a learner will need on a machine: bytes counted, times predicted, and what would fit.

Bytes follow from what a learner keeps (`edge_cl.device.needs`), times from counted work and the
speed of the machine (`work`, `speed`, `encoding`). Nothing is run there: what a prediction rests
on is told with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_cl.bundle import Bundle, EncoderSpec
from edge_cl.device.needs import Needs, learner_needs
from edge_cl.encoders import choose_encoder
from edge_cl.encoders.network_work import NetworkWork, network_work
from edge_cl.errors import InputError
from edge_cl.features import MapSpec, feature_map, map_named
from edge_cl.heads import HeadOptions, head_options
from edge_cl.planning import footprint
from edge_cl.planning.alternatives import Alternative, Setup, alternatives
from edge_cl.planning.encoding import board_encoding
from edge_cl.planning.small_network import encoding_here
from edge_cl.planning.span import Assumption, Span
from edge_cl.planning.speed import milliseconds
from edge_cl.planning.target import Limit, Target, target_named
from edge_cl.planning.work import STAGES, work_of

__all__ = ["Fit", "Plan", "Planner", "plan"]

_COUNTABLE = ("onnx", "litert")  # networks for an NPU say nothing of their layers
_MOST_THREADS = 4  # as `edge_cl.encoders.open_encoder` takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Whether it fits into a memory, and what would where it does not."""

    limit: Limit
    fits: bool
    instead: tuple[Alternative, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was found.

    needs : of the learner; `memory`: of the whole process by part, in bytes, `passing` included.
    written : bytes that one lesson writes to the disk, its share of snapshots included.
    times : stage -> ms, or None where it cannot be predicted. "pause": what the longest lesson
        takes besides; "flush": what comes between a lesson and the next answer; "whole": the first
        answer after a state was opened and something was learned, or after many lessons at once.
    macs : multiply-adds of the encoder for one picture; 0 where features come ready-made.
    """

    device: str
    bundle: str
    encoder: str
    threads: int
    setup: Setup
    needs: Needs
    memory: dict[str, int]
    written: int
    times: dict[str, Span | None]
    macs: int
    fits: tuple[Fit, ...]
    assumptions: tuple[Assumption, ...]

    @property
    def peak_bytes(self) -> int:
        """Of the whole process, at most."""
        return sum(self.memory.values())


class Planner:
    """A bundle and a machine; `plan` for as many setups as one likes."""

    def __init__(
        self,
        bundle: Bundle,
        target: Target,
        *,
        runtime: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.bundle = bundle
        self.target = target
        if threads is not None and threads > target.cores:  # what more would give is not known
            raise InputError(
                f"expected at most {target.cores} threads, the fastest cores of {target.name}, "
                f"got {threads}"
            )
        self.threads = threads or min(_MOST_THREADS, target.cores)
        self._spec: EncoderSpec | None = choose_encoder(bundle, runtime, precision)
        self._work: NetworkWork | None = None
        if self._spec is not None and self._spec.runtime in _COUNTABLE:
            self._work = network_work(bundle, self._spec)
        self._encoding, self._told = self._encode()

    def takes(self, setup: Setup) -> int:
        """Return the bytes that a process with this setup takes at most."""
        return sum(self._memory(setup).values())

    def plan(self, setup: Setup) -> Plan:
        """Return what a setup needs on the machine."""
        needs = _needs(setup)
        fits = []
        for limit in self.target.limits:
            enough = self.takes(setup) <= limit.usable
            instead = () if enough else alternatives(setup, self.takes, limit.usable)
            fits.append(Fit(limit=limit, fits=enough, instead=instead))
        return Plan(
            device=self.target.name,
            bundle=self.bundle.name,
            encoder=f"{self._spec.runtime} {self._spec.precision}" if self._spec else "none",
            threads=self.threads,
            setup=setup,
            needs=needs,
            memory=self._memory(setup),
            written=_written(needs),
            times={"encode": self._encoding, **self.times(setup)},
            macs=self._work.macs if self._work else 0,
            fits=tuple(fits),
            assumptions=(*self._told, *self.target.assumptions, *footprint.ASSUMPTIONS),
        )

    def times(self, setup: Setup) -> dict[str, Span | None]:
        """Return ms of the stages behind the encoder."""
        d, speed = _needs(setup).d, self.target.speed
        found: dict[str, Span | None] = {}
        for stage in STAGES:
            work = work_of(stage, setup.d_in, d, setup.classes, setup.head, setup.feature_map)
            found[stage] = None if speed is None else milliseconds(work, speed)
        return found

    def _memory(self, setup: Setup) -> dict[str, int]:
        parts = footprint.process_memory(_needs(setup), self.bundle, self._spec, self._work)
        return parts if setup.numba else {n: b for n, b in parts.items() if n != "numba"}

    def _encode(self) -> tuple[Span | None, tuple[Assumption, ...]]:
        if self._spec is None:
            return Span(0.0, 0.0), ()
        if self._work is None:
            why = f"what a {self._spec.runtime} network computes cannot be counted"
            return None, (Assumption(why, self.bundle.name, True),)
        runtime, precision = self._spec.runtime, self._spec.precision
        if self.target.profile is not None:
            return board_encoding(self.target.profile, self._work, runtime, precision, self.threads)
        if self.target.speed is None:
            return None, ()
        return encoding_here(self._work, runtime, precision, self.threads, self.target.speed)


def plan(
    bundle: Bundle,
    device: str,
    *,
    head: str | HeadOptions = "ridge",
    feature_map: str | MapSpec = "identity",
    classes: int = 100,
    d: int | None = None,
    runtime: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    budget_mb: int | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> tuple[Plan, Planner]:
    """Return what a learner needs on a machine, and the planner for other setups there.

    Parameters
    ----------
    device : a profile by name, the path of one, or "here": this machine, measured in a second.
    d : features, as if the embedding were projected to so many.
    budget_mb : that the process may take, in the place of the memory that the machine has.

    Raises
    ------
    InputError : an option does not exist, or is out of range.
    MissingExtraError : the library that counts the encoder's work is not installed.
    """
    report = progress or (lambda name, share: None)
    options = head_options(head)
    wanted = map_named(feature_map) if isinstance(feature_map, str) else feature_map
    own = bundle.manifest.embedding.d
    if threads is not None and threads < 1:
        raise InputError(f"expected threads >= 1, got {threads}")
    if classes < 1:
        raise InputError(f"expected classes >= 1, got {classes}")
    if d is not None and not 1 <= d <= own:
        raise InputError(f"expected d in 1..{own}, the features of {bundle.name}, got {d}")
    _check(wanted, bundle)
    report("the machine", 0.0)
    target = target_named(device, budget_mb=budget_mb)
    report("the machine", 1.0)
    report("the encoder", 0.0)
    planner = Planner(bundle, target, runtime=runtime, precision=precision, threads=threads)
    setup = Setup(d_in=d or own, classes=classes, head=options, feature_map=wanted)
    found = planner.plan(setup)
    report("the encoder", 1.0)
    return found, planner


def _check(wanted: MapSpec, bundle: Bundle) -> None:
    """Raise InputError where the bundle cannot have this map."""
    feature_map(wanted, bundle.manifest.embedding)


def _needs(setup: Setup) -> Needs:
    return learner_needs(setup.d_in, setup.classes, head=setup.head, feature_map=setup.feature_map)


def _written(needs: Needs) -> int:
    """Return the bytes of a lesson: its pages in the log and in the ring, a share of a snapshot.

    A snapshot is written each thousand lessons.
    """
    pages = -(-(856 + 2 * needs.d) // 4096)
    snapshot = (needs.state_bytes - needs.disk["ring"]) // 2
    return pages * (4120 + 4096) + snapshot // 1000
