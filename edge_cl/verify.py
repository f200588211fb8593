"""Whether this machine sees what the workstation saw that made a bundle.

A bundle holds a few inputs, what the float model gives for them and, of each encoder file, what
it gave where it was made. Every encoder that can run here encodes these inputs, and is compared
with both; encoders of one precision and two runtimes are compared with each other as well.

Integer kernels round differently from processor to processor, so that a few features differ by
a step: between machines, cosines are above 0.999. An encoder that is wrong here (a kernel that
saturates, another network) is far below. To the float model there is the error of quantising
besides; that bar is the one of the export.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import combinations, cycle
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_cl.agreement import agreement
from edge_cl.arrays import F32
from edge_cl.bundle import Bundle, EncoderSpec, Parity, load_parity
from edge_cl.device import describe_machine
from edge_cl.encoders import (
    Encoder,
    choose_encoder,
    fitting_encoders,
    load_encoder,
    matching_encoders,
    route_of,
)
from edge_cl.encoders.cores import checked_cores
from edge_cl.errors import BackendError, InputError, MissingExtraError
from edge_cl.verify_results import Between, EncoderCheck, HeadsHere, Latency, Verified

__all__ = ["verify"]

_SECONDS = 0.5  # that an encoder is timed for
_RUNS = (10, 200)  # at least, at most
_WARM_UP = 3
_BATCH = 8


def verify(
    bundle: Bundle,
    *,
    runtime: str | None = None,
    precision: str | None = None,
    threads: int = 1,
    accelerator: str | None = None,
    accelerator_options: Mapping[str, str] | None = None,
    cores: Iterable[int] | None = None,
    strict: bool = False,
    min_cosine: float = 0.99,
    min_workstation: float = 0.999,
    labelled: Iterable[tuple[ArrayLike, str]] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Verified:
    """Run every encoder of `bundle` that can run here, or those asked for, and compare.

    Parameters
    ----------
    accelerator, accelerator_options, cores, strict : see `edge_cl.encoders.open_encoder`. With an
        accelerator, the encoders of the runtimes that can be asked for it; without one, each on
        the CPU, or the NPU it was made for.
    min_cosine : to the float model: the mean over the inputs must reach it.
    min_workstation : to the same encoder where it was made: every input must reach it.
    labelled : inputs with their classes, to learn and test heads on.
    progress : called with what begins and the share done, 0..1.

    Raises
    ------
    InputError : the bundle holds nothing to compare on, or `labelled` no two classes to test.
    MissingExtraError : no encoder can run here.
    """
    if threads < 1:
        raise InputError(f"expected threads >= 1, got {threads}")
    if not all(0.0 <= least <= 1.0 for least in (min_cosine, min_workstation)):
        raise InputError(f"expected cosines in 0..1, got {min_cosine} and {min_workstation}")
    specs = matching_encoders(bundle, runtime, precision)
    if accelerator is not None:
        choose_encoder(bundle, runtime, precision, accelerator)  # refuses where there is none
        specs = fitting_encoders(specs, accelerator)
    kept = None if cores is None else checked_cores(cores)

    def opening(spec: EncoderSpec) -> Encoder:
        choose_encoder(
            bundle, spec.runtime, spec.precision, accelerator or spec.accelerator or None
        )
        route = route_of(spec, accelerator, accelerator_options, strict=strict)
        return load_encoder(bundle, spec, threads, route, kept)

    known = load_parity(bundle)
    if not specs or known is None or not len(known.inputs):
        raise InputError(f"{bundle.name} holds no inputs to compare on")
    report = progress or (lambda what, share: None)
    steps = len(specs) + (labelled is not None)
    opened, skipped, failed = _open(specs, opening)
    features: dict[str, F32] = {}
    latency: dict[str, Latency] = {}
    for done, (member, encoder) in enumerate(opened.items()):
        report(f"running {member}", done / steps)
        try:
            features[member] = encoder.encode(known.inputs)
            latency[member] = _latency(encoder, known.inputs)
        except BackendError as error:
            failed[member] = str(error)
    heads: dict[str, HeadsHere] = {}
    if labelled is not None:
        report("encoding the labelled inputs", (steps - 1) / steps)
        heads = _heads(bundle, {m: e for m, e in opened.items() if m in features}, labelled)
    encoders = tuple(
        _checked(
            opened[spec.member],
            known,
            features[spec.member],
            latency[spec.member],
            heads.get(spec.member),
        )
        for spec in specs
        if spec.member in features
    )
    missed = (
        *(f"{member}: {why}" for member, why in failed.items()),
        *_misses(encoders, min_cosine, min_workstation),
    )
    return Verified(
        bundle=bundle.name,
        bundle_sha256=bundle.sha256,
        machine=describe_machine(),
        threads=threads,
        inputs=len(known.inputs),
        min_cosine=min_cosine,
        min_workstation=min_workstation,
        encoders=encoders,
        between=_between(specs, features),
        skipped=skipped,
        failed=failed,
        misses=missed,
        verdict=_verdict(missed, encoders),
    )


def _open(
    specs: tuple[EncoderSpec, ...], opening: Callable[[EncoderSpec], Encoder]
) -> tuple[dict[str, Encoder], dict[str, str], dict[str, str]]:
    """Return the encoders that work here, those without a library, and those that fail."""
    opened: dict[str, Encoder] = {}
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    missing = None
    for spec in specs:
        got = _tried(spec, opening)
        if isinstance(got, Encoder):
            opened[spec.member] = got
        elif isinstance(got, MissingExtraError):
            missing = got
            skipped[spec.member] = f"{got}; {got.hint}"
        else:
            failed[spec.member] = str(got)
    if missing is not None and not opened and not failed:
        raise missing
    return opened, skipped, failed


def _tried(spec: EncoderSpec, opening: Callable[[EncoderSpec], Encoder]) -> Encoder | BackendError:
    try:
        return opening(spec)
    except BackendError as error:
        return error


def _latency(encoder: Encoder, inputs: NDArray[Any]) -> Latency:
    least, most = _RUNS
    times: list[float] = []
    one = cycle([inputs[i : i + 1] for i in range(len(inputs))])
    for _ in range(_WARM_UP):
        encoder.encode(next(one))
    began = perf_counter()
    while len(times) < least or (len(times) < most and perf_counter() - began < _SECONDS):
        x = next(one)
        start = perf_counter()
        encoder.encode(x)
        times.append(1e3 * (perf_counter() - start))
    median, p99 = np.percentile(times, [50, 99])
    return Latency(median_ms=round(float(median), 3), p99_ms=round(float(p99), 3), runs=len(times))


def _heads(
    bundle: Bundle, encoders: dict[str, Encoder], labelled: Iterable[tuple[ArrayLike, str]]
) -> dict[str, HeadsHere]:
    """Encode every input with every encoder, in one pass, and test heads on the features."""
    from edge_cl.held_out import answers, two_folds

    if not encoders:
        return {}
    rows: dict[str, list[F32]] = {member: [] for member in encoders}
    waiting: list[NDArray[Any]] = []
    classes: dict[str, int] = {}
    y: list[int] = []

    def encode() -> None:
        for member, encoder in encoders.items():
            rows[member].append(encoder.encode(np.stack(waiting)))
        waiting.clear()

    prepare = next(iter(encoders.values())).prepare
    for x, label in labelled:
        waiting.append(prepare(x))
        y.append(classes.setdefault(label, len(classes)))
        if len(waiting) == _BATCH:
            encode()
    if waiting:
        encode()
    labels = np.array(y, np.int64)
    folds = two_folds(labels, None)
    if folds is None:
        raise InputError("expected two classes or more, each with two inputs or more")
    found: dict[str, HeadsHere] = {}
    for member, features in rows.items():
        given = answers(np.concatenate(features), labels, folds, bundle.manifest.embedding)
        right = {name: (c == labels)[folds.tested].mean() for name, c in given.items()}
        found[member] = HeadsHere(
            accuracy={name: round(float(share), 4) for name, share in right.items()},
            tested=int(folds.tested.sum()),
            held_out=folds.by,
        )
    return found


def _checked(
    encoder: Encoder, known: Parity, found: F32, latency: Latency, heads: HeadsHere | None
) -> EncoderCheck:
    spec = encoder.spec
    if spec is None:  # such a bundle was refused
        raise BackendError("expected an encoder to check, got ready-made features")
    there = known.deployed.get(spec.member)
    return EncoderCheck(
        member=spec.member,
        runtime=spec.runtime,
        precision=spec.precision,
        placement=encoder.placement,
        float_model=agreement(known.features, found),
        workstation=None if there is None else agreement(there, found),
        latency=latency,
        heads=heads,
    )


def _between(specs: tuple[EncoderSpec, ...], features: dict[str, F32]) -> tuple[Between, ...]:
    return tuple(
        Between(
            members=(a.member, b.member),
            agreement=agreement(features[a.member], features[b.member]),
        )
        for a, b in combinations([s for s in specs if s.member in features], 2)
        if a.precision == b.precision and a.runtime != b.runtime
    )


def _misses(
    encoders: tuple[EncoderCheck, ...], min_cosine: float, min_workstation: float
) -> tuple[str, ...]:
    lines = []
    for e in encoders:
        if not e.float_model.cosine_mean >= min_cosine:
            lines.append(
                f"{e.member}: mean cosine to the float model {e.float_model.cosine_mean:.4f}, "
                f"expected at least {min_cosine:g}"
            )
        if e.workstation is not None and not e.workstation.cosine_worst >= min_workstation:
            lines.append(
                f"{e.member}: cosine to the workstation's own features "
                f"{e.workstation.cosine_worst:.4f}, expected at least {min_workstation:g}"
            )
    return tuple(lines)


def _verdict(missed: tuple[str, ...], encoders: tuple[EncoderCheck, ...]) -> str:
    if missed:
        return "this machine does not see what the workstation saw"
    if all(e.workstation is not None for e in encoders):
        return "this machine sees what the workstation saw"
    return "this machine sees what the float model sees; the bundle does not say more"
