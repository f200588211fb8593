"""`edge-cl tune-head`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.labelled import Labelled
from edge_cl.cli.opening import Choices, all_or_nothing, open_existing
from edge_cl.cli.output import counted, json_line, note, pairs
from edge_cl.cli.progress import progress

if TYPE_CHECKING:
    from edge_cl.heads.group_choice import GroupRidgeChoice
    from edge_cl.learner import Learner
    from edge_cl.sources import Source

EXAMPLES = """
  edge-cl tune-head                      pictures that are independent of each other
  edge-cl tune-head --groups pictures    a folder for each session, in it a folder for each class
"""


def tune_head(
    groups: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Holds a folder of labelled pictures, or an .npz file, for each session or place",
        ),
    ] = None,
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Choose the strength of ridge; it is used from now on.

    Without --groups, from what was learned, by generalised cross-validation. For pictures that
    are independent of each other. Frames of one video, or pictures of one session, are not: their
    neighbours give the answer away.

    With --groups, the strength with which each group is answered best by the others; of those that
    answer equally well, the greatest. The pictures are only used to choose: they are not learned,
    and may be those that were.
    """
    sources = _sources(groups) if groups is not None else {}
    choices = Choices(bundle=bundle, require_signature=require_signature)
    fields: dict[str, object]
    with all_or_nothing(open_existing(state, choices, read_only=False)) as learner:
        before = learner.status.head
        if groups is None:
            plain = learner.tune()
            fields = {"ridge": plain.ridge, "degrees_of_freedom": plain.degrees_of_freedom}
        else:
            choice = _tune_by_group(learner, sources)
            fields = {
                "ridge": choice.ridge,
                "candidates": choice.candidates.tolist(),
                "accuracy": choice.accuracy.tolist(),
                "groups": list(choice.accuracy_of_group),
                "unseen": choice.unseen,
            }
        found = learner.status
    if as_json:
        json_line({**fields, "head": found.head, "head_before": before, "state": str(state)})
        return
    rows: list[tuple[str, object]] = [("groups", ", ".join(sources))] if sources else []
    pairs([*rows, ("head before", before), ("head now", found.head), ("state", state)])


def _sources(folder: Path) -> dict[str, Source]:
    from edge_cl.errors import SourceError
    from edge_cl.sources import open_source

    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise SourceError(f"cannot read {folder}: {error.strerror}") from error
    sources = {}
    for path in entries:
        if path.is_dir() or path.suffix.lower() == ".npz":
            sources[path.name] = open_source(str(path))
        else:
            note(f"note: {path} is not a group, left out")
    return sources


def _tune_by_group(learner: Learner, sources: Mapping[str, Source]) -> GroupRidgeChoice:
    from edge_cl.errors import InputError

    samples = Labelled()
    total = sum(source.total or 0 for source in sources.values())
    with progress("encoding", total) as advance:
        held = {name: samples.pairs(source, advance) for name, source in sources.items()}
        try:
            choice = learner.tune_by_group(held)
        except InputError as error:
            at = samples.at
            raise InputError(f"{at}: {error}" if at else str(error), hint=error.hint) from error
    for name, count in choice.unseen.items():
        many = counted(count, "sample")
        note(f"note: no other group shows the classes of {many} of {name}")
    return choice
