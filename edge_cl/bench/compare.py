"""Whether a machine has become worse at the same work.

Two results are compared only where both measured the same: the same machine, bundle, head, map,
classes, threads and placement, and both valid. Versions of packages may differ: a new version is
what one compares for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from edge_cl.bench.document import BenchReport, EncoderBench
from edge_cl.bench.figures import FIGURES, Tolerance
from edge_cl.bundle import Bundle
from edge_cl.device import Machine
from edge_cl.errors import InputError

__all__ = ["Comparison", "Tolerance", "compare", "refuse_other", "tolerance_named"]

_MACHINE = ("cpu", "board", "architecture", "cores")
_WORK = ("head", "feature_map", "d", "k", "threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A figure of one encoder, then and now; `limit` is the worst that passes."""

    encoder: str
    figure: str
    unit: str
    before: float
    now: float
    limit: float
    worse: bool


def tolerance_named(text: str) -> tuple[str, Tolerance]:
    """Parse `encode=5%` or `rss=10MB`: a figure, and how much worse it may be.

    Raises
    ------
    InputError : there is no such figure, or its unit is another one.
    """
    found = re.fullmatch(r"([a-z0-9-]+)=([0-9]+(?:\.[0-9]+)?) ?(%|[A-Za-z/]+)", text)
    if not found:
        raise InputError(f"expected a tolerance like encode=5% or rss=10MB, got {text!r}")
    name, number, unit = found.groups()
    figure = FIGURES.get(name)
    if figure is None:
        raise InputError(f"unknown figure {name!r}", hint=f"one of: {', '.join(FIGURES)}")
    if unit == "%":
        return name, Tolerance(share=float(number) / 100)
    if unit != figure.unit:
        raise InputError(f"expected {name} in % or {figure.unit}, got {unit}")
    return name, Tolerance(slack=float(number))


def compare(
    now: BenchReport, before: BenchReport, tolerances: Mapping[str, Tolerance] | None = None
) -> tuple[Comparison, ...]:
    """Return every figure that both hold, encoder by encoder.

    Parameters
    ----------
    tolerances : by figure, in the place of those of `edge_cl.bench.figures`.

    Raises
    ------
    InputError : both did not measure the same; the message says what differs.
    """
    differences = _elsewhere(before, now.machine, now.bundle_sha256)
    if before.kernels != now.kernels:
        differences.append(f"the kernels were {before.kernels}, are {now.kernels}")
    if before.disk != now.disk:
        differences.append(f"the disk was {before.disk}, is {now.disk}")
    if not now.valid:
        differences.append(f"the new one is not valid: {now.invalid_because[0]}")
    _refuse(differences)
    known = {_key(encoder): encoder for encoder in before.encoders}
    pairs = [(e, known[_key(e)]) for e in now.encoders if _key(e) in known]
    if not pairs:
        raise InputError("the results cannot be compared: they have no encoder in common")
    found: list[Comparison] = []
    for new, old in pairs:
        _refuse_other_work(new, old)
        for name, figure in FIGURES.items():
            then, here = figure.value(old), figure.value(new)
            if then is None or here is None:
                continue
            limit = figure.limit(then, (tolerances or {}).get(name, figure.tolerance))
            found.append(
                Comparison(
                    encoder=new.name,
                    figure=name,
                    unit=figure.unit,
                    before=then,
                    now=here,
                    limit=limit,
                    worse=not math.isfinite(here) or figure.is_worse(here, limit),
                )
            )
    return tuple(found)


def refuse_other(before: BenchReport, machine: Machine, bundle: Bundle) -> None:
    """Raise InputError where a result is of another machine or bundle, or is not valid."""
    _refuse(_elsewhere(before, machine, bundle.sha256))


def _elsewhere(before: BenchReport, machine: Machine, sha256: str) -> list[str]:
    then = {name: getattr(before.machine, name) for name in _MACHINE}
    here = {name: getattr(machine, name) for name in _MACHINE}
    found = [f"{name} was {then[name]!r}, is {here[name]!r}" for name in _MACHINE]
    found = [said for said, name in zip(found, _MACHINE, strict=True) if then[name] != here[name]]
    if before.bundle_sha256 != sha256:
        found.append(f"the bundle was {before.bundle_sha256[:12]}, is {sha256[:12]}")
    if not before.valid:
        found.append(f"the old one is not valid: {before.invalid_because[0]}")
    return found


def _refuse(differences: list[str]) -> None:
    if differences:
        raise InputError(
            f"the results cannot be compared: {differences[0]}",
            hint="measure a reference on this machine: edge-cl bench --out FILE",
        )


def _refuse_other_work(new: EncoderBench, old: EncoderBench) -> None:
    then = {name: getattr(old, name) for name in _WORK} | {"cores": old.placement.cores}
    here = {name: getattr(new, name) for name in _WORK} | {"cores": new.placement.cores}
    for name in then:
        if then[name] != here[name]:
            raise InputError(
                f"the results cannot be compared: {name} was {then[name]}, is {here[name]}",
                hint="give the options that the reference was measured with",
            )


def _key(encoder: EncoderBench) -> tuple[str, str, str]:
    return encoder.runtime, encoder.precision, encoder.placement.accelerator
