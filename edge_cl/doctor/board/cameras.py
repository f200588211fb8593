"""Findings about cameras: what `edge-cl run camera:N` could open."""

from __future__ import annotations

import os
import re

from edge_cl.device.system import System
from edge_cl.doctor.finding import Finding, ok, warning

__all__ = ["camera_findings"]

# Video devices that are no cameras: codecs, scalers and image processors of a board
_NO_CAMERA = (
    "codec",
    "isp",
    "rpivid",
    "hevc",
    "h264",
    "jpeg",
    "pispbe",
    "vpu",
    "rga",
    "encod",
    "decod",
)


def camera_findings(system: System) -> list[Finding]:
    """Name the cameras, and say which of them this user may not open."""
    found: dict[str, str] = {}
    for device in system.glob("/dev/video*"):
        number = device.removeprefix("/dev/video")
        name = system.text(f"/sys/class/video4linux/video{number}/name")
        parts = re.split(r"[^a-z0-9]+", name.lower())
        if number.isdecimal() and not any(part.startswith(_NO_CAMERA) for part in parts):
            found[device] = f"{device} ({' '.join(name.split()) or 'no name'})"
    if not found:
        return [ok("cameras", "none")]
    closed = [device for device in found if not _may_open(system, device)]
    if closed:
        says = f"you may not open {', '.join(found[device] for device in closed)}"
        return [warning("cameras", says, "sudo usermod -aG video $USER, and log in again")]
    return [ok("cameras", ", ".join(found.values()))]


def _may_open(system: System, device: str) -> bool:
    return os.access(system.path(device), os.R_OK | os.W_OK)
