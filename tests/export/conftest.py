import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for export_samples

if find_spec("torch") is None:  # the runtime's own environment: it must not need torch
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def pictures_file(tmp_path_factory):
    from export_samples import blobs

    path = tmp_path_factory.mktemp("pictures") / "blobs.npz"
    images, labels = blobs(96)
    np.savez(path, images=images, labels=labels)
    return path


@pytest.fixture(scope="session")
def export_tiny(pictures_file):
    """Call `export_command` on a factory of `tiny_net.py`, at 32 pixels."""
    from export_samples import NET, PIXELS

    from edge_cl_export.command import Asked, export_command

    def export(out, factory="make", asked=None, **wanted):
        given = {"calibration": pictures_file, "size": (32, 32), **PIXELS, **(asked or {})}
        return export_command(Asked(source=f"{NET}:{factory}", **given), out, **wanted)

    return export


@pytest.fixture(scope="session")
def exported(export_tiny, tmp_path_factory):
    """The usual six files of the tiny network, in one bundle."""
    return export_tiny(tmp_path_factory.mktemp("all") / "tiny.edgecl")
