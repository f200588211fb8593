"""`edge-cl class`: the names of classes, and classes as a whole."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.opening import Choices, all_or_nothing, open_existing
from edge_cl.cli.output import contents, counted, json_line, pairs

RENAME_EXAMPLES = """
  edge-cl class rename mug "blue mug"
"""
MERGE_EXAMPLES = """
  edge-cl class merge mugs mug      what was taught as mugs is mug from now on
"""
FORGET_EXAMPLES = """
  edge-cl class forget vase
"""

Label = Annotated[str, typer.Argument(metavar="LABEL", show_default=False, help="The class")]


def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", show_default=False, help="Its name now")],
    new: Annotated[str, typer.Argument(metavar="NEW", show_default=False, help="A new name")],
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Give a class another name.

    Nothing is learned again, and history shows the new name.
    """
    choices = Choices(bundle=bundle, require_signature=require_signature)
    with all_or_nothing(open_existing(state, choices, read_only=False)) as learner:
        learner.rename_class(old, new)
        found = learner.status
    if as_json:
        json_line({"renamed": old, "to": new, "state": str(state)})
    else:
        pairs([("renamed", f"{old} to {new}"), ("state", contents(state, found))])


def merge(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", show_default=False, help="The class that ends")
    ],
    into: Annotated[
        str, typer.Argument(metavar="INTO", show_default=False, help="The class that goes on")
    ],
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Let all samples of one class be of another.

    Exactly, as if they had been learned so. Nothing tells them apart afterwards: keep a version
    first (edge-cl version save).
    """
    choices = Choices(bundle=bundle, require_signature=require_signature)
    with all_or_nothing(open_existing(state, choices, read_only=False)) as learner:
        moved = learner.status.samples_per_class.get(source, 0)
        learner.merge_classes(source, into)
        found = learner.status
    if as_json:
        fields = {"merged": source, "into": into, "samples": moved}
        json_line({**fields, "state": str(state)})
    else:
        told = f"{source} into {into} ({counted(moved, 'sample')})"
        pairs([("merged", told), ("state", contents(state, found))])


def forget(
    label: Label,
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Take back all samples of a class, and its name.

    Exactly: afterwards the sums are, bit for bit, as if the class had never been learned.

    The features of all its samples must still be held: the newest 4096 changes are, and with
    --archive, from the first lesson on, all. Otherwise it is refused, and nothing changes.
    """
    choices = Choices(bundle=bundle, require_signature=require_signature)
    with all_or_nothing(open_existing(state, choices, read_only=False)) as learner:
        forgotten = learner.forget_class(label)
        found = learner.status
    if as_json:
        json_line({"forgotten": label, "samples": forgotten, "state": str(state)})
    else:
        told = f"{label} ({counted(forgotten, 'sample')})"
        pairs([("forgotten", told), ("state", contents(state, found))])
