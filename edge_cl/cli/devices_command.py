"""`edge-cl devices`: what is known of which boards, and by whom."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.output import json_line, line, note, pairs

LIST_EXAMPLES = """
  edge-cl devices                       * stands at this board
  edge-cl devices list --json
"""
SHOW_EXAMPLES = """
  edge-cl devices show raspberry-pi-5
  edge-cl devices show my-board.toml
"""


def devices(context: typer.Context, as_json: options.Json = False) -> None:
    """Tell what is published about boards, each figure with its source.

    Alone, it lists them.
    """
    if context.invoked_subcommand is None:
        list_(as_json=as_json)


def list_(as_json: options.Json = False) -> None:
    """List the boards that edge-cl has a profile of, with * at this one."""
    import msgspec

    from edge_cl.cli.device_lines import summary
    from edge_cl.device import load_profile, profile_names
    from edge_cl.device.recognise import recognise

    here = recognise()
    profiles = {name: load_profile(name) for name in profile_names()}
    if as_json:
        shown = ("name", "architecture", "clusters", "accelerators", "memory")
        found = []
        for name, profile in profiles.items():
            fields = msgspec.to_builtins(profile)
            found.append(
                {
                    "device": name,
                    "here": here is not None and here[0] == name,
                    **{field: fields[field] for field in shown},
                }
            )
        json_line(found)
        return
    rows = [("  device", "board", "cores", "accelerator", "memory")]
    for name, profile in profiles.items():
        star = "*" if here is not None and here[0] == name else " "
        rows.append((f"{star} {name}", profile.name, *summary(profile)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if here is None:
        note("note: there is no profile of this machine's architecture")


def show(
    device: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE.toml", show_default=False, help="A board, or a profile of your own"
        ),
    ],
    as_json: options.Json = False,
) -> None:
    """Show everything that is known of a board, each figure with its source.

    What nobody has found in its source is marked: unverified.
    """
    import msgspec

    from edge_cl.cli.device_lines import profile_rows
    from edge_cl.device import load_profile

    profile = load_profile(device)
    if as_json:
        json_line({"device": device, **msgspec.to_builtins(profile)})
    else:
        pairs([("device", device), *profile_rows(profile)])
