"""What ships with the package: one encoder, and pictures to try it on."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def shipped_bundle() -> Path:
    """Return the path of the int8 EfficientNet-Lite0 bundle."""
    return _HERE / "efficientnet-lite0-int8.edgecl"


def household_pictures() -> Path:
    """Return the path of the archive of household objects (see LICENSES.md)."""
    return _HERE / "household.zip"


def fashion_pictures() -> Path:
    """Return the path of the archive with a slice of Fashion-MNIST (see LICENSES.md)."""
    return _HERE / "fashion.zip"
