"""The first load of an encoder, in a child process that may crash.

Verified bytes can still be a network that this machine cannot run: a wheel built for a newer CPU
ends a process with SIGILL, a broken network with SIGSEGV, one that is far too large with no memory
left. None of these is an exception that a learner could catch. So before a process loads an
encoder that was never loaded here, a child of its own does: it runs the bundle's parity vectors
under limits on memory, CPU and time, and what it answers is compared with the float model's
features. Once proven, an encoder is loaded without a child (`proven`).

This protects a learner from accidents and from networks that do not work. It is no sandbox: code
that takes over the child acts with the user's rights.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_cl.arrays import F32
from edge_cl.bundle import Bundle, EncoderSpec, load_parity
from edge_cl.encoders import proven
from edge_cl.encoders.canary_message import INSIDE, Task, read_answer, written_task
from edge_cl.encoders.route import ON_CPU, Route
from edge_cl.errors import BackendError

__all__ = ["LIMITS", "Limits", "prove"]

# int8 kernels round and saturate differently from CPU to CPU: the shipped encoder has 0.998
# here. What answers for another input, or is broken, is near 0.
MIN_MEAN_COSINE = 0.8
_MAX_ROWS = 8
_RUNTIMES = {"onnx": "ONNX Runtime", "litert": "LiteRT", "rknn": "RKNN", "hailo": "HailoRT"}
_AGAIN = "export the bundle again, or take another version of the runtime"
_HINTS = {
    "SIGILL": "this CPU lacks an instruction that the installed {runtime} uses; install one built "
    "for this CPU, or take an encoder of another runtime",
    "SIGKILL": "the system may have run out of memory; take a smaller encoder",
    "SIGXCPU": "take a smaller encoder",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the child may use.

    memory_bytes : of address space, besides 32 times the encoder's file.
    answer_bytes : that it may write.
    """

    memory_bytes: int = 2 << 30
    cpu_seconds: int = 120
    wall_seconds: float = 120.0
    answer_bytes: int = 16 << 20


LIMITS = Limits()
# A driver maps its device's memory as address space, and TensorRT builds for minutes
ACCELERATED = Limits(memory_bytes=1 << 46, cpu_seconds=1800, wall_seconds=900.0)
_ON_CORES = ("cpu", "xnnpack", "acl")


def prove(bundle: Bundle, spec: EncoderSpec, threads: int, route: Route = ON_CPU) -> None:
    """Return once an encoder of `bundle` is known to work here; at once where it is known.

    Raises
    ------
    BackendError : it crashes, exceeds the limits, or its features are not those of the bundle.
    """
    route = msgspec.structs.replace(route, strict=False)  # whether it works is asked, not where
    key = proven.key(bundle, spec, route)
    if proven.known(key):
        return
    parity = load_parity(bundle)
    shape = bundle.manifest.input.shape
    known = parity is not None and len(parity.inputs) > 0
    if parity is not None and known:
        inputs = parity.inputs[:_MAX_ROWS]
    else:  # nothing to compare with: that it loads and runs is all there is to see
        inputs = np.zeros((1, *shape), bundle.manifest.input.dtype)
    features = _encode_in_child(spec, bundle.files[spec.member], inputs, threads, route)
    if features.shape != (len(inputs), bundle.manifest.embedding.d):
        raise BackendError(
            f"expected features ({len(inputs)}, {bundle.manifest.embedding.d}) of {spec.member}, "
            f"got {features.shape}",
            hint=_AGAIN,
        )
    if not np.isfinite(features).all():
        raise BackendError(f"{spec.member} gives features that are not finite", hint=_AGAIN)
    if parity is not None and known:
        _compare(features, parity.features[:_MAX_ROWS], spec)
    proven.remember(key)


def child_command() -> list[str]:
    """Return the command of a Python that imports exactly what this one imports."""
    if not sys.executable or INSIDE in os.environ:
        raise BackendError(
            "cannot start a Python to try an encoder in",
            hint="run edge-cl with a python interpreter of its own, not embedded in a program",
        )
    code = (
        "import sys; sys.path[:] = sys.argv[1:]; "
        "from edge_cl.encoders.canary_child import main; main()"
    )
    return [sys.executable, "-I", "-B", "-c", code, *sys.path]


def _encode_in_child(
    spec: EncoderSpec, blob: bytes, inputs: NDArray[Any], threads: int, route: Route
) -> NDArray[Any]:
    task = Task(
        spec=spec,
        threads=threads,
        route=route,
        encoder_bytes=len(blob),
        dtype=inputs.dtype.name,
        shape=inputs.shape,
    )
    limits = LIMITS if route.accelerator in _ON_CORES else ACCELERATED
    memory = limits.memory_bytes + 32 * len(blob)
    status, written, told = _run(written_task(task, blob, inputs), limits, memory, spec)
    if status:
        raise _failure(spec, route, limits, status, told)
    try:
        answer, features = read_answer(written)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BackendError(f"{spec.member} was tried, and gave no answer", hint=_AGAIN) from error
    if answer.error:
        raise BackendError(answer.error, hint=answer.hint or _AGAIN)
    return features


def _run(
    message: bytes, limits: Limits, memory: int, spec: EncoderSpec
) -> tuple[int, bytes, bytes]:
    """Return exit status, stdout and stderr of a child that was given `message`."""
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX"), "1")
    with (
        open(os.memfd_create("answer"), "w+b") as answer,  # noqa: PTH123
        open(os.memfd_create("told"), "w+b") as told,  # noqa: PTH123
    ):
        try:
            child = subprocess.Popen(
                child_command(),
                stdin=subprocess.PIPE,
                stdout=answer,
                stderr=told,
                env=os.environ | threads | {INSIDE: "1"},
                start_new_session=True,  # a Ctrl-C is for us; and its children end with it
            )
        except OSError as error:
            raise BackendError(f"cannot start {sys.executable}: {error.strerror}") from error
        try:
            _limit(child.pid, limits, memory)
            # It waits for this, so that nothing of it is read without limits
            child.communicate(message, timeout=limits.wall_seconds)
        except subprocess.TimeoutExpired:
            raise BackendError(
                f"{spec.member} did not load and run within {limits.wall_seconds:g} s",
                hint="take a smaller encoder",
            ) from None
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            if child.stdin is not None:
                with contextlib.suppress(OSError):
                    child.stdin.close()
            child.wait()
        for stream in (answer, told):
            stream.seek(0)
        return child.returncode, answer.read(limits.answer_bytes), told.read(1 << 16)


def _limit(pid: int, most_of: Limits, memory: int) -> None:
    """Set the limits of a child; it is also the first that the system shall kill for memory."""
    limits = {
        resource.RLIMIT_AS: min(memory, sys.maxsize),
        resource.RLIMIT_CPU: most_of.cpu_seconds,
        resource.RLIMIT_FSIZE: most_of.answer_bytes,
        resource.RLIMIT_CORE: 0,
    }
    try:
        for kind, most in limits.items():
            hard = resource.prlimit(pid, kind)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            # the signal that tells of too much CPU comes at the lower of its two limits
            above = 5 if kind == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else 0
            resource.prlimit(pid, kind, (most, most + above))
    except ProcessLookupError:
        return  # it has ended already, and its status tells
    except OSError as error:
        raise BackendError(
            f"cannot limit the process that tries an encoder: {error.strerror}",
            hint="the service's system call filter must allow prlimit",
        ) from error
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")


def _failure(
    spec: EncoderSpec, route: Route, limits: Limits, status: int, told: bytes
) -> BackendError:
    runtime = _RUNTIMES[spec.runtime]
    if status > 0:
        lines = told.decode("utf-8", "replace").strip().splitlines() or [f"exit status {status}"]
        return BackendError(f"{spec.member} cannot be tried: {ascii(lines[-1])[1:-1][:300]}")
    known = {s.value: s.name for s in signal.Signals}
    on = "" if route.accelerator == "cpu" else f" on {route.accelerator}"
    name = known.get(-status, f"signal {-status}")
    what = f"ended by {name} when it loaded {spec.member} ({runtime}{on})"
    if name == "SIGXCPU":
        what = f"{spec.member} needs more than {limits.cpu_seconds} s of CPU to load and run"
        return BackendError(what, hint=_HINTS[name])
    hint = _HINTS.get(name, f"do not use this encoder here; {_AGAIN}").format(runtime=runtime)
    return BackendError(f"a trial process was {what}", hint=hint)


def _compare(features: NDArray[Any], reference: F32, spec: EncoderSpec) -> None:
    a, b = features.astype(np.float64), reference.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = ~(a.any(axis=1) | b.any(axis=1))
    cosine = np.where(both_zero, 1.0, (a * b).sum(axis=1) / np.where(norms > 0, norms, 1.0))
    if not cosine.mean() >= MIN_MEAN_COSINE:
        raise BackendError(
            f"{spec.member} runs here, but its features are not those of the bundle's reference: "
            f"mean cosine {cosine.mean():.3f}, expected at least {MIN_MEAN_COSINE}",
            hint=_AGAIN,
        )
