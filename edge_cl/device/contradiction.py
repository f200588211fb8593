"""What a profile cannot say, though each of its fields alone could be.

The fields themselves (types, ranges, what must be there) are checked by `edge_cl.device.schema`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from edge_cl.device.schema import Execution, Profile

__all__ = ["ACCELERATORS", "contradiction", "tables"]

# runtime -> what it can run an encoder on, besides delegate:PATH of LiteRT; a test holds these
# names to those of edge_cl.encoders
ACCELERATORS = {
    "onnx": ("cpu", "xnnpack", "acl", "qnn", "tensorrt", "cuda", "openvino", "coreml"),
    "litert": ("cpu", "xnnpack", "edgetpu", "hexagon", "vx"),
    "rknn": ("rknn",),
    "hailo": ("hailo",),
}


def tables(profile: Profile) -> Iterator[tuple[str, Any]]:
    """Yield every table that has a source, after its place in the profile: `clusters[0].cache`."""
    yield from _tables(profile, "")


def contradiction(profile: Profile) -> str:
    """Return, in one line, what in a profile contradicts itself; empty where nothing does."""
    return next(_contradictions(profile), "")


def _tables(part: msgspec.Struct, place: str) -> Iterator[tuple[str, Any]]:
    for field in part.__struct_fields__:
        value = getattr(part, field)
        where = f"{place}.{field}" if place else field
        if isinstance(value, msgspec.Struct):
            found = [(where, value)]
        elif isinstance(value, tuple):
            found = [
                (f"{where}[{i}]", v) for i, v in enumerate(value) if isinstance(v, msgspec.Struct)
            ]
        else:
            found = []
        for at, table in found:
            yield at, table
            yield from _tables(table, at)


def _contradictions(profile: Profile) -> Iterator[str]:
    for place, table in tables(profile):
        if table.verified is True:
            yield (
                f"{place}.verified: expected the day on which somebody found the figures in their "
                "source, or false, got true"
            )
    yield from _ranges(profile)
    names = [accelerator.name for accelerator in profile.accelerators]
    if doubled := _doubled(names):
        yield f"accelerators: {doubled} is there twice"
    for i, execution in enumerate(profile.executions):
        if wrong := _wrong_accelerator(execution):
            yield f"executions[{i}].accelerator: {wrong}"
    ways = [f"{e.runtime} on {e.accelerator}" for e in profile.executions]
    if doubled := _doubled(ways):
        yield f"executions: {doubled} is there twice"
    if profile.threads is not None and profile.threads.encoder > profile.cores:
        yield f"threads.encoder: expected at most {profile.cores} (cores), got " + str(
            profile.threads.encoder
        )
    for kind in ("latencies", "throughputs"):
        published = getattr(profile, kind)
        for i, one in enumerate(published):
            if one.on != "cpu" and one.on not in names:
                told = ", ".join(["cpu", *names])
                yield f"{kind}[{i}].on: expected one of {told}, got {one.on!r}"
        if doubled := _doubled(map(_measurement, published)):
            yield f"{kind}: {doubled} is there twice"


def _ranges(profile: Profile) -> Iterator[str]:
    if profile.measured is None:
        return
    for field in ("copy_mb_s", "set_mb_s"):
        pair = getattr(profile.measured, field)
        if pair is not None and pair[0] > pair[1]:
            yield f"memory.measured.{field}: expected [least, most], got {list(pair)}"


def _wrong_accelerator(execution: Execution) -> str:
    known = ACCELERATORS[execution.runtime]
    if execution.accelerator in known:
        return ""
    if execution.runtime == "litert" and execution.accelerator.startswith("delegate:/"):
        return ""
    told = ", ".join(known) + (", delegate:/PATH" if execution.runtime == "litert" else "")
    return f"expected one of {told} for {execution.runtime}, got {execution.accelerator!r}"


def _measurement(one: Any) -> str:
    """Return what was measured, without what came out."""
    told = [one.network, one.precision, one.library, f"on {one.on}"]
    told += [
        f"{field} {getattr(one, field)}"
        for field in ("threads", "cores", "batch")
        if getattr(one, field, None)
    ]
    return " ".join(told)


def _doubled(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""
