"""Random numbers that depend on a seed alone, and sums that depend on no race."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["repeatable"]


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Make what torch computes inside depend on `seed`, on one machine with as many threads.

    What was set before is set again afterwards. Where torch has an operator in no repeatable
    form, it is used as it is. Gradients are on.
    """
    strict = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.enable_grad():
        warnings.filterwarnings("ignore", message=".*deterministic")
        torch.default_generator.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict, warn_only=warned)
