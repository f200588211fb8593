"""Running the whole demonstration, and what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from edge_cl.bundle import Bundle
from edge_cl.demo.keeping import KeepingReport, run_keeping
from edge_cl.demo.pictures import fashion, household
from edge_cl.demo.stream import StreamReport, run_stream
from edge_cl.device import Machine, describe_machine
from edge_cl.encoders import open_encoder

__all__ = ["DemoReport", "run_demo"]

_EQUAL = 1e-9  # relative; streamed and joint heads differ by rounding only


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """What the demonstration found."""

    bundle: str
    machine: Machine
    streams: tuple[StreamReport, ...]
    keeping: KeepingReport
    elapsed_s: float

    @property
    def passed(self) -> bool:
        """Streamed heads equal the joint fit, and nothing was lost or left behind."""
        differences = (d for s in self.streams for d in s.joint_difference.values())
        return self.keeping.passed and max(differences) < _EQUAL


def run_demo(
    bundle: Bundle,
    state: Path,
    *,
    threads: int | None = None,
    limit: int | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> DemoReport:
    """Run both streams and the checks of what is kept.

    Parameters
    ----------
    state : an empty folder for the learner's state.
    threads : of the encoder; None takes what `open_encoder` takes.
    limit : pictures a class and session, for a quick look; None takes all.
    progress : called with what is being done and the share done, 0..1.
    """
    start = perf_counter()
    report = progress or (lambda what, share: None)
    encoder = open_encoder(bundle, threads=threads)
    sets = [household(limit), fashion(limit)]
    streams = tuple(
        run_stream(
            pictures,
            bundle,
            encoder,
            progress=_under(report, pictures.name),
        )
        for pictures in sets
    )
    report("save, reopen, undo, forget", 0.0)
    keeping = run_keeping(sets[0].train, bundle, state)
    report("save, reopen, undo, forget", 1.0)
    return DemoReport(
        bundle=bundle.name,
        machine=describe_machine(),
        streams=streams,
        keeping=keeping,
        elapsed_s=perf_counter() - start,
    )


def _under(report: Callable[[str, float], None], name: str) -> Callable[[str, float], None]:
    return lambda what, share: report(f"{name}: {what}", share)
