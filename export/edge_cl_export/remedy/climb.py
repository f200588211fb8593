"""When int8 misses the gate: what is tried, in which order, and what each step gained.

A recipe is climbed, one rung at a time, each rung a change to the best recipe so far:

    plain → better ranges → equalised channels → corrected bias → adaptive rounding
          → the most sensitive layers in float, along the frontier of size against sensitivity

Every rung is made as the file that would be shipped and judged through the runtime that would
run it; one that does not raise the mean cosine is left out again. The first recipe that holds
the gate is taken. What several formats of one network need is alike: a climb can begin where
another ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from edge_cl_export.proof.fidelity import Fidelity, Gate, misses
from edge_cl_export.recipe import Recipe

__all__ = ["Climb", "Rung", "climb"]

Judge = Callable[[Recipe], tuple[bytes, Fidelity]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One remedy: what it is, the recipe it was tried as, what was found, what it gained.

    gained : of the mean cosine, against the best recipe before it; 0 for the first.
    taken : whether the climb went on from here.
    """

    remedy: str
    recipe: str
    cosine_mean: float
    cosine_worst: float
    gained: float
    taken: bool
    misses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """The recipe a climb ended at, its file, what was found, and the way there."""

    recipe: Recipe
    data: bytes
    found: Fidelity
    misses: tuple[str, ...]
    rungs: tuple[Rung, ...]


def climb(
    start: Recipe,
    judge: Judge,
    gate: Gate,
    *,
    fixed: bool = False,
    weights: bool = True,
    frontier: Callable[[], Sequence[tuple[int, ...]]] | None = None,
) -> Climb:
    """Climb from `start` until the gate holds, or nothing is left to try.

    Parameters
    ----------
    judge : makes the file of a recipe, and says how faithful it is.
    fixed : whether `start` is all there is: it is judged, and no remedy is tried.
    weights : whether weights can be changed: not those of a network that came ready-made.
    frontier : returns sets of layers to keep in float, smaller files first; asked last, since
        it costs a pass of the network for each layer. None: no layer can be kept in float.
    """
    seen = {start}
    data, found = judge(start)
    best = Climb(recipe=start, data=data, found=found, misses=misses(found, gate), rungs=())
    trail = [_rung("as it is", best, 0.0, taken=True)]
    for remedy, change in _remedies(start, weights=weights, frontier=frontier):
        if fixed or not best.misses:
            break
        recipe = change(best.recipe)
        if recipe in seen:
            continue
        seen.add(recipe)
        data, found = judge(recipe)
        tried = Climb(recipe=recipe, data=data, found=found, misses=misses(found, gate), rungs=())
        gained = found.cosine_mean - best.found.cosine_mean
        taken = not tried.misses or gained > 0.0
        trail.append(_rung(remedy, tried, gained, taken=taken))
        if taken:
            best = tried
    return replace(best, rungs=tuple(trail))


def _remedies(
    start: Recipe,
    *,
    weights: bool,
    frontier: Callable[[], Sequence[tuple[int, ...]]] | None,
) -> Iterator[tuple[str, Callable[[Recipe], Recipe]]]:
    """Yield the remedies in their order, each with the change of recipe that it is."""
    ranges: list[tuple[str, Callable[[Recipe], Recipe]]] = [
        ("ranges of 99.99 % of the values", lambda r: replace(r, ranges="percentile99.99")),
        ("ranges of least squared error", lambda r: replace(r, ranges="mse")),
    ]
    yield from ranges
    if weights:
        yield "channels equalised", lambda r: replace(r, equalised=True)
        if start.rounding == "nearest":
            yield "bias corrected", lambda r: replace(r, rounding="corrected")
        yield "weights rounded together", lambda r: replace(r, rounding="gptq")
        yield from ranges  # what is cut off costs less where the bias makes up for it
    if frontier is not None and not start.kept:
        for kept in frontier():
            what = f"{len(kept)} layer{'s' * (len(kept) > 1)} in float"
            yield what, lambda r, kept=kept: replace(r, kept=kept)  # type: ignore[misc]


def _rung(remedy: str, at: Climb, gained: float, *, taken: bool) -> Rung:
    return Rung(
        remedy=remedy,
        recipe=at.recipe.name,
        cosine_mean=at.found.cosine_mean,
        cosine_worst=at.found.cosine_worst,
        gained=round(gained, 6),
        taken=taken,
        misses=at.misses,
    )
