"""The child that tries one library: see `probes`, which starts it.

It loads the library as edge-cl does, runs the smallest thing there is, and reports. Whatever the
library prints goes to stderr; a crash ends this process and is the answer.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec

from edge_cl.doctor.board.probe_report import Report
from edge_cl.errors import EdgeCLError

__all__ = ["main"]

_LIMITS = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_CPU: 60,
    resource.RLIMIT_FSIZE: 64 << 20,
}
_ADDRESS_SPACE = 8 << 30  # a library that runs on the CPU needs far less; a GPU's maps more
_LIBRARIES = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"),
    *("/usr/lib/aarch64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu"),
)


def main(what: str) -> None:
    """Try `what`, "kernels", "onnx", "litert", or "onnx:cuda", and write a report to stdout."""
    answer_to = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not do so into the answer
    _limit(cpu=":" not in what)
    try:
        report = _tried(what)
    except EdgeCLError as error:
        report = Report(error=_line(error), hint=error.hint)
    except Exception as error:  # noqa: BLE001  (whatever a library raises is what is asked for)
        report = Report(error=f"{type(error).__name__}: {_line(error)}")
    with open(answer_to, "wb") as stream:  # noqa: PTH123
        stream.write(msgspec.json.encode(report))
    os._exit(0)  # libraries that crash while they are unloaded harm nobody


def _tried(what: str) -> Report:
    runtime, _, accelerator = what.partition(":")
    if what == "kernels":
        return _kernels()
    if runtime == "onnx":
        return _network("onnx", accelerator)
    return _network("litert", accelerator)


def _network(runtime: Literal["onnx", "litert"], accelerator: str) -> Report:
    """Run a network of one operator."""
    import numpy as np

    from edge_cl.doctor.board.tiny_networks import tiny_network
    from edge_cl.encoders import load_network
    from edge_cl.encoders.route import Route

    spec, blob = tiny_network(runtime)
    network = load_network(spec, blob, 1, Route(accelerator=accelerator or "cpu"))
    x = np.array([[1.0, 2.0, 3.0]], np.float32)
    y = network.run(x)
    if not np.array_equal(y, x):
        return Report(error="it runs, and computes wrong: 1, 2, 3 did not come back")
    return Report(
        version=_version(runtime),
        fallbacks=network.fallbacks,
        offers=() if accelerator else tuple(_offers(runtime)),
    )


def _offers(runtime: str) -> list[str]:
    """Return the accelerators that the library that is loaded could use here, by their names."""
    from edge_cl.encoders.accelerators import accelerator_for, accelerator_names, runtimes_of
    from edge_cl.encoders.onnx_providers import offered

    found: list[str] = []
    for name in accelerator_names():
        if name == "cpu" or runtime not in runtimes_of(name):
            continue
        accelerator = accelerator_for(name, runtime)
        if runtime == "litert":
            folders = (*os.environ.get("LD_LIBRARY_PATH", "").split(":"), *_LIBRARIES)
            there = accelerator.engine and any(
                folder and (Path(folder) / accelerator.engine).exists() for folder in folders
            )
            found += [name] if there else []
        else:
            with contextlib.suppress(EdgeCLError):
                offered(sys.modules["onnxruntime"], accelerator)
                found.append(name)
    return found


def _kernels() -> Report:
    """Run one kernel; where it was never compiled here, that compiles it and fills the cache."""
    import numpy as np

    from edge_cl import kernels

    if kernels.BACKEND != "numba":
        return Report(version=np.__version__, backend=kernels.BACKEND)
    sums = np.zeros((1, 8))
    begun = time.perf_counter()
    kernels.add_rows(np.ones((1, 8), np.int16), np.zeros(1, np.int64), 1, sums)
    seconds = time.perf_counter() - begun
    if not np.array_equal(sums, np.ones((1, 8))):
        return Report(error="the compiled kernel computes wrong: 0 + 1 is not 1")
    stats = getattr(kernels.add_rows, "stats", None)  # none where NUMBA_DISABLE_JIT is set
    return Report(
        version=metadata.version("numba"),
        backend="numba",
        cached=stats is not None and bool(stats.cache_hits),
        seconds=round(seconds, 3),
        cache=str((stats.cache_path if stats is not None else "") or ""),
    )


def _version(runtime: str) -> str:
    names = ("onnxruntime",) if runtime == "onnx" else ("ai_edge_litert", "tflite_runtime")
    for name in names:
        if name in sys.modules:
            told = getattr(sys.modules[name], "__version__", "")
            with contextlib.suppress(metadata.PackageNotFoundError):
                return str(told or metadata.version(name.replace("_", "-")))
    return ""


def _limit(*, cpu: bool) -> None:
    """Set limits on this process; it is also the first that the system shall kill for memory."""
    limits = {**_LIMITS, **({resource.RLIMIT_AS: _ADDRESS_SPACE} if cpu else {})}
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, hard))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
