"""`edge-cl run`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.from_shelf import checked_shelf, count_healthy, started
from edge_cl.cli.opening import Choices, open_existing, open_or_create
from edge_cl.cli.output import contents, counted, json_line, note, note_serving, pairs
from edge_cl.cli.predict_command import Top, show_event
from edge_cl.cli.progress import progress
from edge_cl.cli.usage import UsageError

if TYPE_CHECKING:
    from edge_cl.results import Status
    from edge_cl.run_results import Event, Summary

EXAMPLES = """
  edge-cl run camera:0                                 watch, and say what is seen
  edge-cl run camera:0 --mode learn --label mug        show it a mug; Ctrl-C when done
  edge-cl run photos/ --mode prequential --shuffle 0   test on each sample, then learn it
  edge-cl run clip.mp4 --every 10 --json               each tenth frame, JSON lines
  edge-cl run camera:0 --mode learn --label mug --durability group:8    fewer writes to the card
  edge-cl run camera:0 --bundles shelf                 from where edge-cl update puts bundles
  producer | edge-cl run - --mode learn                lines `path<TAB>label` on stdin
"""


class Mode(str, Enum):
    """See `edge_cl.run`."""

    predict = "predict"
    learn = "learn"
    prequential = "prequential"


def run(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            show_default=False,
            help="A folder, a video, camera:0, an .npz file, or - for paths on stdin",
        ),
    ],
    mode: Annotated[
        Mode, typer.Option(help="Answer; learn; or answer, score the answer, then learn")
    ] = Mode.predict,
    label: Annotated[
        str | None, typer.Option(metavar="NAME", help="The class of every sample")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after N samples")
    ] = None,
    every: options.Every = 1,
    shuffle: Annotated[
        int | None,
        typer.Option(metavar="SEED", help="Mix the samples of a folder or an .npz file"),
    ] = None,
    skip_bad: options.SkipBad = False,
    autosave: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="So often what waits is put on disk; 0: only at the end"
        ),
    ] = 60.0,
    durability: options.Durability = "lesson",
    archive: options.Archive = False,
    thumbnails: options.Thumbnails = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the summary only, no line a sample")
    ] = False,
    top: Top = 3,
    among: options.Among = None,
    smooth: options.Smooth = 0.0,
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    bundles: Annotated[
        Path | None,
        typer.Option(
            "--bundles",
            metavar="SHELF",
            help="Take the current bundle of a shelf (edge-cl shelf); each encoder then has a "
            "state of its own below --state",
        ),
    ] = None,
    require_signature: options.RequireSignature = None,
    head: options.Head = None,
    compare: options.Compare = None,
    map_name: options.FeatureMapName = None,
    preset: options.Preset = None,
    forgetting: options.Forgetting = None,
    runtime: options.Runtime = None,
    precision: options.Precision = None,
    threads: options.Threads = None,
    accelerator: options.Accelerator = None,
    cores: options.Cores = None,
    strict: options.Strict = False,
    as_json: options.Json = False,
) -> None:
    """Run it on a stream of samples: answer, learn, or both.

    Of a camera the latest picture is taken and older ones are dropped; nothing else is dropped.

    A lesson is on disk before it is shown, unless --durability says otherwise: a power cut then
    costs nothing that was shown. Samples of a folder, a video or an .npz file are learned 16 at a
    time, and are on disk together.

    Ctrl-C (SIGINT) or SIGTERM ends it well: the sample at hand is finished, the state is saved,
    the summary printed, and the exit code is 0. A second Ctrl-C ends it at once.

    Mode predict only reads the state. With --json there is one JSON object a line, "kind" says
    which: "sample", and at the end "summary".
    """
    from edge_cl.run import run_stream
    from edge_cl.sources import open_source
    from edge_cl.store import durability_named
    from edge_cl.watchdog import Watchdog

    durability_named(durability)
    if bundle is not None and bundles is not None:
        raise UsageError("expected --bundle or --bundles, got both")
    choices = Choices(
        bundle=bundle,
        require_signature=require_signature,
        head=head,
        compare=compare or None,
        feature_map=map_name,
        preset=preset,
        forgetting=forgetting,
        runtime=runtime,
        precision=precision,
        threads=threads,
        accelerator=accelerator,
        cores=cores,
        strict=strict,
        durability=durability,
        archive=archive,
        thumbnails=thumbnails,
    )
    if among and mode is not Mode.predict:
        raise UsageError("--among is for mode predict: what is learned has a label")
    with _stopped_by_signals() as stop:
        samples = open_source(source, stop=stop, every=every, shuffle=shuffle)
        shelf = checked_shelf(bundles, require_signature) if bundles is not None else None
        if shelf:
            choices, state = started(shelf, choices, state)
        if mode is Mode.predict:
            learner = open_existing(state, choices, read_only=True)
        else:
            learner = open_or_create(state, choices)
        with (
            learner,
            progress(mode.value, samples.total, wanted=quiet) as advance,
        ):
            watchdog = Watchdog()

            def on_event(event: Event) -> None:
                advance()
                note_serving(event)
                if shelf:
                    count_healthy(shelf)
                if not quiet:
                    show_event(event, top, as_json)
                watchdog.finished()

            watchdog.ready()
            summary = run_stream(
                learner,
                samples,
                mode=mode.value,
                label=label,
                limit=limit,
                skip_bad=skip_bad,
                among=among or None,
                smooth=smooth,
                autosave_s=autosave if autosave and mode is not Mode.predict else None,
                stop=stop,
                on_event=on_event,
                on_unusable=lambda item: note(f"note: {item.error}"),
            )
            status = learner.status
            watchdog.stopping()
    if as_json:
        _print_json(summary, status, state)
    else:
        _print(summary, status, state)


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Hand out an event that SIGINT, SIGTERM and SIGHUP set; a second SIGINT interrupts at once."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, handle) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _print_json(summary: Summary, status: Status, state: Path) -> None:
    fields = asdict(summary)
    fields["accuracy"] = summary.accuracy
    fields["samples_per_second"] = summary.samples_per_second
    fields["state"] = str(state)
    fields["state_samples"] = status.samples
    fields["state_samples_per_class"] = status.samples_per_class
    json_line({"kind": "summary", **fields})


def _print(s: Summary, status: Status, state: Path) -> None:
    speed = f"{s.elapsed_s:.1f} s, {s.samples_per_second:.1f} a second"
    rows: list[tuple[str, object]] = [
        ("samples", f"{s.samples} ({speed}{', stopped' if s.stopped else ''})")
    ]
    if s.accuracy is not None:
        name = "prequential accuracy" if s.mode == "prequential" else "accuracy"
        rows.append((name, f"{s.accuracy:.3f} ({s.correct} of {s.scored})"))
    if s.mode != "predict":
        rows.append(("learned", counted(s.learned, "sample")))
    if s.new_classes:
        rows.append(("new", ", ".join(s.new_classes)))
    for name, count in (("skipped", s.skipped), ("dropped", s.dropped)):
        if count:
            rows.append((name, count))
    for name, stage in s.stages.items():
        if stage.p99_ms > 0:
            times = f"median {stage.median_ms:.2f} ms, 99 % within {stage.p99_ms:.2f} ms"
            rows.append((f"time, {name}", times))
    pairs([*rows, ("state", contents(state, status))])
