"""One sample under a name, learned once however often the command is repeated."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edge_cl.cli.output import note
from edge_cl.cli.usage import UsageError

if TYPE_CHECKING:
    from edge_cl.learner import Learner
    from edge_cl.results import Lesson
    from edge_cl.sources import Sample, Source


def event_named(text: str) -> bytes:
    """Return the 16 bytes of an event, written as 32 hex digits."""
    if not re.fullmatch(r"[0-9a-fA-F]{32}", text):
        raise UsageError(f"--event: expected 32 hex digits, got {text!r:.60}")
    return bytes.fromhex(text)


def learn_once(learner: Learner, source: Source, label: str | None, event: bytes) -> Lesson:
    """Learn the one sample of a source under the name of an event.

    Raises
    ------
    SourceError : it has no label, or cannot be read.
    InputError : there is not exactly one, or it does not fit the encoder.
    """
    from edge_cl.errors import InputError, SourceError

    sample = _only(source)
    label = label if label is not None else sample.label
    if label is None:
        raise SourceError(f"{sample.name} has no label", hint="give one: LABEL, or --label NAME")
    try:
        return learner.learn(sample.x, label, event=event)
    except InputError as error:
        raise InputError(f"{sample.name}: {error}", hint=error.hint) from error


def _only(source: Source) -> Sample:
    from edge_cl.errors import InputError
    from edge_cl.sources import Unusable

    found: list[Sample] = []
    for item in source:
        if isinstance(item, Unusable):
            if not item.stray:
                raise item.error
            note(f"note: {item.error}")
            continue
        found.append(item)
        if len(found) > 1:
            break
    if len(found) != 1:
        raise InputError(
            f"--event names one sample, here {'is none' if not found else 'are more'}",
            hint="one picture and one event for each call",
        )
    return found[0]
