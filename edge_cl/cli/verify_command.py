"""`edge-cl verify`: whether this machine sees what the workstation saw."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.labelled import Labelled
from edge_cl.cli.opening import Choices, bundle_at
from edge_cl.cli.output import counted, failure, json_line, line, note
from edge_cl.cli.progress import shares
from edge_cl.cli.usage import UsageError

if TYPE_CHECKING:
    from edge_cl.agreement import Agreement
    from edge_cl.bundle import Bundle
    from edge_cl.verify_results import EncoderCheck, Verified

EXAMPLES = """
  edge-cl verify                              the bundle that ships with edge-cl
  edge-cl verify encoder.edgecl               on the board, before it learns for years
  edge-cl verify encoder.edgecl --on-device   keep the board's own report beside the bundle
  edge-cl verify encoder.edgecl --pictures photos/
"""


def verify(
    bundle: options.Shipped = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Labelled pictures, or an .npz file: also test heads on them, here",
        ),
    ] = None,
    on_device: Annotated[
        bool,
        typer.Option("--on-device", help="Store what was found beside BUNDLE, as *.board.json"),
    ] = False,
    min_cosine: Annotated[
        float, typer.Option(min=0, max=1, help="To the float model: the mean must reach this")
    ] = 0.99,
    min_workstation: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="To the same encoder on the workstation: each input must reach this"
        ),
    ] = 0.999,
    threads: Annotated[int, typer.Option(min=1, help="Of each encoder")] = 1,
    require_signature: options.RequireSignature = None,
    runtime: options.Runtime = None,
    precision: options.Precision = None,
    accelerator: options.Accelerator = None,
    cores: options.Cores = None,
    strict: options.Strict = False,
    as_json: options.Json = False,
) -> None:
    """Say whether this machine sees what the workstation saw.

    Every encoder of the bundle that can run here encodes the inputs inside it. Its features are
    compared with the float model's, and with those that the same file gave on the workstation.
    Exit 3 when they are too far off, or when an encoder does not work here.
    """
    import msgspec

    from edge_cl.assets import shipped_bundle
    from edge_cl.board_report import write_report

    if on_device and bundle is None:
        raise UsageError("--on-device stores a report beside BUNDLE: expected its path")
    path = bundle or shipped_bundle()
    opened = bundle_at(path, require_signature)
    found = _found(
        opened,
        pictures,
        Choices(
            runtime=runtime,
            precision=precision,
            threads=threads,
            accelerator=accelerator,
            cores=cores,
            strict=strict,
        ),
        min_cosine,
        min_workstation,
    )
    stored = write_report(path, found) if on_device else None
    if as_json:
        fields = msgspec.to_builtins(found)
        json_line(fields | ({"stored": str(stored)} if stored else {}))
    else:
        _print(found, path)
        if stored:
            line(f"stored: {stored}")
    if found.misses:
        more = len(found.misses) - 1
        failure(found.misses[0] + (f" (and {more} more)" if more else ""))
        raise typer.Exit(3)


def _found(
    bundle: Bundle,
    pictures: Path | None,
    choices: Choices,
    min_cosine: float,
    min_workstation: float,
) -> Verified:
    from edge_cl.encoders.cores import cores_named
    from edge_cl.errors import InputError
    from edge_cl.sources import open_source
    from edge_cl.verify import verify as run

    samples = Labelled()
    with shares() as progress:
        source = None if pictures is None else open_source(str(pictures))
        try:
            return run(
                bundle,
                runtime=choices.runtime,
                precision=choices.precision,
                threads=choices.threads or 1,
                accelerator=choices.accelerator,
                cores=None if choices.cores is None else cores_named(choices.cores),
                strict=choices.strict,
                min_cosine=min_cosine,
                min_workstation=min_workstation,
                labelled=None if source is None else samples.pairs(source, lambda: None),
                progress=progress,
            )
        except InputError as error:
            at = samples.at
            raise InputError(f"{at}: {error}" if at else str(error), hint=error.hint) from error


def _print(found: Verified, path: Path) -> None:
    m = found.machine
    line(f"bundle: {found.bundle} ({path.name})")
    line(f"machine: {m.board or m.cpu}, {counted(m.cores, 'core')}, {m.architecture}")
    line(f"compared on: {counted(found.inputs, 'input')}, threads: {found.threads}")
    line("")
    line(f"{'cosine':<26}{'to the float model':>20}{'to the workstation':>20}{'ms':>16}")
    line(f"{'':<26}" + f"{'mean':>10}{'worst':>10}" * 2 + f"{'median':>8}{'p99':>8}")
    for e in found.encoders:
        times = f"{e.latency.median_ms:>8.2f}{e.latency.p99_ms:>8.2f}"
        line(f"{e.member:<26}{_cosines(e.float_model)}{_cosines(e.workstation)}{times}")
    for pair in found.between:
        a = pair.agreement
        line(
            f"{pair.members[0]} and {pair.members[1]} agree: "
            f"mean {a.cosine_mean:.5f}, worst {a.cosine_worst:.5f}"
        )
    for e in found.encoders:
        _print_place(e)
    for member, why in found.failed.items():
        line(f"{member}: does not work here: {why}")
    for e in found.encoders:
        _print_heads(e)
    line("")
    line(f"verdict: {found.verdict}")
    for member, why in found.skipped.items():
        note(f"left out: {member}: {why}")


def _print_place(e: EncoderCheck) -> None:
    from edge_cl.encoders.accelerators import NOT_RUN, accelerator_for

    line(f"{e.member} ran as: {e.placement.line}")
    if accelerator_for(e.placement.accelerator, e.runtime).hardware == NOT_RUN:
        line(
            f"{e.member}: edge-cl's own use of {e.placement.accelerator} was {NOT_RUN} by its tests"
        )
    for text in e.placement.fallbacks:
        line(f"{e.member}: fallback: {text}")


def _print_heads(e: EncoderCheck) -> None:
    if e.heads is not None:
        right = ", ".join(f"{head} {share:.3f}" for head, share in e.heads.accuracy.items())
        tested = counted(e.heads.tested, "input")
        line(f"{e.member}, heads: {right} ({tested} tested, held out by {e.heads.held_out})")


def _cosines(a: Agreement | None) -> str:
    return f"{'-':>10}" * 2 if a is None else f"{a.cosine_mean:>10.5f}{a.cosine_worst:>10.5f}"
