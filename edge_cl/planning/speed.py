"""How fast a machine moves bytes and multiplies, and what work then takes.

    time of a part = max(bytes / bandwidth, operations / rate)                              (1)
    time of work   = Σ (1) + Python's µs · slowness                                         (2)

Bandwidth is that of the memory in which what is touched fits; between two sizes it goes over from
one to the other as log and log. A copy moves two bytes a byte: where nothing is written, the likely
bandwidth is the most. Rates are told in float64 products of BLAS: a kernel's loops reach a quarter
of that, an update of a triangle by few rows half, by many in float32 1.7 times. NumPy's
factorisations reach a share that grows with the matrix, measured:

    factorisation = products · d / (3 d + 1600)                                             (3)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_cl.planning.span import Assumption, Span
from edge_cl.planning.work import Part, Work

__all__ = ["Speed", "milliseconds"]

_SHARE = {"kernel": 0.25, "product": 0.5, "single": 1.7}  # of the rate of products in float64


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """A machine, as far as work on one core goes.

    bandwidth : (bytes touched, bytes moved a second), sizes rising; beyond the last as there.
    products : operations a second of a product in float64.
    python : how many times slower than on the machine of reference Python is.
    assumptions : what these are from.
    """

    bandwidth: tuple[tuple[float, Span], ...]
    products: Span
    python: Span
    assumptions: tuple[Assumption, ...]

    def moving(self, touches: float) -> Span:
        """Return the bytes a second where `touches` bytes are read over and over."""
        smaller = [point for point in self.bandwidth if point[0] <= touches]
        larger = [point for point in self.bandwidth if point[0] > touches]
        if not smaller or not larger:
            return (smaller or larger[:1])[-1][1]
        (a, below), (b, above) = smaller[-1], larger[0]
        share = math.log(touches / a) / math.log(b / a)
        return Span(
            below.least ** (1 - share) * above.least**share,
            below.most ** (1 - share) * above.most**share,
        )


def milliseconds(work: Work, speed: Speed) -> Span:
    """Return what `work` takes, (2)."""
    total = speed.python.times(work.python_us / 1e3)
    for part in work.parts:
        total += Span(_ms(part, speed, fast=True), _ms(part, speed, fast=False))
    return total


def _ms(part: Part, speed: Speed, *, fast: bool) -> float:
    moving = speed.moving(part.touches)
    fastest = moving.likely if part.reading else moving.most
    rate = (speed.products.most if fast else speed.products.least) * _share(part)
    bandwidth = fastest if fast else moving.least
    return (
        max(part.moved / bandwidth, part.operations / rate if part.operations else 0.0) * 1e3
    )  # (1)


def _share(part: Part) -> float:
    if part.kind == "factor":
        return part.d / (3 * part.d + 1600)  # (3)
    return _SHARE[part.kind]
