"""`edge-cl update`: the newest bundle of a repository, verified and put on a shelf."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.from_shelf import checked_shelf
from edge_cl.cli.output import json_line, note, pairs

if TYPE_CHECKING:
    from edge_cl.shelf import Installed
    from edge_cl.updates.client import Update

EXAMPLES = """
  edge-cl update https://example.org/bundles --bundles shelf --root root.json
  edge-cl update /media/usb/repository --bundles shelf --root root.json
"""

_MAX_ROOT_BYTES = 64 << 10


def update(
    repository: Annotated[
        str,
        typer.Argument(
            metavar="URL", show_default=False, help="http, https, or the path of a folder"
        ),
    ],
    bundles: Annotated[
        Path, typer.Option(metavar="SHELF", help="Folder of bundles that the device starts from")
    ],
    root: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="The repository's 1.root.json, brought here on a trusted way"
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which bundle  [default: the only one there]"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Fetch it anew, and also where it failed here before")
    ] = False,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Fetch the newest bundle of a repository, and install it.

    What is not signed by the keys that the root names, is older than what was seen before, or is
    out of date, is refused: exit 1, and the shelf is as it was. A running edge-cl run goes on
    with the bundle it has; the next start takes the new one.

    Needs pip install 'edge-cl[update]'.
    """
    from edge_cl.bounded_read import read_bounded
    from edge_cl.errors import InputError
    from edge_cl.updates.client import update_shelf

    trusted = read_bounded(root, _MAX_ROOT_BYTES, error=InputError)
    shelf = checked_shelf(bundles, require_signature)
    found, installed = update_shelf(shelf, repository, root=trusted, name=name, force=force)
    if installed is not None:
        shelf.prune()
    for text in found.notes:
        note(f"note: {text}")
    _print(found, installed, bundles, as_json)


def _print(found: Update, installed: Installed | None, bundles: Path, as_json: bool) -> None:
    switched = installed is not None and installed.switched
    if as_json:
        json_line(
            {
                "switched": switched,
                "target": found.target,
                "sha256": found.sha256,
                "notes": list(found.notes),
                "bundles": str(bundles),
            }
        )
        return
    state = "on trial from the next start on" if switched else "current already"
    pairs([("bundle", f"{found.target} ({found.sha256[:12]})"), ("state", state)])
