"""Options of heads and maps as people read them."""

from __future__ import annotations

from functools import cache

import msgspec


def described(spec: msgspec.Struct) -> str:
    """Return a tagged struct as `ridge(ridge=100.0)`; fields at their defaults are left out."""
    given = ", ".join(
        f"{field.name}={getattr(spec, field.name)}"
        for field in _fields(type(spec))
        if getattr(spec, field.name) != field.default
    )
    tag = str(spec.__struct_config__.tag)
    return f"{tag}({given})" if given else tag


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return the fields of a kind of struct; msgspec compiles its annotations at each call."""
    return msgspec.structs.fields(kind)
