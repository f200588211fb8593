"""Data that Debian ships: found where it is installed, else fetched by the package's name."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path


def default_cache() -> Path:
    """Return the folder for what can be made again: the user's, never the repository."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "edge-cl-benchmarks"


def package_root(package: str, member: Path, cache: Path) -> Path:
    """Return the folder below which the files of a Debian package lie as in the system.

    Parameters
    ----------
    package : its name; it is not installed, only unpacked.
    member : one of its files, from the root: tells whether the package is there.
    cache : where it is unpacked, unless the system has it already.

    Raises
    ------
    SystemExit : it is not there and cannot be had.
    """
    unpacked = cache / "packages" / package
    for root in (Path("/"), unpacked):
        if (root / member).exists():
            return root
    unpacked.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        try:
            subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True)
            (archive,) = Path(folder).glob("*.deb")
            subprocess.run(["dpkg-deb", "-x", str(archive), str(unpacked)], check=True)
        except (OSError, subprocess.CalledProcessError, ValueError) as error:
            raise SystemExit(f"expected the Debian package {package}: {error}") from error
    if not (unpacked / member).exists():
        raise SystemExit(f"expected {member} in the Debian package {package}")
    return unpacked
