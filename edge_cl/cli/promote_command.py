"""`edge-cl promote`: another head serves, if it is better."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.labelled import Labelled
from edge_cl.cli.opening import Choices, all_or_nothing, open_existing
from edge_cl.cli.output import failure, json_line, pairs
from edge_cl.cli.progress import progress

if TYPE_CHECKING:
    from edge_cl.learner import Learner
    from edge_cl.store import Promotion

EXAMPLES = """
  edge-cl promote lda                          by what was tested while learning (--compare lda)
  edge-cl promote lda --held-out test-photos   by pictures that were never learned
"""


def promote(
    head: Annotated[
        str, typer.Argument(metavar="HEAD", show_default=False, help="A head (edge-cl heads)")
    ],
    held_out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Labelled pictures, or an .npz file, that were not learned, to test on",
        ),
    ] = None,
    state: options.State = options.DEFAULT_STATE,
    bundle: options.BundleFile = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Let another head serve, if it is better.

    Both answer the same samples: those that they were tested on while they learned side by side
    (edge-cl learn --compare HEAD), or with --held-out those of a folder, which are not learned.

    What was found is recorded with the state either way. Exit 3 where it was not better: then the
    head stays.
    """
    import msgspec

    choices = Choices(bundle=bundle, require_signature=require_signature)
    with all_or_nothing(open_existing(state, choices, read_only=False)) as learner:
        found = _promoted(learner, head, held_out)
    if as_json:
        json_line({**msgspec.to_builtins(found), "state": str(state)})
    else:
        rows: list[tuple[str, object]] = [
            ("tested on", f"{found.tested:.0f} samples ({found.rows})"),
            (found.before, f"{found.accuracy_before:.3f}"),
            (found.after, f"{found.accuracy_after:.3f}"),
            ("head now", found.after if found.promoted else found.before),
            ("state", state),
        ]
        pairs(rows)
    if not found.promoted:
        failure(f"{found.after} is not better than {found.before}, which stays")
        raise typer.Exit(3)


def _promoted(learner: Learner, head: str, held_out: Path | None) -> Promotion:
    from edge_cl.errors import InputError
    from edge_cl.sources import open_source

    if held_out is None:
        return learner.promote(head)
    source, samples = open_source(str(held_out)), Labelled()
    with progress("testing", source.total) as advance:
        try:
            return learner.promote(head, held_out=samples.pairs(source, advance))
        except InputError as error:
            at = samples.at
            raise InputError(f"{at}: {error}" if at else str(error), hint=error.hint) from error
