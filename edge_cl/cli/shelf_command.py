"""`edge-cl shelf`: look at the bundles of a device, install one by hand, return."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.from_shelf import checked_shelf
from edge_cl.cli.output import counted, json_line, pairs
from edge_cl.cli.usage import UsageError

EXAMPLES = """
  edge-cl shelf shelf                            what is on it
  edge-cl shelf shelf --install lite0.edgecl     from a file, without a network
  edge-cl shelf shelf --back                     the new one is no good: return to the previous
"""


def shelf(
    folder: Annotated[
        Path, typer.Argument(metavar="SHELF", show_default=False, help="Folder of bundles")
    ],
    install: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Make this bundle current, on trial")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Of --install: also where it failed here before")
    ] = False,
    good: Annotated[
        bool, typer.Option("--good", help="End the trial of the current bundle")
    ] = False,
    back: Annotated[
        bool, typer.Option("--back", help="Return to the previous bundle, remember this as failed")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove all but the current and the previous one")
    ] = False,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Say which bundles a device has, and change which one it starts from.

    A bundle that was installed is on trial: after 100 healthy predictions edge-cl run marks it
    good. After three starts without that, the next start returns to the previous one.
    """
    from edge_cl.signing import read_signature, signature_path

    if sum((install is not None, good, back)) > 1:
        raise UsageError("expected one of --install, --good and --back")
    if force and install is None:
        raise UsageError("--force is for --install")
    opened = checked_shelf(folder, require_signature)
    if install is not None:
        signature = read_signature(install) if signature_path(install).exists() else None
        opened.install(install, signature=signature, force=force)
    if good:
        opened.mark_good()
    if back:
        opened.go_back()
    removed = opened.prune() if prune else ()
    found = opened.status
    if as_json:
        json_line({"bundles": str(folder), **asdict(found), "removed": list(removed)})
        return
    trial = "good" if found.starts is None else f"on trial, {counted(found.starts, 'start')}"
    rows: list[tuple[str, object]] = [
        ("current", f"{found.current[:12]} ({trial})" if found.current else "none"),
        ("previous", found.previous[:12] if found.previous else "none"),
    ]
    if found.bad:
        rows.append(("failed here", ", ".join(sha[:12] for sha in found.bad)))
    if removed:
        rows.append(("removed", ", ".join(sha[:12] for sha in removed)))
    pairs(rows)
