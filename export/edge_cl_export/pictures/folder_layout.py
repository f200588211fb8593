"""What the folders that a picture lies in say: its class, and its group.

A group is what was recorded in one go, and is alike: a session, a clip, an object seen from
several sides. Paths are read without the folders that all of them begin with:

    FILE                          nothing is known
    CLASS/FILE                    a class
    SESSION/CLASS/FILE            groups are sessions, as `edge-cl tune-head --groups` reads them
    CLASS/CLIP/FILE               groups are clips, as `edge-cl learn` reads classes

The last two look alike. A session has the classes that other sessions have, so it is
SESSION/CLASS where an inner name stands in several outer folders; but clips that are numbered
(`1`, `clip-2`) do that too, so inner names that differ in digits alone are clips, and outer
ones that do so are sessions. What lies deeper belongs to the folder at the second place; a
picture right in its class is a group of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

__all__ = ["classes_and_groups"]

Key = tuple[str, ...]


def classes_and_groups(names: Sequence[str]) -> tuple[list[str] | None, list[Key] | None]:
    """Return the class and the group of each picture; None where folders do not tell.

    Parameters
    ----------
    names : paths with "/" between the folders.
    """
    paths = [PurePosixPath(name).parts for name in names]
    while all(len(path) > 1 for path in paths) and len({path[0] for path in paths}) == 1:
        paths = [path[1:] for path in paths]
    if any(len(path) == 1 for path in paths):
        return None, None
    nested = [path for path in paths if len(path) > 2]
    if not nested:
        return [path[0] for path in paths], None
    if len(nested) == len(paths) and _sessions_outside(paths):
        return [path[1] for path in paths], [path[:1] for path in paths]
    return [path[0] for path in paths], [path[:2] for path in paths]


def _sessions_outside(paths: Sequence[Key]) -> bool:
    """Whether the first folder is a session and the second a class, not a class and a clip."""
    pairs = {path[:2] for path in paths}
    outer, inner = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
    if _numbered(inner):
        return False
    return _numbered(outer) or len(inner) < len(pairs)


def _numbered(names: set[str]) -> bool:
    """Whether names differ in their digits alone, as `clip-1` and `clip-2` do."""
    return len({re.sub(r"\d+", "", name) for name in names}) == 1 and all(
        re.search(r"\d", name) for name in names
    )
