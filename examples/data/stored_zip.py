"""Write ZIP archives whose bytes depend on nothing but their members."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

EARLIEST_DATE = (1980, 1, 1, 0, 0, 0)
UNIX = 3
PLAIN_FILE = 0o100644 << 16


def write_stored_zip(path: Path, members: Mapping[str, bytes]) -> None:
    """Write members uncompressed, sorted by name, all with the same date.

    Parameters
    ----------
    path : file to write; its folder must exist.
    members : content by name.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, EARLIEST_DATE)
            entry.create_system = UNIX
            entry.external_attr = PLAIN_FILE
            archive.writestr(entry, members[name])
