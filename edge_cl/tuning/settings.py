"""What can be tried on this machine: encoders x accelerators x threads x sets of cores.

    encoders       those of the bundle that fit the wishes, each format once
    accelerators   the CPU, and what the board's profile lists for the encoder's runtime
    cores          one kind of cores in a machine: wherever the system puts threads; several:
                   each kind by itself, and all of them
    threads        1, 2, 4, ... and as many as the set has cores

The baseline is ONNX Runtime as it comes, on the CPU: a thread a core, which wait for work without
sleeping ("spin"). It is a setting like any other (`threads = 0`), and the one to beat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from edge_cl.bundle import EncoderSpec
from edge_cl.device.processors import core_clusters
from edge_cl.device.profile import Profile
from edge_cl.encoders.choice import made_for
from edge_cl.encoders.cores import cores_named
from edge_cl.placement import core_ranges

__all__ = ["Setting", "baseline_for", "core_sets", "settings_for", "thread_counts"]

_ACCURACY = {"fp32": 0, "fp16": 1, "int8": 2}


class Setting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to run one encoder.

    threads : 0: as ONNX Runtime does by itself, all cores and spinning.
    cores : that the threads are kept on; None: wherever the system puts them.
    """

    member: str
    runtime: str
    precision: str
    accelerator: str = "cpu"
    options: tuple[tuple[str, str], ...] = ()
    threads: int
    cores: tuple[int, ...] | None = None

    @property
    def line(self) -> str:
        """The same in one line."""
        threads = "default threads" if self.threads == 0 else f"{self.threads} thread"
        threads += "s" if self.threads > 1 else ""
        cores = "" if self.cores is None else f", cores {core_ranges(self.cores)}"
        return f"{self.runtime} {self.precision} on {self.accelerator}, {threads}{cores}"

    @property
    def burden(self) -> tuple[bool, int, int]:
        """What decides between settings that are equally fast: the least of these is taken.

        Spinning takes cores from everything else; so does each thread; then the more accurate
        format is the better one.
        """
        return self.threads == 0, self.threads, _ACCURACY[self.precision]


def settings_for(specs: Sequence[EncoderSpec], profile: Profile | None) -> tuple[Setting, ...]:
    """Return what can be tried of these encoders here, the most promising first."""
    sets = core_sets()
    found = [
        Setting(
            member=spec.member,
            runtime=spec.runtime,
            precision=spec.precision,
            accelerator=accelerator,
            options=options,
            threads=threads,
            cores=cores,
        )
        for spec in specs
        for accelerator, options in _accelerators(spec, profile)
        for cores, size in (sets if accelerator in ("cpu", "xnnpack") else sets[-1:])
        for threads in (thread_counts(size) if accelerator in ("cpu", "xnnpack") else (size,))
    ]
    # Accelerators, then small formats, then many threads: what is tried first is surely tried
    return tuple(
        sorted(found, key=lambda s: (s.accelerator == "cpu", -_ACCURACY[s.precision], -s.threads))
    )


def baseline_for(specs: Sequence[EncoderSpec]) -> Setting | None:
    """Return ONNX Runtime as it comes, on its smallest format; None where no encoder is ONNX."""
    onnx = [spec for spec in specs if spec.runtime == "onnx"]
    if not onnx:
        return None
    spec = max(onnx, key=lambda s: _ACCURACY[s.precision])
    return Setting(member=spec.member, runtime="onnx", precision=spec.precision, threads=0)


def core_sets() -> tuple[tuple[tuple[int, ...] | None, int], ...]:
    """Return the sets of cores worth trying, each with its size; the last one is all of them."""
    allowed = set(cores_named("all"))
    kinds = [tuple(sorted(allowed & set(c.cores))) for c in core_clusters()]
    kinds = [kind for kind in kinds if kind]
    everything = (None, len(allowed))
    if len(kinds) < 2:
        return (everything,)
    return (*((kind, len(kind)) for kind in kinds), everything)


def thread_counts(cores: int) -> tuple[int, ...]:
    """Return 1, 2, 4, ... and `cores`."""
    powers = [1 << i for i in range(cores.bit_length())]
    return tuple(sorted({*powers, cores}))


def _accelerators(
    spec: EncoderSpec, profile: Profile | None
) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    own = made_for(spec)
    if own != "cpu":  # a file that was compiled for one runs on no other
        yield own, ()
        return
    yield "cpu", ()
    for way in profile.executions if profile is not None else ():
        if (
            way.runtime == spec.runtime
            and way.accelerator not in ("cpu", "xnnpack")
            and spec.precision in way.precisions
        ):
            yield way.accelerator, tuple(way.options.items())
