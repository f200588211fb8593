"""`edge-cl doctor`: is a state whole, and what to do where it is not."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.output import counted, failure, json_line, line

EXAMPLES = """
  edge-cl doctor
  edge-cl doctor robot-7 --json
"""


def doctor(
    state: Annotated[
        Path,
        typer.Argument(
            metavar="[STATE]",
            envvar="EDGE_CL_STATE",
            readable=False,  # that it is not may be what is wrong with it
            help="Folder that holds what was learned",
        ),
    ] = options.DEFAULT_STATE,
    as_json: options.Json = False,
) -> None:
    """Examine a state, and say what is wrong with it.

    Only reads: it works while edge-cl run is learning, and on a read-only medium. Every file is
    checked, and then the state is opened as edge-cl predict does.

    Exit 3 when there is a problem. What can be mended is mended by the next command that writes.
    """
    from edge_cl.doctor import examine

    found = examine(state)
    if as_json:
        json_line({**asdict(found), "sound": found.sound})
    else:
        for one in found.findings:
            line(f"{one.verdict:9}{one.what}: {one.says}")
            if one.do:
                line(f"{'':9}to do: {one.do}")
    if not found.sound:
        failure(f"{counted(found.problems, 'problem')} found in {state}")
        raise typer.Exit(3)
