"""`edge-cl doctor`: is the board fit, is a state whole, and what to do where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_cl.cli import options
from edge_cl.cli.output import counted, failure, json_line, line, note
from edge_cl.cli.progress import shares

if TYPE_CHECKING:
    from edge_cl.doctor import BoardExamination, Examination, Finding

EXAMPLES = """
  edge-cl doctor
  edge-cl doctor robot-7 --json
  edge-cl doctor --board
"""


def doctor(
    state: Annotated[
        Path | None,
        typer.Argument(
            metavar="[STATE]",
            envvar="EDGE_CL_STATE",
            show_default=False,
            readable=False,  # that it is not may be what is wrong with it
            help=f"Folder that holds what was learned  [default: {options.DEFAULT_STATE}, "
            "where there is one]",
        ),
    ] = None,
    board: Annotated[
        bool | None,
        typer.Option(
            "--board/--no-board",
            show_default=False,
            help="Only the board, or only the state  [default: both]",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Examine the board and a state, and say what is wrong with them.

    The board: its cores, heat, power supply, memory, disk, cameras, and which libraries really
    run, each tried by a process of its own. The state: every file is checked, and then it is
    opened as edge-cl predict does.

    Only reads: it works while edge-cl run is learning, and on a read-only medium.

    Exit 3 when there is a problem. What can be mended in a state is mended by the next command
    that writes.
    """
    from edge_cl.doctor.folder import require_folder

    folder = options.DEFAULT_STATE if state is None else state
    if board is not True and (state is not None or board is False):
        require_folder(folder)
    of_board = _board(folder) if board is not False else None
    of_state = None
    if board is not True and folder.is_dir():
        if of_board is None or of_board.kernels_run:
            from edge_cl.doctor import examine

            of_state = examine(folder)
        else:
            note(f"note: {folder} was not looked at: the kernels do not run here")
    sound = all(one.sound for one in (of_board, of_state) if one is not None)
    if as_json:
        json_line(
            {"board": _told(of_board), "state": _told(of_state), "sound": sound},
        )
    else:
        _show(of_board.findings if of_board is not None else ())
        _show(of_state.findings if of_state is not None else ())
    if not sound:
        places = ((of_board, "on this board"), (of_state, f"in {folder}"))
        found = [
            f"{counted(one.problems, 'problem')} found {where}"
            for one, where in places
            if one is not None and not one.sound
        ]
        failure(", ".join(found))
        raise typer.Exit(3)


def _board(folder: Path) -> BoardExamination:
    from edge_cl.doctor import examine_board

    with shares() as show:
        return examine_board(folder=folder, progress=show)


def _told(found: BoardExamination | Examination | None) -> dict[str, Any] | None:
    return None if found is None else {**asdict(found), "sound": found.sound}


def _show(findings: Sequence[Finding]) -> None:
    for one in findings:
        line(f"{one.verdict:9}{one.what}: {one.says}")
        if one.do:
            line(f"{'':9}to do: {one.do}")
