"""`edge-cl predict`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_cl.cli import options
from edge_cl.cli.opening import Choices, open_existing
from edge_cl.cli.output import json_line, line, note

if TYPE_CHECKING:
    from edge_cl.results import Prediction
    from edge_cl.run_results import Event

EXAMPLES = """
  edge-cl predict photo.jpg
  edge-cl predict photos/*.jpg --top 1
  edge-cl predict photo.jpg --head lda     ask another head, nothing is learned again
  edge-cl predict photo.jpg --among mug --among cup
  edge-cl predict - --json < paths.txt     paths on stdin, JSON lines out
"""

Top = Annotated[int, typer.Option(min=1, metavar="N", help="Show the N likeliest classes")]


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            show_default=False,
            help="Pictures, folders, videos, .npz files, or - for paths on stdin",
        ),
    ],
    top: Top = 3,
    among: options.Among = None,
    skip_bad: options.SkipBad = False,
    every: options.Every = 1,
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    head: options.Head = None,
    runtime: options.Runtime = None,
    precision: options.Precision = None,
    threads: options.Threads = None,
    accelerator: options.Accelerator = None,
    cores: options.Cores = None,
    strict: options.Strict = False,
    as_json: options.Json = False,
) -> None:
    """Say what is in pictures, one line each.

    Only reads the state: it works while `edge-cl run` is learning, and sees what is on disk.
    With --json, one JSON object a line.
    """
    from edge_cl.run import run_stream
    from edge_cl.sources import Chain, open_source

    choices = Choices(
        bundle=bundle,
        require_signature=require_signature,
        head=head,
        runtime=runtime,
        precision=precision,
        threads=threads,
        accelerator=accelerator,
        cores=cores,
        strict=strict,
    )
    with open_existing(state, choices, read_only=True) as learner:
        source = Chain([open_source(path, every=every) for path in paths])
        run_stream(
            learner,
            source,
            mode="predict",
            skip_bad=skip_bad,
            among=among or None,
            on_event=lambda event: show_event(event, top, as_json),
            on_unusable=lambda item: note(f"note: {item.error}"),
        )


def show_event(event: Event, top: int, as_json: bool) -> None:
    """Write what happened to one sample, on one line."""
    if as_json:
        json_line(_event_fields(event, top))
        return
    if event.prediction is None:
        line(f"{event.name}: learned as {event.label}")
        return
    text = f"{event.name}: {_likeliest(event.prediction, top)}"
    line(text if event.correct is not False else f"{text} (is {event.label})")


def _likeliest(prediction: Prediction, top: int) -> str:
    best = list(prediction.probabilities.items())[:top]
    return ", ".join(f"{label} {p:.2f}" for label, p in best)


def _event_fields(event: Event, top: int) -> dict[str, Any]:
    fields: dict[str, Any] = {"kind": "sample", "name": event.name}
    if event.prediction is not None:
        best = list(event.prediction.probabilities.items())[:top]
        fields["predicted"] = event.prediction.label
        fields["probability"] = event.prediction.probability
        fields["probabilities"] = dict(best)
    if event.label is not None:
        fields["label"] = event.label
    if event.correct is not None:
        fields["correct"] = event.correct
    fields["learned"] = event.learned
    if event.now_serving is not None:
        fields["now_serving"] = event.now_serving
    fields["stage_ms"] = {"read": event.read_ms, **asdict(event.stage_ms)}
    return fields
