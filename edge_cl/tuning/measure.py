"""Trying every setting of a bundle's encoders on this machine, and taking the fastest.

In heats each setting is loaded by itself, timed in turns with the baseline, and closed again, so
that a small board holds two networks at a time. The best of the heats, and the best of each
encoder, then race against each other and the baseline (`race`) for the rest of the time.

A network of another format gives other features. So the fastest of all is for learners that
begin; one that has learned keeps its encoder, and takes the fastest setting of that.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl.bundle import Bundle, EncoderSpec, load_parity
from edge_cl.device.conditions import read_conditions
from edge_cl.device.held_back import reasons_against
from edge_cl.device.machine import Machine, describe_machine
from edge_cl.device.recognise import recognise
from edge_cl.encoders import Encoder, load_encoder, matching_encoders, route_of
from edge_cl.encoders.choice import made_for
from edge_cl.errors import BackendError, InputError
from edge_cl.tuning.race import Standing, rounds, standings, winner
from edge_cl.tuning.settings import Setting, baseline_for, settings_for

__all__ = ["Trial", "Tuned", "Workbench", "tune"]

_FINALISTS = 4
_HEATS = 0.5  # of the time
_WARM_UP = 2
_PICTURES = 3  # of a round; its time is their median


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One setting, measured.

    ratio : of its time to the baseline's, in turns; below 1 is faster.  error : of that ratio.
    median_ms, p90_ms : of one picture through the network.
    final : whether it was in the last race; else it is from its heat, and less is known of it.
    """

    setting: Setting
    ratio: float
    error: float
    median_ms: float
    p90_ms: float
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What came of it.

    baseline : what ratios are to: ONNX Runtime as it comes, where the bundle has an encoder for it.
    chosen : the fastest; never slower than the baseline in the same run.
    by_member : the fastest setting of each encoder that can run here.
    trials : the fastest first.
    refused : settings that do not work here, and why.
    not_tried : how many there was no time for.
    invalid_because : see `edge_cl.device.held_back`; empty: it counts.
    """

    bundle: str
    bundle_sha256: str
    machine: Machine
    date: str
    seconds: float
    baseline: Setting
    chosen: Setting
    by_member: dict[str, Setting]
    trials: tuple[Trial, ...]
    refused: dict[str, str]
    not_tried: int
    invalid_because: tuple[str, ...]


def tune(
    bundle: Bundle,
    *,
    seconds: float = 60.0,
    runtime: str | None = None,
    precision: str | None = None,
    member: str | None = None,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> Tuned:
    """Measure what can be tried here for about `seconds`, and choose.

    Parameters
    ----------
    runtime, precision, member : only these encoders.
    progress : called with what is measured and the share done, 0..1.

    Raises
    ------
    InputError : the bundle holds no such encoder, or `seconds` is not positive.
    BackendError : none of them runs here.
    """
    if not seconds > 0:
        raise InputError(f"expected seconds > 0, got {seconds}")
    specs = matching_encoders(bundle, runtime, precision)
    if member is not None:
        specs = tuple(spec for spec in specs if spec.member == member)
    if not specs:
        raise InputError(f"{bundle.name} holds no encoder to tune")
    report = progress or (lambda what, share: None)
    began, before = perf_counter(), read_conditions()
    bench = Workbench(bundle, specs)
    found = recognise()
    wanted = settings_for(specs, found[1] if found is not None else None)
    baseline, base = bench.first(baseline_for(specs), wanted)
    heats: dict[Setting, dict[Setting, list[float]]] = {}
    tried = 0
    for setting in wanted:
        if heats and perf_counter() - began > _HEATS * seconds:
            break
        tried += 1
        report("heats", tried / len(wanted))
        if setting == baseline:
            continue
        timed = bench.timed(setting)
        if timed is not None:
            heats[setting] = rounds(
                {setting: timed, baseline: base}, seconds=0, clock=perf_counter, seed=seed
            )
            timed.close()
    report("heats", 1.0)
    ahead = {s: standings(times, baseline)[s].ratio for s, times in heats.items()}
    finalists = _finalists(ahead)
    entrants = {baseline: base}
    for setting in finalists:
        timed = bench.timed(setting)
        if timed is not None:
            entrants[setting] = timed
    times = rounds(
        entrants,
        seconds=seconds - (perf_counter() - began),
        clock=perf_counter,
        seed=seed,
        progress=lambda share: report("final", share),
    )
    for timed in entrants.values():
        timed.close()
    ranks = standings(times, baseline)
    chosen = winner(ranks, baseline, lambda s: s.burden)
    trials = [_trial(s, one, times[s], final=True) for s, one in ranks.items()] + [
        _trial(s, standings(own, baseline)[s], own[s], final=False)
        for s, own in heats.items()
        if s not in ranks
    ]
    return Tuned(
        bundle=bundle.name,
        bundle_sha256=bundle.sha256,
        machine=describe_machine(),
        date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        seconds=round(perf_counter() - began, 1),
        baseline=baseline,
        chosen=chosen,
        by_member=_by_member(bench.own, ranks, ahead, chosen),
        trials=tuple(sorted(trials, key=lambda t: t.ratio)),
        refused=bench.refused,
        not_tried=len(wanted) - tried,
        invalid_because=reasons_against((before, read_conditions())),
    )


class Workbench:
    """Loads settings, and times pictures through them."""

    def __init__(self, bundle: Bundle, specs: Sequence[EncoderSpec]) -> None:
        self.refused: dict[str, str] = {}
        self._bundle = bundle
        self._specs = {spec.member: spec for spec in specs}
        self._inputs = _inputs(bundle)

    def own(self, setting: Setting) -> bool:
        """Say whether an encoder runs where it was made to, and gives the features of that."""
        return setting.accelerator in ("xnnpack", made_for(self._specs[setting.member]))

    def first(self, baseline: Setting | None, wanted: Sequence[Setting]) -> tuple[Setting, Loaded]:
        """Return the first that works, the baseline if it does: what others are compared with."""
        for setting in (*([baseline] if baseline is not None else []), *wanted):
            timed = self.timed(setting)
            if timed is not None:
                return setting, timed
        why = "; ".join(f"{what}: {why}" for what, why in self.refused.items())
        raise BackendError(f"no encoder of {self._bundle.name} runs here: {why}")

    def timed(self, setting: Setting) -> Loaded | None:
        """Return what times `setting` once, in ms; None where it does not work, with the reason."""
        try:
            return self._loaded(setting)
        except (BackendError, InputError) as error:
            self.refused[_what(setting)] = str(error)
            return None

    def _loaded(self, setting: Setting) -> Loaded:
        spec = self._specs[setting.member]
        route = route_of(spec, setting.accelerator, dict(setting.options), strict=True)
        encoder = load_encoder(self._bundle, spec, setting.threads, route, setting.cores)
        return Loaded(encoder, self._inputs)


class Loaded:
    """An encoder that times a few pictures when it is called, in ms."""

    def __init__(self, encoder: Encoder, inputs: NDArray[Any]) -> None:
        self._encoder = encoder
        self._pictures = cycle([inputs[i : i + 1] for i in range(len(inputs))])
        try:
            for _ in range(_WARM_UP):
                encoder.encode(next(self._pictures))
        except BaseException:
            encoder.close()
            raise

    def __call__(self) -> float:
        """Return the median of a few pictures."""
        return median(_once(self._encoder, next(self._pictures)) for _ in range(_PICTURES))

    def close(self) -> None:
        """Give the device back, where it is one that is held."""
        self._encoder.close()


def _what(setting: Setting) -> str:
    return f"{setting.runtime} {setting.precision} on {setting.accelerator}"


def _once(encoder: Encoder, picture: NDArray[Any]) -> float:
    start = perf_counter()
    encoder.encode(picture)
    return (perf_counter() - start) * 1e3


def _inputs(bundle: Bundle) -> NDArray[Any]:
    known = load_parity(bundle)
    if known is not None and len(known.inputs):
        return known.inputs[:8]
    spec = bundle.manifest.input
    noise = np.random.default_rng(0).integers(0, 256, (4, *spec.shape))
    return noise.astype(spec.dtype)


def _finalists(ahead: dict[Setting, float]) -> list[Setting]:
    """Return the best of the heats, and the best of each encoder."""
    ranked = sorted(ahead, key=lambda s: ahead[s])
    best = {s.member: s for s in reversed(ranked)}
    return list(dict.fromkeys([*ranked[:_FINALISTS], *best.values()]))


def _by_member(
    own: Callable[[Setting], bool],
    ranks: dict[Setting, Standing],
    ahead: dict[Setting, float],
    chosen: Setting,
) -> dict[str, Setting]:
    """Return the fastest of each encoder where it was made to run: by the last race, or its heat.

    On another accelerator it gives other features, if only by a little.
    """
    found = {s.member: s for s in sorted(ahead, key=lambda s: -ahead[s]) if own(s)}
    found |= {s.member: s for s in sorted(ranks, key=lambda s: -ranks[s].ratio) if own(s)}
    return found | ({chosen.member: chosen} if own(chosen) else {})


def _trial(setting: Setting, one: Standing, times: Sequence[float], *, final: bool) -> Trial:
    return Trial(
        setting=setting,
        ratio=round(one.ratio, 4),
        error=round(one.error, 4),
        median_ms=round(median(times), 3),
        p90_ms=round(quantiles(times, n=10, method="inclusive")[-1], 3),
        final=final,
    )
