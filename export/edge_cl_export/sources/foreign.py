"""Calls into the libraries that networks come from: muted, seeded, one line where they fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch

from edge_cl.errors import EdgeCLError, ExportError, MissingExtraError
from edge_cl_export.first_line import first_line
from edge_cl_export.quiet import quiet

__all__ = ["library", "loading"]


def library(name: str, what: str, *, extra: str = "backbones") -> Any:
    """Import the library `name`, which `what` needs, and return it.

    Raises
    ------
    MissingExtraError : it is not installed.
    ExportError : it is, and its import fails.
    """
    try:
        with quiet():
            return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == name.split(".")[0]:
            raise MissingExtraError(what, extra) from error
        raise ExportError(
            f"{what} needs {name}, which needs {error.name}, which is not installed",
            hint=f"pip install 'edge-cl[{extra}]'",
        ) from error
    except Exception as error:
        # torchvision raises RuntimeError where its operators are of another build than torch
        raise ExportError(
            f"{what} needs {name}, whose import fails: {first_line(error)}",
            hint="install torch and torchvision of the same release and for the same device: "
            f"torch is {torch.__version__}",
        ) from error


@contextmanager
def loading(what: str, *, seed: int) -> Iterator[None]:
    """Mute what is called inside, draw its random weights by `seed`, and say in one line why not.

    Raises
    ------
    ExportError : the library raised: no network, no such weights, a damaged file.
    """
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    except EdgeCLError:
        raise
    except Exception as error:
        raise ExportError(
            f"{what} cannot be loaded: {first_line(error)}",
            hint="weights are fetched when they are first used: check the name and the network",
        ) from error
