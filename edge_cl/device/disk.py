"""What a folder lies on: SD card, eMMC, NVMe, a disk of another computer, memory.

The mount with the longest path that holds the folder counts, and of two at one path the later one.
Its device is looked up by number, because its name in the table of mounts may be `/dev/root`.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from edge_cl.device.system import HERE, System

__all__ = ["Disk", "find_disk"]

_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "ceph", "glusterfs", "afs"),
    *("fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.glusterfs", "ncpfs", "lustre"),
}
_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
_ESCAPED = re.compile(r"\\([0-7]{3})")
_MOST_LAYERS = 8  # of encryption and volume managers


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """What a folder lies on.

    kind : "SD card", "eMMC", "NVMe", "SSD", "hard disk", "USB or card reader", "network",
        "overlay", "memory", "virtual disk"; empty where the system does not tell.
    filesystem, device, mounted_at : as the system calls them.
    read_only : as it is mounted.
    free_bytes : for this user; None where it is not known.
    """

    kind: str
    filesystem: str
    device: str
    mounted_at: str
    read_only: bool
    free_bytes: int | None


def find_disk(folder: str, system: System = HERE) -> Disk | None:
    """Return what `folder`, an absolute path, lies on; None where the system does not tell.

    The folder need not be there yet.
    """
    best: tuple[str, str, str, str, bool] | None = None
    for line in system.text("/proc/self/mountinfo").splitlines():
        parts = line.split()
        if "-" not in parts[6:]:
            continue
        filesystem, *rest = parts[parts.index("-", 6) + 1 :]
        place = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), parts[4])
        if _holds(place, folder) and (best is None or len(place) >= len(best[2])):
            read_only = "ro" in parts[5].split(",")
            best = (filesystem, rest[0] if rest else "", place, parts[2], read_only)
    if best is None:
        return None
    filesystem, device, place, number, read_only = best
    return Disk(
        kind=_kind(system, filesystem, device, number),
        filesystem=filesystem,
        device=device,
        mounted_at=place,
        read_only=read_only,
        free_bytes=_free(folder) if system.here else None,
    )


def _holds(place: str, folder: str) -> bool:
    return folder == place or folder.startswith(place.rstrip("/") + "/")


def _kind(system: System, filesystem: str, device: str, number: str) -> str:
    if filesystem in _MEMORY:
        return "memory"
    if filesystem in ("overlay", "fuse-overlayfs", "fuse.fuse-overlayfs", "aufs"):
        return "overlay"
    if filesystem in _NETWORK:
        return "network"
    name = _block_device(system, device, number)
    for _ in range(_MOST_LAYERS):  # an encrypted disk, or a volume, lies on another one
        below = system.glob(f"/sys/block/{name}/slaves/*") if name else []
        if not below:
            break
        name = _whole(system, below[0].rpartition("/")[2])
    return _kind_of_block_device(system, name) if name else ""


def _block_device(system: System, device: str, number: str) -> str:
    """Return the name of the whole disk by its number, else by the name of the device."""
    if number.partition(":")[0] != "0":  # 0: a file system without a device of its own, as btrfs
        for pattern in ("/sys/block/*/dev", "/sys/block/*/*/dev"):
            for name in system.glob(pattern):
                if system.text(name) == number:
                    return name.split("/")[3]
    return _whole(system, device.rpartition("/")[2]) if device.startswith("/dev/") else ""


def _whole(system: System, name: str) -> str:
    """Return the disk that a partition is of."""
    found = [path.split("/")[3] for path in system.glob("/sys/block/*/*/dev") if name in path]
    disks = [path.rpartition("/")[2] for path in system.glob("/sys/block/*")]
    if name in disks:
        return name
    return next((disk for disk in found if name.startswith(disk)), "")


def _kind_of_block_device(system: System, name: str) -> str:
    if name.startswith("mmcblk"):
        kind = system.text(f"/sys/block/{name}/device/type")
        return {"SD": "SD card", "MMC": "eMMC"}.get(kind, "SD card or eMMC")
    if name.startswith("nvme"):
        return "NVMe"
    if name.startswith(("vd", "xvd", "nbd")):
        return "virtual disk"
    if name.startswith(("ram", "zram")):
        return "memory"
    if name.startswith("sd"):
        if system.text(f"/sys/block/{name}/removable") == "1":
            return "USB or card reader"
        spins = system.text(f"/sys/block/{name}/queue/rotational")
        return {"0": "SSD", "1": "hard disk"}.get(spins, "")
    return ""


def _free(folder: str) -> int | None:
    """Return what is free where `folder` lies, or would lie."""
    for place in (Path(folder), *Path(folder).parents):
        with contextlib.suppress(OSError, ValueError):
            found = os.statvfs(place)
            return found.f_bavail * found.f_frsize
    return None
