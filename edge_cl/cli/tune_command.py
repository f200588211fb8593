"""`edge-cl tune`: which encoder setting is the fastest here."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.opening import bundle_at
from edge_cl.cli.output import counted, failure, json_line, line, note
from edge_cl.cli.progress import shares
from edge_cl.cli.usage import UsageError

if TYPE_CHECKING:
    from edge_cl.bundle import Bundle
    from edge_cl.tuning import KeptChoice, Tuned

EXAMPLES = """
  edge-cl tune                          about a minute; later runs use what was chosen
  edge-cl tune --bundle all.edgecl --seconds 120
  edge-cl tune --show
"""
_SHOWN = 12


def tune(
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=3600, metavar="S", help="How long to measure, about")
    ] = 60.0,
    runtime: options.Runtime = None,
    precision: options.Precision = None,
    show: Annotated[bool, typer.Option("--show", help="Print what was chosen before")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Forget what was chosen before")] = False,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway", help="Keep the choice of a board that was held back, too, and exit with 0"
        ),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Measure encoders, accelerators, threads and cores on this machine, and keep the fastest.

    Settings take turns with ONNX Runtime as it comes; what is chosen was never slower than that
    in the same run. Of settings that are equally fast, the one that burdens the machine least.

    The choice is kept for this bundle, kernel, governor and processor. edge-cl learn, predict and
    run use it where none of --runtime, --precision, --threads, --accelerator and --cores is given.
    A state that has learned keeps its encoder, and takes the fastest setting of that.

    Exit 3 where the board was throttled or kept slow: nothing is kept then.
    """
    from edge_cl.tuning import choice_path, forget_choice, keep_choice, kept_choice
    from edge_cl.tuning import tune as measure

    if show and forget:
        raise UsageError("--show and --forget exclude each other")
    opened = _bundle(bundle, state, require_signature)
    if forget:
        gone = forget_choice(opened)
        _tell({"bundle": opened.name, "forgotten": gone}, "forgotten" if gone else None, as_json)
        return
    if show:
        _show(opened, kept_choice(opened), as_json)
        return
    choice_path(opened)  # refuses, where nothing could be kept, before a minute has gone by
    with shares() as progress:
        found = measure(
            opened, seconds=seconds, runtime=runtime, precision=precision, progress=progress
        )
    kept = None
    if not found.invalid_because or anyway:
        kept = keep_choice(opened, date=found.date, chosen=found.chosen, by_member=found.by_member)
    if as_json:
        json_line({**_plain(found), "kept": str(kept) if kept else None})
    else:
        _print(found, kept)
    if kept is None:
        why = ", ".join(found.invalid_because)
        failure(f"not kept: the machine was held back ({why})", "mend that, or add --anyway")
        raise typer.Exit(3)


def _bundle(path: Path | None, state: Path, key: Path | None) -> Bundle:
    """Return the bundle that `edge-cl run` would use."""
    from edge_cl.assets import shipped_bundle
    from edge_cl.store import Store, is_state

    if path is None and is_state(state):
        store = Store(state, read_only=True)
        path = store.bundle
        store.close()
    return bundle_at(path or shipped_bundle(), key)


def _show(bundle: Bundle, kept: KeptChoice | None, as_json: bool) -> None:
    import msgspec

    fields = None if kept is None else msgspec.to_builtins(kept)
    told = None if kept is None else f"{kept.chosen.line}; tuned on {kept.date}"
    _tell({"bundle": bundle.name, "kept": fields}, told, as_json)


def _tell(fields: dict[str, object], told: str | None, as_json: bool) -> None:
    if as_json:
        json_line(fields)
    else:
        line(told or "nothing was chosen for this bundle on this machine as it is now")


def _plain(found: Tuned) -> dict[str, object]:
    import msgspec

    plain: dict[str, object] = msgspec.to_builtins(asdict(found))
    return plain


def _print(found: Tuned, kept: Path | None) -> None:
    m = found.machine
    line(f"bundle: {found.bundle}")
    line(f"machine: {m.board or m.cpu}, {counted(m.cores, 'core')}, {m.architecture}")
    line("")
    line(f"{'ms a picture':<52}{'median':>8}{'p90':>8}{'default = 1':>16}")
    for trial in found.trials[:_SHOWN]:
        mark = "* " if trial.setting == found.chosen else "  "
        ratio = f"{trial.ratio:.2f}" + ("" if trial.final else " ~")
        line(
            f"{mark + trial.setting.line:<52}{trial.median_ms:>8.2f}{trial.p90_ms:>8.2f}{ratio:>16}"
        )
    if len(found.trials) > _SHOWN:
        line(f"  and {len(found.trials) - _SHOWN} slower ones")
    line("")
    line(f"default: {found.baseline.line}")
    line(f"chosen:  {found.chosen.line}")
    if kept is not None:
        line("kept: learn, predict and run use it here from now on")
    for what, why in found.refused.items():
        note(f"left out: {what}: {why}")
    if found.not_tried:
        note(f"not tried, time was up: {counted(found.not_tried, 'setting')}; --seconds gives more")
