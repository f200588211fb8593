"""What would fit where a plan does not: found by trying, not by a rule.

One thing is changed at a time, as little as makes it fit: the largest map, the largest projected
embedding, the most classes; another head, the NumPy kernels. Where no single change is enough, two.
Fewer classes are offered last: they change what is learned, not how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from edge_cl.errors import InputError
from edge_cl.features import MapSpec, RandomFourier, RandomReLU
from edge_cl.heads import HEADS, HeadOptions
from edge_cl.specs import described

__all__ = ["Alternative", "Setup", "alternatives"]

_STEP = 64  # features: of maps and projections that are tried
_LEAST = 64
_HEADS = ("ridge", "lda", "ncm")  # that keep no matrix a class, the most accurate first


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a learner is made of. `d_in`: of the encoder, or projected; `numba`: its kernels."""

    d_in: int
    classes: int
    head: HeadOptions
    feature_map: MapSpec
    numba: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A setup that fits: how it differs, and the bytes that it takes of those there are."""

    setup: Setup
    changes: tuple[str, ...]
    takes: int
    of: int

    @property
    def line(self) -> str:
        """Return it as one line."""
        megabytes = f"takes {self.takes / 1e6:.0f} MB of {self.of / 1e6:.0f}"
        return f"{', '.join(self.changes)}: {megabytes}"


Change = tuple[Setup, str]


def alternatives(
    setup: Setup, takes: Callable[[Setup], int], limit: int
) -> tuple[Alternative, ...]:
    """Return setups close to `setup` that take at most `limit` bytes, the closest first.

    Parameters
    ----------
    takes : bytes of a process with a setup.
    """

    def fits(changed: Setup) -> bool:
        return takes(changed) <= limit

    def offer(changed: Setup, *changes: str) -> Alternative:
        return Alternative(setup=changed, changes=changes, takes=takes(changed), of=limit)

    found = [offer(new, how) for new, how in _single(setup, fits) if fits(new)]
    if not found:
        for once, first in _coarse(setup):
            found += [
                offer(twice, first, second) for twice, second in _single(once, fits) if fits(twice)
            ]
    fewer = _most(lambda k: replace(setup, classes=k), setup.classes - 1, 1, 1, fits)
    if fewer is not None:
        found.append(offer(fewer, f"{fewer.classes} classes"))
    return tuple(found)


def _single(setup: Setup, fits: Callable[[Setup], bool]) -> Iterator[Change]:
    """Yield setups that differ in one thing, as little as makes it fit."""
    wide = setup.feature_map
    if isinstance(wide, RandomReLU | RandomFourier):
        smaller = _most(lambda m: _of_width(setup, m), wide.m - 1, _LEAST, _STEP, fits)
        if smaller is not None:
            yield smaller, f"--map {_named(smaller.feature_map)}"
    else:
        smaller = _most(lambda d: replace(setup, d_in=d), setup.d_in - 1, _LEAST, _STEP, fits)
        if smaller is not None:
            yield smaller, f"an embedding projected by edge-cl export --project {smaller.d_in}"
    yield from _coarse(setup)


def _coarse(setup: Setup) -> Iterator[Change]:
    """Yield setups with another head, or the other kernels."""
    for name in _HEADS:
        if HEADS[name] != setup.head:
            yield replace(setup, head=HEADS[name]), f"--head {name}"
    if setup.numba:
        yield replace(setup, numba=False), "EDGE_CL_KERNELS=numpy (slower lessons)"


def _of_width(setup: Setup, m: int) -> Setup:
    wide = setup.feature_map
    if isinstance(wide, RandomReLU):
        return replace(setup, feature_map=RandomReLU(m=m, seed=wide.seed))
    if isinstance(wide, RandomFourier):
        return replace(setup, feature_map=RandomFourier(m=m, gamma=wide.gamma, seed=wide.seed))
    raise InputError(f"expected a map with a width, got {described(wide)}")


def _most(
    made: Callable[[int], Setup], most: int, least: int, step: int, fits: Callable[[Setup], bool]
) -> Setup | None:
    """Return the setup of the largest size in [least, most], a multiple of `step`, that fits."""
    low, high = -(-least // step), most // step
    found: Setup | None = None
    while low <= high:  # what a setup takes grows with its size
        middle = (low + high) // 2
        tried = made(middle * step)
        if fits(tried):
            found, low = tried, middle + 1
        else:
            high = middle - 1
    return found


def _named(feature_map: MapSpec) -> str:
    if isinstance(feature_map, RandomFourier) and feature_map.gamma is not None:
        return f"fourier:{feature_map.m}:{feature_map.gamma:g}"
    kind = "fourier" if isinstance(feature_map, RandomFourier) else "random-relu"
    return (
        f"{kind}:{feature_map.m}"
        if isinstance(feature_map, RandomFourier | RandomReLU)
        else described(feature_map)
    )
