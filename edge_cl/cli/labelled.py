"""Inputs with their labels, to test on: they are not learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from edge_cl.cli.output import note

if TYPE_CHECKING:
    from edge_cl.sources import Source


class Labelled:
    """Pairs of an input and its label out of sources.

    at : name of the sample that was handed out last; empty where none is being worked on.
    """

    def __init__(self) -> None:
        self.at = ""

    def pairs(self, source: Source, advance: Callable[[], None]) -> Iterator[tuple[Any, str]]:
        """Hand out what there is; strays are told and left out.

        Raises
        ------
        SourceError : a sample cannot be read, or has no label.
        """
        from edge_cl.errors import SourceError
        from edge_cl.sources import Unusable

        for item in source:
            advance()
            if isinstance(item, Unusable):
                if not item.stray:
                    raise item.error
                note(f"note: {item.error}")
                continue
            if item.label is None:
                raise SourceError(
                    f"{item.name} has no label", hint="there must be a folder for each class"
                )
            self.at = item.name
            yield item.x, item.label
        self.at = ""
