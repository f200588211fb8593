"""Which encoders were seen to work here, so that a start after the first pays nothing.

One small file each in the user's cache folder, named by a digest of everything that the proof
depends on: the encoder's file, how it is called, what it runs on, the reference features, the
runtime as it is installed, the CPU, and the version of the trial itself. Where the folder cannot
be written, this process alone remembers. Removing the folder costs one trial for each encoder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import msgspec

from edge_cl import files
from edge_cl.bundle import Bundle, EncoderSpec
from edge_cl.encoders.route import ON_CPU, Route
from edge_cl.errors import StorageError

__all__ = ["folder", "key", "known", "remember"]

TRIAL_VERSION = 1  # of the limits and of what is compared: raise it, and everything is tried again

_MODULES = {
    "onnx": ("onnxruntime", "onnxruntime_qnn"),
    "litert": ("ai_edge_litert", "tflite_runtime"),
    "rknn": ("rknnlite",),
    "hailo": ("hailo_platform",),
}
_CPU_LINES = ("model name", "Model", "flags", "Features", "CPU implementer", "CPU part", "isa")
_here: set[str] = set()  # what this process has proven or found proven


def key(bundle: Bundle, spec: EncoderSpec, route: Route = ON_CPU) -> str:
    """Return a digest of all that decides whether an encoder of `bundle` works here."""
    m = bundle.manifest
    parity = m.members.get("parity.safetensors")
    parts = (
        TRIAL_VERSION,
        m.members[spec.member].sha256,
        spec,
        (route.accelerator, sorted(route.options.items())),
        parity.sha256 if parity is not None else "",
        m.input,
        m.embedding.d,
        *(_installed(module) for module in _MODULES[spec.runtime]),
        platform.machine(),
        _cpu(),
    )
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def known(key: str) -> bool:
    """Say whether it was proven here, by this process or an earlier one."""
    if key in _here:
        return True
    place = folder()
    with contextlib.suppress(OSError):
        # a file that a power cut emptied proves nothing
        if place is not None and (place / key).read_bytes()[:65] == key.encode() + b"\n":
            _here.add(key)
    return key in _here


def remember(key: str) -> None:
    """Note that it was proven: for good where possible, else as long as this process lives."""
    _here.add(key)
    place = folder()
    if place is None:
        return
    with contextlib.suppress(OSError, StorageError):
        for made in (place.parent.parent, place.parent, place):
            made.mkdir(mode=0o700, exist_ok=True)  # not its parents: a home that is not there
        files.write_atomically(place / key, key.encode() + b"\n")


def folder() -> Path | None:
    """Return where proofs are kept, or None for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if Path(base).is_absolute():  # the specification: a relative one is ignored
        return Path(base) / "edge-cl" / "proven"
    try:
        return Path.home() / ".cache" / "edge-cl" / "proven"
    except RuntimeError:
        return None


def _installed(module: str) -> list[str]:
    """Return what changes when another build of a library is installed, without importing it."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return []
    version = ""
    with contextlib.suppress(metadata.PackageNotFoundError):
        version = metadata.version(module.replace("_", "-"))
    with contextlib.suppress(OSError):
        return [module, version, spec.origin, str(Path(spec.origin).stat().st_mtime_ns)]
    return [module, version, spec.origin]


def _cpu() -> list[str]:
    """Return what the system says of the CPU: a card may move to another board."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in (
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            name, _, value = line.partition(":")
            if name.strip() in _CPU_LINES:
                found.setdefault(name.strip(), value.strip())
    return [f"{name}: {value}" for name, value in sorted(found.items())]
