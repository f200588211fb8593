"""`edge-cl history`: the newest changes, by number."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.opening import Choices, open_existing
from edge_cl.cli.output import json_line, line

if TYPE_CHECKING:
    from edge_cl.results import LessonRecord

EXAMPLES = """
  edge-cl history
  edge-cl history -n 100 --json
"""


def history(
    number: Annotated[
        int, typer.Option("--number", "-n", min=1, metavar="N", help="Show the newest N changes")
    ] = 20,
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """List the newest changes: number, time, what, and which class.

    The newest is first, and at most 4096 are listed. What was taken back or rolled back since is
    marked. A lesson can be taken back by its number: edge-cl forget --lesson N.

    Times are of the device's clock, as it was then; the order is by number. With --json, one JSON
    object a line.
    """
    with open_existing(
        state, Choices(bundle=bundle, require_signature=require_signature), read_only=True
    ) as learner:
        found = learner.history(number)
    if as_json:
        for one in found:
            small = Path(state, "thumbnails", f"{one.seq}.jpg")
            told = {"when": when(one.when_us), "thumbnail": str(small) if small.exists() else None}
            json_line({**asdict(one), **told})
        return
    width = max((len(str(one.seq)) for one in found), default=1)
    for one in found:
        line(f"{one.seq:{width}}  {when(one.when_us) or '-':25}  {_described(one)}")


def when(microseconds: int) -> str | None:
    """Return a time as the local clock shows it, or None where it is none: clocks can be wrong."""
    try:
        moment = datetime.fromtimestamp(microseconds / 1e6).astimezone()
    except (OverflowError, ValueError, OSError):
        return None
    return moment.isoformat(timespec="seconds")


def _described(one: LessonRecord) -> str:
    if one.kind == "note":
        text = one.label
    elif one.target:
        text = f"{one.kind} {one.label} (lesson {one.target})"
    else:
        text = f"{one.kind} {one.label}"
    if one.stands:
        return text
    return f"{text}  [taken back]" if one.kind == "learned" else f"{text}  [rolled back]"
