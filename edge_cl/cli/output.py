"""Writing: data to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from edge_cl.results import Status
    from edge_cl.run_results import Event


def line(text: str) -> None:
    """Write one line of data, at once: the reader may be waiting for it."""
    sys.stdout.write(shown(text) + "\n")
    sys.stdout.flush()


def json_line(value: Any) -> None:
    """Write one JSON value on a line of its own."""
    sys.stdout.write(json.dumps(value, allow_nan=False) + "\n")
    sys.stdout.flush()


def pairs(rows: Iterable[tuple[str, object]]) -> None:
    """Write lines `name: value`."""
    for name, value in rows:
        line(f"{name}: {value}")


def note(text: str) -> None:
    """Write one line for people to stderr."""
    sys.stderr.write(shown(text) + "\n")
    sys.stderr.flush()


def failure(message: str, hint: str = "") -> None:
    """Write what went wrong, and what to do about it, to stderr."""
    label = "error:"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        label = typer.style(label, fg="red", bold=True)
    sys.stderr.write(f"{label} {shown(message)}\n")
    if hint:
        sys.stderr.write(f"hint: {shown(hint)}\n")
    sys.stderr.flush()


def shown(text: str) -> str:
    """Return `text` with control characters spelled out: file names can hold anything."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(n: int, one: str, many: str = "") -> str:
    """Return `1 sample`, `2 samples`."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def warn_saturated(status: Status) -> None:
    """Say so where the grid cuts features off."""
    if status.saturated_share > 1e-3:
        note(
            f"warning: {status.saturated_share:.1%} of the features lie outside the grid; "
            "the bundle was calibrated on other data"
        )


def note_serving(event: Event) -> None:
    """Say so where another head serves from now on."""
    if event.now_serving:
        note(f"note: {event.now_serving} proved best so far, and answers from now on")


def contents(state: Path, status: Status) -> str:
    """Return `edge-cl-state (12 samples, 3 classes)`."""
    classes = sum(1 for n in status.samples_per_class.values() if n)
    samples = counted(status.samples, "sample")
    return f"{state} ({samples}, {counted(classes, 'class', 'classes')})"
