"""`edge-cl demo`: the demonstration, with a table, a picture and a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.opening import bundle_at
from edge_cl.cli.output import failure, json_line, line, note
from edge_cl.cli.progress import shares

if TYPE_CHECKING:
    from edge_cl.demo import DemoReport
    from edge_cl.demo.stream import StreamReport

EXAMPLES = """
  edge-cl demo
  edge-cl demo --quick --no-picture
  edge-cl demo --unpack photos          only write the pictures, to play with
"""

_NAMES = {"ridge": "ridge", "lda": "LDA", "ncm": "nearest mean"}


def demo(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the picture and the state")
    ] = Path("edge-cl-demo"),
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    threads: options.Threads = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Take five pictures of each class and session")
    ] = False,
    picture: Annotated[
        bool | None,
        typer.Option(
            "--picture/--no-picture",
            show_default=False,
            help="Draw OUT/demo.png  [default: if matplotlib is there]",
        ),
    ] = None,
    unpack: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the household pictures to DIR, and do no more"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """See what it does, on pictures that ship with it.

    Twenty kinds of things are taught group by group, one picture at a time. Three heads are
    compared with the same head fitted to everything at once, and with a softmax layer trained
    by SGD over the same pass. Then the state is saved, reopened, undone and made to forget.
    Exit 3 when something is not as it must be.
    """
    from dataclasses import asdict

    from edge_cl.assets import shipped_bundle
    from edge_cl.demo import run_demo
    from edge_cl.demo.keeping import fresh_folder
    from edge_cl.demo.pictures import unpack_household
    from edge_cl.demo.plot import draw_demo
    from edge_cl.picture_file import can_plot, require_plot

    if unpack is not None:
        count = unpack_household(unpack)
        if as_json:
            json_line({"pictures": count, "folder": str(unpack)})
        else:
            line(f"wrote {count} pictures to {unpack}: a folder a session, in it a folder a class")
        return
    if picture:
        require_plot()
    draw = can_plot() if picture is None else picture
    opened = bundle_at(bundle or shipped_bundle(), require_signature)
    state = fresh_folder(out / "state")
    with shares() as progress:
        report = run_demo(
            opened, state, threads=threads, limit=5 if quick else None, progress=progress
        )
    if draw:
        draw_demo(report, out / "demo.png")
    if as_json:
        json_line({**asdict(report), "passed": report.passed})
    else:
        _print(report)
    if draw:
        note(f"picture: {out / 'demo.png'}")
    elif picture is None:
        note("no picture drawn: pip install 'edge-cl[plot]'")
    if not report.passed:
        failure("something is not as it must be: see above")
        raise typer.Exit(3)


def _print(report: DemoReport) -> None:
    line(f"bundle: {report.bundle}")
    line(f"machine: {report.machine.board or report.machine.cpu}, {report.machine.cores} cores")
    for stream in report.streams:
        line("")
        _print_stream(stream)
    kept = report.keeping
    line("")
    line(f"kept: {kept.samples} samples in {kept.state_bytes / 1e6:.1f} MB")
    line(f"reopened, same scores bit for bit: {_yes(kept.reopened_equal)}")
    line(f"undone, as if never learned: {_yes(kept.undo_equal)}")
    line(f"forgotten, as if never learned: {_yes(kept.forget_equal)}")
    line(f"took {report.elapsed_s:.0f} s")


def _print_stream(s: StreamReport) -> None:
    line(f"{s.name}: {s.train} pictures in one pass, {s.test} to test; accuracy on classes seen")
    line(f"{'classes seen':<24}" + "".join(f"{n:>7}" for n in s.classes_seen) + "  all at once")
    for head, accuracy in s.accuracy.items():
        cells = "".join(f"{a:>7.3f}" for a in accuracy)
        line(
            f"{_NAMES[head]:<24}{cells}  {s.joint_accuracy[head]:.3f}"
            f"  (scores differ by {s.joint_difference[head]:.0e})"
        )
    cells = "".join(f"{a:>7.3f}" for a in s.sgd_accuracy)
    line(f"{'softmax by SGD':<24}{cells}  {s.sgd_shuffled:.3f}  (one pass, shuffled)")
    t = s.stages
    line(
        f"a picture: prepare {t.prepare:.2f} ms, encode {t.encode:.2f} ms, "
        f"map {t.map:.2f} ms, predict {t.predict:.2f} ms, learn {t.learn:.2f} ms (medians)"
    )


def _yes(value: bool) -> str:
    return "yes" if value else "NO"
