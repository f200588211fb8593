"""What tells a file for an NPU: its first bytes. What is inside, only the vendor's library knows.

.rknn   `RKNN`, four zero bytes, the format's number, the length of the network; or
        `CYPTRKNN`, encrypted (Rockchip)
.hef    0x01484546 big-endian, the format's number, the length of its description (Hailo)
"""

from __future__ import annotations

from edge_cl.errors import BundleError

__all__ = ["check_npu_file"]

_BEGINS = {
    ".rknn": ("an RKNN network", (b"RKNN\0\0\0\0", b"CYPTRKNN")),
    ".hef": ("a Hailo network", (b"\x01HEF",)),
}
_SHORTEST = 24  # bytes of either header


def check_npu_file(blob: bytes, suffix: str, where: str) -> None:
    """Refuse a file that is not of the kind its suffix says; `where` names it in errors.

    Raises
    ------
    BundleError : it begins otherwise, or is shorter than a header.
    """
    kind, begins = _BEGINS[suffix]
    if len(blob) < _SHORTEST or not blob.startswith(begins):
        raise BundleError(f"{where} is not {kind}")
