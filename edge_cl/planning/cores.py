"""What is assumed of the cores of a board, where nothing was measured.

Operations a cycle follow from the width and number of the vector units; instructions a cycle are a
range, as programs differ. Nobody has measured edge-cl on these cores: every figure that comes from
here is told as unverified. `edge-cl plan --device here` measures instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_cl.device.profile import Profile
from edge_cl.planning.span import Assumption, Span
from edge_cl.planning.speed import Speed

__all__ = ["Core", "board_speed", "core_of"]


@dataclass(frozen=True, slots=True)
class Core:
    """`operations`: in float64, a cycle, at the peak; `instructions`: a cycle, of programs."""

    operations: float
    instructions: Span


_IN_ORDER, _NARROW, _WIDE = Span(0.4, 1.0), Span(0.8, 1.8), Span(1.4, 3.0)
_CORES = {
    "Cortex-A35": Core(2, _IN_ORDER),
    "Cortex-A53": Core(2, _IN_ORDER),
    "Cortex-A55": Core(4, _IN_ORDER),
    "Cortex-A57": Core(4, _NARROW),
    "Cortex-A72": Core(4, _NARROW),
    "Cortex-A76": Core(8, _WIDE),
    "Cortex-A78": Core(8, _WIDE),
    "Cortex-A78AE": Core(8, _WIDE),
}
_UNKNOWN = Core(4, Span(0.4, 3.0))

_REACHED = Span(0.4, 0.8)  # of the peak, by products
_IN_CACHE = {"l2_kb": 3.0, "l3_kb": 2.0}  # times what memory moves
_PYTHON_INSTRUCTIONS = 9_000.0  # in a µs, on the machine of reference: 3 GHz, 3 a cycle
_CLOCK_MHZ = 1_000  # where none is told


def core_of(profile: Profile) -> Core:
    """Return what is assumed of the fastest cores of a board."""
    return _CORES.get(profile.core, _UNKNOWN)


def board_speed(profile: Profile) -> Speed | None:
    """Return how fast a board is assumed to be; None where nobody measured its memory."""
    copying = profile.measured
    if copying is None:
        return None
    core, cluster = core_of(profile), profile.clusters[0]
    hertz = (cluster.max_mhz or _CLOCK_MHZ) * 1e6
    slow, fast = copying.copy_mb_s
    memory = Span(slow * 1e6, 2 * fast * 1e6)  # reading alone moves one byte, a copy two
    per_us = core.instructions.times(hertz / 1e6)
    peak = core.operations * hertz
    clock = f"{cluster.max_mhz} MHz" if cluster.max_mhz else f"{_CLOCK_MHZ} MHz, as none is told"
    return Speed(
        bandwidth=(*_caches(profile, memory), (_beyond(profile), memory)),
        products=Span(_REACHED.least * peak, _REACHED.most * peak),
        python=Span(_PYTHON_INSTRUCTIONS / per_us.most, _PYTHON_INSTRUCTIONS / per_us.least),
        assumptions=(
            Assumption(
                f"one core copies {slow:g} to {fast:g} MB/s, a byte copied is one to two moved",
                copying.source,
                not isinstance(copying.verified, bool),
            ),
            Assumption(
                "what fits a cache moves 3 times faster (L2), 2 times (L3)", "assumed", False
            ),
            Assumption(
                f"{profile.core}, {clock}: products reach 0.4 to 0.8 of {core.operations:g} "
                "operations a cycle in float64",
                "assumed from the width of its vector units",
                False,
            ),
            Assumption(
                f"{core.instructions.least:g} to {core.instructions.most:g} instructions a cycle",
                "assumed of such a core",
                False,
            ),
        ),
    )


def _caches(profile: Profile, memory: Span) -> list[tuple[float, Span]]:
    cache = profile.clusters[0].cache
    sizes = {"l2_kb": cache.l2_kb, "l3_kb": cache.l3_kb} if cache is not None else {}
    return [(size * 1024.0, memory.times(_IN_CACHE[name])) for name, size in sizes.items() if size]


def _beyond(profile: Profile) -> float:
    """Return how much must be touched for caches not to matter."""
    cache = profile.clusters[0].cache
    return 4096.0 * max(cache.l2_kb, cache.l3_kb, 1) if cache is not None else 1.0
