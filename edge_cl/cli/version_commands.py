"""`edge-cl version`: states that are kept under a name, to return to."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.opening import Choices, all_or_nothing, open_existing
from edge_cl.cli.output import contents, counted, json_line, line, pairs

SAVE_EXAMPLES = """
  edge-cl version save before-the-party
"""
LIST_EXAMPLES = """
  edge-cl version list
  edge-cl version list --json
"""
ROLLBACK_EXAMPLES = """
  edge-cl version rollback before-the-party
  edge-cl version rollback before-rollback      what was left behind was kept: go back to it
"""
DROP_EXAMPLES = """
  edge-cl version drop before-the-party
"""

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", show_default=False, help="Letters, digits, '.', '_' and '-'"),
]


def save(
    name: Name,
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Keep everything as it is now under a name.

    One of that name is replaced. A version takes as much room as a snapshot.
    """
    choices = Choices(bundle=bundle, require_signature=require_signature)
    with all_or_nothing(open_existing(state, choices, read_only=False)) as learner:
        learner.save_version(name)
        found = learner.status
    if as_json:
        json_line({"saved": name, "seq": found.seq, "state": str(state)})
    else:
        pairs([("saved", name), ("state", contents(state, found))])


def list_(
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """List the versions that are kept, oldest first."""
    with open_existing(
        state, Choices(bundle=bundle, require_signature=require_signature), read_only=True
    ) as learner:
        found = learner.versions()
    if as_json:
        json_line([asdict(one) for one in found])
        return
    for one in found:
        classes = counted(one.classes, "class", "classes")
        whole = f"{counted(one.samples, 'sample')}, {classes}, {one.head}"
        line(f"{one.name}: {one.problem or whole}")


def rollback(
    name: Name,
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Let everything be as it was when a version was kept.

    What was learned since is left behind; it is kept itself as the version before-rollback, in
    the place of an earlier one.
    """
    choices = Choices(bundle=bundle, require_signature=require_signature)
    with all_or_nothing(open_existing(state, choices, read_only=False)) as learner:
        before = learner.status
        learner.rollback(name)
        found = learner.status
    if as_json:
        fields = {"version": name, "samples": found.samples, "samples_before": before.samples}
        json_line({**fields, "state": str(state)})
    else:
        told = f"before-rollback ({counted(before.samples, 'sample')})"
        pairs([("version", name), ("kept", told), ("state", contents(state, found))])


def drop(
    name: Name,
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Remove a version."""
    choices = Choices(bundle=bundle, require_signature=require_signature)
    with all_or_nothing(open_existing(state, choices, read_only=False)) as learner:
        learner.drop_version(name)
        found = learner.status
    if as_json:
        json_line({"dropped": name, "state": str(state)})
    else:
        pairs([("dropped", name), ("state", contents(state, found))])
