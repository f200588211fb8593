"""Where a network runs: by which library, on what, with how many threads, on which cores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Placement", "core_ranges"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a loaded network runs, as its library tells it.

    runtime, precision : of the encoder; "none" and empty where features come ready-made.
    accelerator : what was asked for, a name of `edge_cl.encoders.accelerators`.
    threads : 0: as ONNX Runtime does by itself, one a core, spinning.
    cores : that its threads are kept on; None: wherever the system puts them.
    nodes : execution provider or delegate -> nodes of the network that it runs, as the library
        counts them; empty where it does not tell.
    fallbacks : one line for what does not run where it was asked to; empty: all of it does.
    tuned : the day on which `edge-cl tune` chose this here; empty: it did not.
    """

    runtime: str
    precision: str
    accelerator: str
    threads: int
    cores: tuple[int, ...] | None
    nodes: dict[str, int]
    fallbacks: tuple[str, ...] = ()
    tuned: str = ""

    @property
    def line(self) -> str:
        """The same in one line, but for the fallbacks."""
        if self.runtime == "none":
            return "no network: features come ready-made"
        cores = "any" if self.cores is None else core_ranges(self.cores)
        nodes = ", ".join(f"{where} {count}" for where, count in self.nodes.items())
        return (
            f"{self.runtime} {self.precision} on {self.accelerator}, "
            f"threads: {self.threads or 'as the library does'}, "
            f"cores: {cores}, nodes: {nodes or 'not told'}"
            + (f"; tuned on {self.tuned}" if self.tuned else "")
        )


def core_ranges(cores: Iterable[int]) -> str:
    """Return core numbers as people write them: `0,2-3`."""
    runs: list[list[int]] = []
    for number in sorted(set(cores)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)
