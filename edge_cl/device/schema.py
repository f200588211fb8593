"""What is told about a board, and by whom: the fields of a profile.

The structs are the schema: an unknown field, a missing one, another type or an impossible number
is an error that names it. A table holds figures of one source, and says when somebody opened that
source and found them there (`verified`); false where it is hearsay, or derived. What is not
verified is never told as a fact (`marked`). See docs/reference/device-profiles.md.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

__all__ = [
    "Accelerator",
    "Bus",
    "Cache",
    "Cluster",
    "Copying",
    "Execution",
    "Latency",
    "Memory",
    "PowerDraw",
    "Profile",
    "Runtimes",
    "Sensor",
    "Threads",
    "Throughput",
    "Verified",
    "marked",
]

Verified = datetime.date | bool  # the day somebody looked, or false; true is refused
Count = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0)]
Known = Annotated[float, Meta(ge=0)]  # 0: not known
KnownCount = Annotated[int, Meta(ge=0)]
Words = Annotated[str, Meta(min_length=1)]
Precision = Literal["int8", "fp16", "fp32"]


def marked(text: str, verified: Verified) -> str:
    """Return what is told of a board, marked where nobody has verified it."""
    return text if isinstance(verified, datetime.date) else f"unverified: {text}"


class Cache(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cache that one core can use, in KB; 0 where it is not known."""

    l2_kb: KnownCount = 0
    l3_kb: KnownCount = 0
    source: Words
    verified: Verified


class Cluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Equal cores of a board.

    max_mhz : 0 where it is not known.
    isa : flags that decide how fast int8 and fp16 run: "dotprod", "fp16", "i8mm".
    """

    core: Words
    cores: Count
    max_mhz: KnownCount
    isa: tuple[str, ...]
    cache: Cache | None = None
    source: Words
    verified: Verified


class Copying(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """MB/s that one core copies, and sets, as (least, most) of what was published.

    A copy of one byte is a read and a write.
    """

    copy_mb_s: tuple[Positive, Positive]
    set_mb_s: tuple[Positive, Positive] | None = None
    source: Words
    verified: Verified


class Bus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """MB/s that the memory bus could move at best."""

    mb_s: Positive
    source: Words
    verified: Verified


class Memory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Memory of a board: the sizes that are sold, in GB; what was measured of it, if anything."""

    kind: str = ""
    sizes_gb: Annotated[tuple[Positive, ...], Meta(min_length=1)]
    measured: Copying | None = None
    bus: Bus | None = None
    source: Words
    verified: Verified

    @property
    def copy_mb_s(self) -> tuple[float, float] | None:
        """(least, most) MB/s that one core was measured to copy; None where nobody has."""
        return None if self.measured is None else self.measured.copy_mb_s


class Accelerator(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a board has besides its cores.

    kind : "gpu" computes in float16 or symmetric int8; "npu" takes networks of integers throughout.
    tops : int8 operations a second / 1e12 as the vendor counts them; 0 where it is not known.
    """

    name: Words
    kind: Literal["gpu", "npu"]
    tops: Known = 0.0
    source: Words
    verified: Verified


class Execution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to run an encoder on a board; a profile lists them, the one to prefer first.

    accelerator : a name that `--accelerator` takes: "cpu", "xnnpack", "qnn", "edgetpu" ...
    options : of the execution provider, delegate or session, as it takes them.
    needs : what must be installed besides, in words.
    """

    runtime: Literal["onnx", "litert", "rknn", "hailo"]
    accelerator: Words
    precisions: Annotated[tuple[Precision, ...], Meta(min_length=1)]
    options: dict[str, str] = {}
    needs: str = ""
    source: Words
    verified: Verified


class Threads(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Advice for the encoder's threads; `edge-cl tune` measures.

    cores : "big" (the fastest cluster only) or "all".
    """

    encoder: Count
    cores: Literal["big", "all"]
    advice: str
    source: Words
    verified: Verified


class Sensor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a board tells how it is: `where` is a path below /sys or /proc, or a command."""

    tells: Literal["temperature", "clock", "throttled", "power"]
    where: Words
    source: Words
    verified: Verified


class PowerDraw(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Watts that a board draws while it does something."""

    doing: Words
    watts: Positive
    source: Words
    verified: Verified


class Runtimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The oldest version of each library that may run an encoder on a board; empty: none does.

    tflite : by TensorFlow's count, which `tflite_runtime` has; `ai_edge_litert` has its own.
    system : the oldest system and Python these were looked up for.
    """

    onnxruntime: str = ""
    tflite: str = ""
    system: str = ""
    source: Words
    verified: Verified


class Latency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published time of one 224 x 224 picture through a network, in ms.

    on : "cpu", or the name of an accelerator.
    threads : 0 where it is not told.
    cores : of a processor with several kinds; empty where it is not told.
    """

    network: Words
    precision: Precision
    library: Words
    on: Words
    threads: KnownCount
    cores: Literal["", "big", "little", "all"] = ""
    ms: Positive
    source: Words
    verified: Verified


class Throughput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Published pictures a second of a network; with several under way, no latency follows."""

    network: Words
    precision: Precision
    library: Words
    on: Words
    batch: Count
    fps: Positive
    source: Words
    verified: Verified


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One board.

    compatible : names in its device tree, by which it is recognised.
    clusters : the fastest first.
    note : what a reader must know besides.
    """

    name: Words
    soc: Words
    architecture: Literal["aarch64", "x86_64"] = "aarch64"
    compatible: tuple[Annotated[str, Meta(pattern=r"^[^,\s]+,\S+$")], ...] = ()
    note: str = ""
    clusters: Annotated[tuple[Cluster, ...], Meta(min_length=1)]
    memory: Memory | None = None
    accelerators: tuple[Accelerator, ...] = ()
    executions: tuple[Execution, ...] = ()
    threads: Threads | None = None
    sensors: tuple[Sensor, ...] = ()
    power: tuple[PowerDraw, ...] = ()
    runtimes: Runtimes | None = None
    latencies: tuple[Latency, ...] = ()
    throughputs: tuple[Throughput, ...] = ()

    @property
    def cores(self) -> int:
        """All of them."""
        return sum(cluster.cores for cluster in self.clusters)

    @property
    def core(self) -> str:
        """Kind of the fastest cores."""
        return self.clusters[0].core

    @property
    def isa(self) -> tuple[str, ...]:
        """Flags that every core has."""
        first, *others = self.clusters
        return tuple(flag for flag in first.isa if all(flag in c.isa for c in others))

    @property
    def accelerator(self) -> str:
        """Kind of what networks should be made for: "npu", "gpu" or empty."""
        kinds = {accelerator.kind for accelerator in self.accelerators}
        return "npu" if "npu" in kinds else "gpu" if "gpu" in kinds else ""

    @property
    def measured(self) -> Copying | None:
        """What was measured of its memory, or None."""
        return self.memory.measured if self.memory is not None else None
