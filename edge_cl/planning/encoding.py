"""How long a network takes for a picture on a board that is not here.

From what was published of other networks there, of the same precision, by multiply-adds:

    ms = ms' · MACs / MACs' · speed-up(threads') / speed-up(threads),  ' of the published   (1)
    speed-up(n) = 1 + (n - 1) e,   0.2 <= e <= 0.9                                          (2)

times 0.8 to 2, since networks of equal size differ: the older ones have fewer, wider layers. The
boards' own figures give e = 0.2 to 0.8 between one thread and four. The libraries differ: where a
library needs more instructions than LiteRT was counted to, the upper end is raised by as much.
Where nothing was published, from instructions counted under emulation:

    ms = instructions a MAC · MACs / (instructions a cycle · clock · speed-up(threads))     (3)

Instructions a cycle are assumed (`edge_cl.planning.cores`). Both are ranges.
"""

from __future__ import annotations

from edge_cl.device.profile import Profile
from edge_cl.device.schema import Latency
from edge_cl.encoders.network_work import NetworkWork
from edge_cl.planning.cores import core_of
from edge_cl.planning.span import Assumption, Span

__all__ = ["board_encoding"]

# multiply-adds of a 224 x 224 picture, as published with the network
_PUBLISHED_MACS = {"mobilenet_v1": 569e6, "mobilenet_v2": 300e6, "efficientnet_b0": 390e6}
_PUBLISHED_IN = {
    "mobilenet_v1": "Howard et al. 2017",
    "mobilenet_v2": "Sandler et al. 2018",
    "efficientnet_b0": "Tan, Le 2019",
}
_SCALING = Span(0.2, 0.9)  # e of (2)
_DIFFER = Span(0.8, 2.0)  # between networks of equal size

# Millions of instructions for one picture of EfficientNet-Lite0, 384 M MACs, one thread; the key
# says whether the CPU multiplies int8 by dot products. ONNX int8 is the shipped network, which
# benchmarks/instructions.py counts; the others were counted once, of other files
_COUNTED_MACS = 384e6
_COUNTED: dict[tuple[str, str, bool], float] = {
    ("onnx", "int8", False): 144.7,
    ("onnx", "int8", True): 77.9,
    ("litert", "int8", False): 140.6,
    ("litert", "int8", True): 63.7,
    ("onnx", "fp32", False): 325.6,
    ("onnx", "fp32", True): 325.6,
    ("litert", "fp32", False): 157.6,
    ("litert", "fp32", True): 154.0,
    ("onnx", "fp16", True): 135.9,
}


def board_encoding(
    profile: Profile, work: NetworkWork, runtime: str, precision: str, threads: int
) -> tuple[Span | None, tuple[Assumption, ...]]:
    """Return ms for one picture on the fastest cores of a board, and what that is from.

    None where nothing was published, and nothing can be derived.
    """
    published = [
        latency
        for latency in profile.latencies
        if latency.on == "cpu"
        and latency.precision == precision
        and latency.network in _PUBLISHED_MACS
        and latency.cores in ("", "big")
    ]
    if published:
        return _from_published(profile, published, work, runtime, threads)
    return _from_instructions(profile, work, runtime, precision, threads)


def _from_published(
    profile: Profile, published: list[Latency], work: NetworkWork, runtime: str, threads: int
) -> tuple[Span, tuple[Assumption, ...]]:
    spans, told = [], []
    dearer = _dearer(runtime, published[0].precision, "dotprod" in profile.clusters[0].isa)
    for latency in published:
        scale = latency.ms * work.macs / _PUBLISHED_MACS[latency.network]
        then = latency.threads or profile.clusters[0].cores
        ratios = [
            _speed_up(then, e) / _speed_up(threads, e) for e in (_SCALING.least, _SCALING.most)
        ]
        spans.append(Span(scale * min(ratios), scale * max(ratios)))  # (1)
        told.append(
            Assumption(
                f"{latency.network} {latency.precision} takes {latency.ms:g} ms in "
                f"{latency.library}, {latency.threads or 'untold'} threads; it has "
                f"{_PUBLISHED_MACS[latency.network] / 1e6:.0f} M multiply-adds "
                f"({_PUBLISHED_IN[latency.network]})",
                latency.source,
                not isinstance(latency.verified, bool),
            )
        )
    found = Span(
        min(s.least for s in spans) * _DIFFER.least,
        max(s.most for s in spans) * _DIFFER.most * dearer,
    )
    told.append(
        Assumption(
            f"networks of equal size differ by 0.8 to 2; {runtime} may take {dearer:.2g} times as "
            "long as the library that was measured; n threads are 1 + 0.2 (n - 1) to "
            "1 + 0.9 (n - 1) times faster than one",
            "assumed; between libraries: instructions counted under emulation",
            False,
        )
    )
    return found, tuple(told)


def _from_instructions(
    profile: Profile, work: NetworkWork, runtime: str, precision: str, threads: int
) -> tuple[Span | None, tuple[Assumption, ...]]:
    cluster = profile.clusters[0]
    counted = _COUNTED.get((runtime, precision, "dotprod" in cluster.isa))
    if counted is None or profile.architecture != "aarch64" or not cluster.max_mhz:
        why = "no time of a network of this precision was published, and none can be derived"
        return None, (Assumption(why, f"profile of {profile.name}", True),)
    rate = core_of(profile).instructions.times(cluster.max_mhz * 1e3)  # in a ms
    known = (runtime, precision) == ("onnx", "int8")
    instructions = counted * 1e6 * work.macs / _COUNTED_MACS
    found = Span(
        instructions / (rate.most * _speed_up(threads, _SCALING.most)),
        instructions / (rate.least * _speed_up(threads, _SCALING.least)),
    )  # (3)
    return found, (
        Assumption(
            f"{counted:g} M instructions for {_COUNTED_MACS / 1e6:.0f} M multiply-adds "
            f"({runtime} {precision})",
            "counted under emulation" + (", benchmarks/instructions.py" if known else ", once"),
            known,
        ),
        Assumption(
            f"{core_of(profile).instructions.least:g} to {core_of(profile).instructions.most:g} "
            "instructions a cycle; n threads are 1 + 0.2 (n - 1) to 1 + 0.9 (n - 1) times faster "
            "than one",
            "assumed",
            False,
        ),
    )


def _speed_up(threads: int, e: float) -> float:
    return 1 + (threads - 1) * e  # (2)


def _dearer(runtime: str, precision: str, dotprod: bool) -> float:
    """Return how many times as many instructions a library needs as LiteRT with XNNPACK."""
    own = _COUNTED.get((runtime, precision, dotprod))
    least = _COUNTED.get(("litert", precision, dotprod))
    return max(1.0, own / least) if own and least else 1.0
