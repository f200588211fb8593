"""Class names and their indices, given in order of first appearance."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from edge_cl.errors import InputError

MAX_LABEL_LENGTH = 200
MAX_LABELS = 100_000


class Labels:
    """A table of class names; it grows, and is otherwise replaced as a whole."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names: list[str] = []
        self._index: dict[str, int] = {}
        for name in names:
            if name in self._index:
                raise InputError(f"the label {name!r} occurs twice")
            self.index(name)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in order of index."""
        return tuple(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> str:
        return self._names[index]

    def __contains__(self, name: str) -> bool:
        """Say whether `name`, in normal form, has an index."""
        return name in self._index

    def index(self, name: str) -> int:
        """Return the index of `name`, giving it the next one where it is new."""
        name = checked_label(name)
        if name not in self._index:
            if len(self._names) >= MAX_LABELS:
                raise InputError(f"expected at most {MAX_LABELS} labels")
            self._index[name] = len(self._names)
            self._names.append(name)
        return self._index[name]

    def known(self, name: str) -> int:
        """Return the index of a label that must exist."""
        name = checked_label(name)
        if name not in self._index:
            some = ", ".join(self._names[:8]) + (", …" if len(self._names) > 8 else "")
            raise InputError(f"unknown label {name!r}", hint=f"known are: {some or 'none yet'}")
        return self._index[name]

    def copy(self) -> Labels:
        """Return an independent copy."""
        other = Labels()
        other._names, other._index = self._names.copy(), self._index.copy()
        return other


def checked_label(name: str) -> str:
    """Return `name` in Unicode normal form, or say what is wrong with it."""
    if not isinstance(name, str):
        raise InputError(f"expected a label as a string, got {type(name).__name__}")
    name = unicodedata.normalize("NFC", name)
    if not name or name != name.strip() or len(name) > MAX_LABEL_LENGTH:
        raise InputError(
            f"expected a label of 1..{MAX_LABEL_LENGTH} characters without blanks around it, "
            f"got {name[:40]!r}"
        )
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise InputError(f"expected a label without control characters, got {name!r}")
    return name
