"""Write the reference of the command line from the commands' own help, to stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import typer
from typer.testing import CliRunner

from edge_cl.cli import app

HEAD = """# Command line

Generated from `--help` by `python docs/reference/make_cli.py > docs/reference/cli.md`; do not edit.
Exit codes: [errors.md](errors.md).
"""


def _names(part: typer.Typer) -> Iterator[str]:
    """Yield the names of all commands, those of groups with their group."""
    for command in part.registered_commands:
        yield str(command.name)
    for group in part.registered_groups:
        if group.typer_instance is not None:
            if group.typer_instance.registered_callback:  # it does something by itself
                yield str(group.name)
            yield from (f"{group.name} {name}" for name in _names(group.typer_instance))


def main() -> None:
    """Print the page."""
    os.environ.update(COLUMNS="92", NO_COLOR="1", TERMINAL_WIDTH="92")
    names = ["", *sorted(_names(app))]
    parts = [HEAD]
    for name in names:
        help_text = CliRunner().invoke(
            app,
            [*name.split(), "--help"],
            prog_name="edge-cl",
        )
        title = f"## `edge-cl {name}`" if name else "## `edge-cl`"
        parts.append(f"{title}\n\n```text\n{help_text.stdout.strip()}\n```\n")
    sys.stdout.write("\n".join(parts))


if __name__ == "__main__":
    main()
