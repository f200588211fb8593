"""`edge-cl status`, `undo`, `forget` and `merge`: looking at a state and changing it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.opening import Choices, all_or_nothing, open_existing, require_state
from edge_cl.cli.output import contents, counted, json_line, line, note, pairs, warn_saturated
from edge_cl.cli.usage import UsageError

if TYPE_CHECKING:
    from edge_cl.learner import Learner

STATUS_EXAMPLES = """
  edge-cl status
  edge-cl status --state robot-7 --json
"""
UNDO_EXAMPLES = """
  edge-cl undo        that last picture was not a mug
  edge-cl undo 5
"""
FORGET_EXAMPLES = """
  edge-cl forget photo.jpg mug
  edge-cl forget features.npz mug     every row of x
  edge-cl forget --lesson 17          by number, as edge-cl history shows it
"""
USE_EXAMPLES = """
  edge-cl use lda
  edge-cl use ridge       with its default strength again, after edge-cl tune-head
"""
MERGE_EXAMPLES = """
  edge-cl merge other-device/edge-cl-state
"""


def status(
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Say what has been learned, and how.

    Only reads the state: it works while `edge-cl run` is learning, and shows what is on disk.
    """
    from edge_cl.store import Store

    with open_existing(
        state, Choices(bundle=bundle, require_signature=require_signature), read_only=True
    ) as learner:
        found, recovery = learner.status, learner.recovery
    versions = Store(state, read_only=True).versions()
    for text in recovery.problems:
        note(f"note: {text} (edge-cl doctor says more)")
    if as_json:
        json_line({**asdict(found), "versions": list(versions)})
        return
    pairs(
        [
            ("state", contents(state, found)),
            ("bundle", found.bundle),
            ("encoder", found.encoder),
            ("runs as", found.placement.line),
            ("head", f"{found.head} (auto)" if found.auto else found.head),
            ("feature map", found.feature_map),
            ("forgetting", found.forgetting),
            ("features", found.d),
            ("can be undone", counted(found.undoable, "sample")),
            ("changes", found.seq),
            ("lost to damage", counted(found.lost, "sample")),
            ("versions", ", ".join(versions) or "none"),
            ("memory", f"{found.memory_bytes / 1e6:.1f} MB"),
            ("kernels", found.kernels),
        ]
    )
    for text in found.placement.fallbacks:
        line(f"fallback: {text}")
    if found.snapshot_error:
        line(f"snapshots: {found.snapshot_error}")
    line(f"outside the grid: {found.saturated_share:.2%} of the features")
    warn_saturated(found)
    if found.compared:
        line(f"heads compared, each on samples before it learned them ({found.tested:.0f} count):")
        for one in found.compared:
            share = "-" if one.accuracy is None else f"{one.accuracy:.3f}"
            line(f"  {one.head}: {share}")
    line("samples of each class:")
    for label, n in found.samples_per_class.items():
        line(f"  {label}: {n}")


def undo(
    count: Annotated[
        int, typer.Argument(metavar="N", min=1, help="How many samples, newest first")
    ] = 1,
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Take back the newest samples.

    Exactly: afterwards everything is, bit for bit, as if they had never been learned.
    """
    choices = Choices(bundle=bundle, require_signature=require_signature)
    with all_or_nothing(open_existing(state, choices, read_only=False)) as learner:
        labels = learner.undo(count)
        found = learner.status
    if as_json:
        json_line({"undone": list(labels), "samples": found.samples, "state": str(state)})
    else:
        pairs([("undone", ", ".join(labels)), ("state", contents(state, found))])


def forget(
    path: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", show_default=False, help="What was learned"),
    ] = None,
    label: Annotated[
        str | None, typer.Argument(metavar="[LABEL]", show_default=False, help="As which class")
    ] = None,
    lesson: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Instead of FILE and LABEL: by its number in edge-cl history; repeat for more",
        ),
    ] = None,
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Take back a sample, however long ago it was learned.

    Exactly: afterwards the sums are, bit for bit, as if it had never been learned.

    By FILE and LABEL, the file must be the one that was learned, unchanged, and so must its class:
    the state holds sums, not samples, and can refuse only what is provably impossible.

    By number, the state must still hold its features: those of the newest 4096 changes, or, with
    --archive, all.
    """
    choices = Choices(bundle=bundle, require_signature=require_signature)
    if lesson and path is None:
        with all_or_nothing(open_existing(state, choices, read_only=False)) as learner:
            labels = [learner.forget_lesson(number) for number in lesson]
            found = learner.status
    elif lesson or path is None or label is None:
        raise UsageError("expected FILE and LABEL, or --lesson N")
    else:
        with all_or_nothing(open_existing(state, choices, read_only=False)) as learner:
            labels = [label] * _forget_file(learner, path, label)
            found = learner.status
    if as_json:
        fields = {"forgotten": len(labels), "labels": labels, "samples": found.samples}
        json_line({**fields, "state": str(state)})
        return
    what = f" ({', '.join(labels)})" if lesson else ""
    told = f"{counted(len(labels), 'sample')}{what}"
    pairs([("forgotten", told), ("state", contents(state, found))])


def _forget_file(learner: Learner, path: str, label: str) -> int:
    from edge_cl.sources import Unusable, open_source

    forgotten = 0
    for item in open_source(path):
        if isinstance(item, Unusable):
            raise item.error
        learner.forget(item.x, label)
        forgotten += 1
    return forgotten


def merge(
    other: Annotated[
        Path,
        typer.Argument(metavar="OTHER", show_default=False, help="Folder of the other state"),
    ],
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Add what another device has learned.

    Exactly, as if all had been learned here; classes match by name. Both must have learned with
    the same encoder. The other state is only read. Merging the same state twice counts its
    samples twice.
    """
    from edge_cl.errors import InputError

    require_state(state)
    require_state(other)
    if state.samefile(other):
        raise InputError(f"{other} is the state itself", hint="merge the state of another device")
    choices = Choices(bundle=bundle, require_signature=require_signature)
    with all_or_nothing(open_existing(state, choices, read_only=False)) as learner:
        before = learner.status.samples
        learner.merge(other)
        found = learner.status
    added = found.samples - before
    if as_json:
        json_line({"merged": added, "samples": found.samples, "state": str(state)})
    else:
        pairs([("merged", counted(added, "sample")), ("state", contents(state, found))])


def use(
    head: Annotated[
        str,
        typer.Argument(metavar="HEAD", show_default=False, help="A head (edge-cl heads), or auto"),
    ],
    alone: Annotated[
        bool, typer.Option("--alone", help="Compare it with no other head any more")
    ] = False,
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Use another head from now on.

    It is solved from what was learned already; nothing is learned again, nothing is lost.
    """
    with open_existing(
        state, Choices(bundle=bundle, require_signature=require_signature), read_only=True
    ) as learner:
        before = learner.status.head
    choices = Choices(
        bundle=bundle, require_signature=require_signature, head=head, compare=[] if alone else None
    )
    with all_or_nothing(open_existing(state, choices, read_only=False)) as learner:
        found = learner.status
    if as_json:
        json_line({"head": found.head, "head_before": before, "state": str(state)})
    else:
        pairs([("head before", before), ("head now", found.head), ("state", state)])
