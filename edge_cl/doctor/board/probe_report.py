"""What a child that tries a library writes: one JSON object, and nothing else."""

from __future__ import annotations

import msgspec

__all__ = ["Report"]


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was found.

    version : of the library.
    error, hint : why it does not run; empty where it does.
    fallbacks : what ran elsewhere than it was asked to, one line each.
    offers : accelerators that the library has besides the CPU, each to be tried by itself.
    backend : of the kernels: "numba" or "numpy"; empty for other libraries.
    cached : whether the kernel came from the cache; seconds : what loading or compiling it took.
    cache : the folder that keeps compiled kernels; empty where there is none.
    """

    version: str = ""
    error: str = ""
    hint: str = ""
    fallbacks: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()
    backend: str = ""
    cached: bool = False
    seconds: float = 0.0
    cache: str = ""
