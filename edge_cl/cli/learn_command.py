"""`edge-cl learn`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.learn_once import event_named, learn_once
from edge_cl.cli.opening import Choices, all_or_nothing, open_or_create
from edge_cl.cli.output import (
    contents,
    counted,
    json_line,
    note,
    note_serving,
    pairs,
    warn_saturated,
)
from edge_cl.cli.progress import progress
from edge_cl.cli.usage import UsageError

if TYPE_CHECKING:
    from edge_cl.results import Lesson, Status
    from edge_cl.run_results import Event, Summary

EXAMPLES = """
  edge-cl learn photo.jpg mug         one picture of a mug
  edge-cl learn photos/mug mug        all pictures in a folder, all of them mugs
  edge-cl learn photos/               a folder with a folder for each class
  edge-cl learn clip.mp4 mug          every frame of a video
  edge-cl learn features.npz          rows of x, with their labels y
  ls *.jpg | edge-cl learn - mug      paths on stdin
  edge-cl learn photo.jpg mug --event 00000000c0ffee000000000000000001     safe to repeat
"""


def learn(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH... [LABEL]",
            show_default=False,
            help="Pictures, folders, videos, .npz files, or - for paths on stdin; then the class",
        ),
    ],
    label: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The class, where LABEL would look like a path"),
    ] = None,
    skip_bad: options.SkipBad = False,
    every: options.Every = 1,
    event: Annotated[
        str | None,
        typer.Option(
            metavar="HEX",
            help="Name of this lesson, 32 hex digits: a name, 16 digits, then a number that rises",
        ),
    ] = None,
    archive: options.Archive = False,
    thumbnails: options.Thumbnails = False,
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
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
    """Teach it labelled pictures.

    All or nothing: when something cannot be read, nothing is learned and the state stays as it
    was.

    A class that was never seen before is a new class; nothing else is needed to add one. The order
    does not matter; where heads are compared, a folder is taken in mixed order.

    With --event one sample is learned once, however often the command is repeated: a script that
    got no answer can call it again. The name must be new for each lesson.
    """
    from edge_cl.labels import checked_label
    from edge_cl.run import run_stream
    from edge_cl.sources import Chain, open_source

    if label is None:
        paths, label = _divided(paths)
    label = checked_label(label) if label is not None else None
    source = Chain([open_source(path, every=every) for path in paths])  # refuses what is not there
    named = event_named(event) if event is not None else None
    if named is not None and skip_bad:
        raise UsageError("--event names one sample: there is none to skip with --skip-bad")
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
        archive=archive,
        thumbnails=thumbnails,
    )
    lesson: Lesson | None = None
    with all_or_nothing(open_or_create(state, choices)) as learner:
        if named is not None:
            lesson = learn_once(learner, source, label, named)
            summary = _summary(lesson)
        else:
            if learner.status.compared:  # a class after the other would be a test of nothing
                source = Chain([open_source(path, every=every, shuffle=0) for path in paths])
            with progress("learning", source.total) as advance:

                def on_event(event: Event) -> None:
                    advance()
                    note_serving(event)

                summary = run_stream(
                    learner,
                    source,
                    mode="learn",
                    label=label,
                    skip_bad=skip_bad,
                    on_event=on_event,
                    on_unusable=lambda item: note(f"note: {item.error}"),
                )
        status = learner.status
    warn_saturated(status)
    seq = lesson.seq if lesson else status.seq
    duplicate = lesson is not None and lesson.duplicate
    if as_json:
        json_line(
            {
                "learned": summary.learned,
                "new_classes": summary.new_classes,
                "skipped": summary.skipped,
                "strays": summary.strays,
                "seq": seq,
                "duplicate": duplicate,
                "samples": status.samples,
                "samples_per_class": status.samples_per_class,
                "state": str(state),
            }
        )
    else:
        if duplicate:
            note(f"note: this event was learned before, as lesson {seq}")
        _print(summary, status, state)


def _summary(lesson: Lesson) -> Summary:
    from edge_cl.run_results import Summary

    if lesson.duplicate:
        return Summary(mode="learn", samples=1)
    new = list(lesson.new_classes)
    return Summary(mode="learn", samples=1, learned=lesson.samples, new_classes=new)


def _divided(paths: list[str]) -> tuple[list[str], str | None]:
    """Take LABEL off the end, and refuse what might as well be a path."""
    from edge_cl.sources import PICTURE_SUFFIXES, VIDEO_SUFFIXES

    last = Path(paths[-1])
    if len(paths) == 1:
        return paths, None
    if last.exists():
        raise UsageError(f"{last} is taken for LABEL, but is a path; give --label NAME")
    if "/" in paths[-1] or last.suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES | {".npz"}:
        raise UsageError(f"{last} is taken for LABEL, but looks like a path; give --label NAME")
    return paths[:-1], paths[-1]


def _print(summary: Summary, status: Status, state: Path) -> None:
    rows: list[tuple[str, object]] = [("learned", counted(summary.learned, "sample"))]
    if summary.new_classes:
        rows.append(("new", ", ".join(summary.new_classes)))
    if summary.skipped:
        rows.append(("skipped", summary.skipped))
    pairs([*rows, ("state", contents(state, status))])
