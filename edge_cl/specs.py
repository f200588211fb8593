"""Options of heads and maps as people read them."""

from __future__ import annotations

import msgspec


def described(spec: msgspec.Struct) -> str:
    """Return a tagged struct as `ridge(ridge=100.0)`; fields at their defaults are left out."""
    given = ", ".join(
        f"{field.name}={getattr(spec, field.name)}"
        for field in msgspec.structs.fields(spec)
        if getattr(spec, field.name) != field.default
    )
    tag = str(spec.__struct_config__.tag)
    return f"{tag}({given})" if given else tag
