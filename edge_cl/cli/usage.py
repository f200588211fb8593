"""What the command line was asked wrongly: exit code 2."""

from __future__ import annotations

import typer

# Recent Typer carries Click inside, under a private name; older ones depend on it. Either way
# this is Click's UsageError.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]
