"""`edge-cl plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_cl.cli import options
from edge_cl.cli.opening import bundle_at
from edge_cl.cli.output import counted, json_line, line, note
from edge_cl.cli.progress import shares

if TYPE_CHECKING:
    from edge_cl.planning import Plan
    from edge_cl.planning.span import Span

EXAMPLES = """
  edge-cl plan --device raspberry-pi-5 --classes 200
  edge-cl plan --device raspberry-pi-zero-2-w --map random-relu:4096     what fits instead
  edge-cl plan --device my-board.toml --head lda --plot plan.png
  edge-cl plan --device here --budget-mb 300                             exit 3 if it does not fit
"""

_PARTS = {
    "python": "Python and NumPy",
    "numba": "Numba and its kernels",
    "pictures": "reading pictures",
    "library": "the encoder's library",
    "encoder": "bundle and encoder",
    "sums": "sums (moments)",
    "head": "head",
    "history": "history and index",
    "map": "map",
    "passing": "while it is opened or solved",
}
_STAGES = {
    "encode": "encode",
    "map": "map",
    "learn": "learn",
    "pause": "the longest lesson, besides",
    "flush": "flush, before an answer",
    "whole": "solved as a whole",
    "predict": "predict",
}
_CALLS = {"a lesson": ("encode", "map", "learn"), "an answer": ("encode", "map", "predict")}


def plan(
    device: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="A board (edge-cl devices lists them), a .toml file of your own, or here: this "
            "machine, measured in a second",
        ),
    ],
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Encoder  [default: the one that ships with edge-cl]"),
    ] = None,
    head: Annotated[
        str, typer.Option(metavar="NAME", help="Which head (edge-cl heads lists them)")
    ] = "ridge",
    feature_map: Annotated[
        str, typer.Option("--map", metavar="NAME", help="Which map (edge-cl heads lists them)")
    ] = "identity",
    classes: Annotated[
        int, typer.Option(min=1, max=10_000_000, metavar="K", help="How many will be learned")
    ] = 100,
    d: Annotated[
        int | None,
        typer.Option(
            "--d", min=1, metavar="D", help="Features, as if edge-cl export --project made so many"
        ),
    ] = None,
    budget_mb: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Memory that the process may take, in the place of the board's; exit 3 if it does "
            "not fit",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw memory and time over features and classes (.png, .svg, .pdf)"
        ),
    ] = None,
    runtime: options.Runtime = None,
    precision: options.Precision = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Of the encoder  [default: the fastest cores, at most 4]"
        ),
    ] = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Say what a learner will need on a board, before there is one.

    Bytes are counted, times predicted from what was published and measured; every assumption is
    printed with its source, and what nobody has verified is marked. What does not fit comes with
    setups that would. How long a picture takes to prepare and a disk to commit is not predicted.
    """
    from edge_cl.assets import shipped_bundle
    from edge_cl.planning import plan as planned

    if plot is not None:
        from edge_cl.picture_file import require_plot

        require_plot(plot)
    with shares() as progress:
        found, planner = planned(
            bundle_at(bundle or shipped_bundle(), require_signature),
            device,
            head=head,
            feature_map=feature_map,
            classes=classes,
            d=d,
            runtime=runtime,
            precision=precision,
            threads=threads,
            budget_mb=budget_mb,
            progress=progress,
        )
    if plot is not None:
        from edge_cl.planning.picture import draw_plan

        draw_plan(found, planner, plot)
    if as_json:
        json_line(_json(found))
    else:
        _print(found)
        if plot is not None:
            note(f"drawn: {plot}")
    if budget_mb is not None and not all(fit.fits for fit in found.fits):
        raise typer.Exit(3)


def _print(found: Plan) -> None:
    from edge_cl.specs import described

    setup = found.setup
    line(f"device: {found.device}")
    line(f"bundle: {found.bundle} ({_encoder(found)})")
    line(
        f"learner: {described(setup.head)}, map {described(setup.feature_map)}, "
        f"{found.needs.d} features, {setup.classes} classes"
    )
    line("")
    line(f"{'memory of the process':<30}{'MB':>9}")
    for name, size in found.memory.items():
        if size:
            line(f"  {_PARTS[name]:<28}{size / 1e6:>9.1f}")
    line(f"  {'at most':<28}{found.peak_bytes / 1e6:>9.1f}")
    line("")
    line(f"{'state on disk':<30}{'MB':>9}")
    for name, size in found.needs.disk.items():
        line(f"  {name:<28}{size / 1e6:>9.1f}")
    line(f"  {'in all':<28}{found.needs.state_bytes / 1e6:>9.1f}")
    line(f"  {'written a lesson, KB':<28}{found.written / 1e3:>9.1f}")
    line("")
    line(f"{'predicted, ms':<30}{'least':>9}{'likely':>9}{'most':>9}")
    for name, label in _STAGES.items():
        line(_row(label, found.times[name]))
    for label, span in _calls(found).items():
        line(_row(label, span))
    line("")
    for fit in found.fits:
        verdict = "fits" if fit.fits else "does not fit"
        line(f"{fit.limit.name}: {verdict} ({fit.limit.usable / 1e6:.0f} MB to use)")
        for instead in fit.instead:
            line(f"  would fit: {instead.line}")
        if not fit.fits and not fit.instead:
            line("  nothing that was tried would fit")
    if not found.fits:
        line("its memory is not known: whether it fits cannot be told")
    line("")
    line("assumptions:")
    for assumption in found.assumptions:
        line(f"  {assumption.line}")


def _row(label: str, span: Span | None) -> str:
    if span is None:
        return f"  {label:<28}{'not known':>9}"
    return f"  {label:<28}" + "".join(
        f"{_short(ms):>9}" for ms in (span.least, span.likely, span.most)
    )


def _short(ms: float) -> str:
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"


def _encoder(found: Plan) -> str:
    if found.encoder == "none":
        return "its features come ready-made"
    work = f", {found.macs / 1e6:.0f} M multiply-adds" if found.macs else ""
    return f"{found.encoder}{work}, {counted(found.threads, 'thread')}"


def _calls(found: Plan) -> dict[str, Span | None]:
    """Return what a whole lesson and a whole answer take."""
    calls: dict[str, Span | None] = {}
    for label, stages in _CALLS.items():
        spans = [found.times[stage] for stage in stages]
        known = [span for span in spans if span is not None]
        calls[label] = sum(known[1:], known[0]) if len(known) == len(spans) else None
    return calls


def _json(found: Plan) -> dict[str, Any]:
    from edge_cl.specs import described

    def span(ms: Span | None) -> dict[str, float] | None:
        return None if ms is None else {"least": ms.least, "likely": ms.likely, "most": ms.most}

    return {
        "device": found.device,
        "bundle": found.bundle,
        "encoder": found.encoder,
        "macs": found.macs,
        "threads": found.threads,
        "head": described(found.setup.head),
        "map": described(found.setup.feature_map),
        "d": found.needs.d,
        "classes": found.setup.classes,
        "memory_bytes": found.memory,
        "peak_bytes": found.peak_bytes,
        "disk_bytes": found.needs.disk,
        "state_bytes": found.needs.state_bytes,
        "written_a_lesson_bytes": found.written,
        "ms": {name: span(ms) for name, ms in (found.times | _calls(found)).items()},
        "fits": [
            {
                "memory": fit.limit.name,
                "usable_bytes": fit.limit.usable,
                "fits": fit.fits,
                "would_fit": [
                    {
                        "changes": list(instead.changes),
                        "takes_bytes": instead.takes,
                        "d": instead.setup.d_in,
                        "map": described(instead.setup.feature_map),
                        "head": described(instead.setup.head),
                        "classes": instead.setup.classes,
                        "numba": instead.setup.numba,
                    }
                    for instead in fit.instead
                ],
            }
            for fit in found.fits
        ],
        "assumptions": [
            {"text": a.text, "source": a.source, "verified": a.verified} for a in found.assumptions
        ],
    }
