"""`edge-cl warmup`: compile now what would be compiled at the first lesson."""

from __future__ import annotations

from time import perf_counter

from edge_cl.cli import options
from edge_cl.cli.output import json_line, pairs

EXAMPLES = """
  edge-cl warmup          once, after installing; in an image, before it is made read-only
"""


def warmup(as_json: options.Json = False) -> None:
    """Compile the kernels and keep the machine code.

    Without it the first lesson on a new machine waits a few seconds. Where the machine code cannot
    be kept, on a read-only system, every process compiles anew: set NUMBA_CACHE_DIR to a folder
    that can be written, or warm up before the system is sealed.
    """
    from edge_cl import kernels

    start = perf_counter()
    kernels.warm_up()
    seconds = perf_counter() - start
    if as_json:
        json_line({"kernels": kernels.BACKEND, "seconds": seconds})
    else:
        pairs([("kernels", kernels.BACKEND), ("time", f"{seconds:.2f} s")])
