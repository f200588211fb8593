"""Execution providers of ONNX Runtime: which one is asked, and which nodes it really got.

ONNX Runtime gives every node that a provider does not take to the CPU, and a provider that cannot
be loaded it leaves out altogether, with a line in its log. Here the first is counted and the
second is an error. What is counted are the nodes as they were assigned, before a provider fuses
them: what a version records of it (`session.record_ep_graph_assignment_info`, from 1.24 on).

NPUs compile a network for shapes that are known. Asked for a batch of any size, QNN leaves all of a
network to the CPU; so what runs elsewhere than on the CPU is told that batches are of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from edge_cl.encoders.accelerators import Accelerator
from edge_cl.encoders.route import Route
from edge_cl.errors import BackendError

__all__ = [
    "assigned_kinds",
    "assigned_nodes",
    "fallbacks",
    "offered",
    "record_assignment",
    "refuse_fallbacks",
    "session_on",
]

_CPU = "CPUExecutionProvider"
_FORBIDDEN = "fallback to CPU EP has been explicitly disabled"  # as ONNX Runtime words it


def offered(ort: Any, accelerator: Accelerator) -> str:
    """Say how this ONNX Runtime offers an accelerator: "built in" or "plugin".

    Raises
    ------
    BackendError : it does not.
    """
    if accelerator.engine in ort.get_available_providers():
        return "built in"
    if accelerator.plugin and find_spec(accelerator.plugin) is not None:
        if hasattr(ort, "register_execution_provider_library"):
            return "plugin"
        raise BackendError(
            f"ONNX Runtime {ort.__version__} takes no execution provider as a plugin",
            hint="take version 1.23 or newer",
        )
    have = ", ".join(ort.get_available_providers())
    raise BackendError(
        f"this ONNX Runtime has no {accelerator.engine}, it has {have}", hint=accelerator.install
    )


def record_assignment(options: Any) -> None:
    """Let a session remember which nodes it gives to whom."""
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")


def session_on(
    ort: Any, blob: bytes, options: Any, accelerator: Accelerator, route: Route, threads: int
) -> Any:
    """Return a session with `accelerator` before the CPU; with `route.strict` without the CPU.

    Raises
    ------
    BackendError : the provider is not there, or did not load.
    Exception : whatever ONNX Runtime raises for the network.
    """
    how = offered(ort, accelerator)
    wanted = {**accelerator.options, **route.options}
    if accelerator.threads_option:  # it has threads of its own: the budget is theirs
        wanted.setdefault(accelerator.threads_option, str(threads))
        options.intra_op_num_threads = 1
    batch = _free_batch(ort, blob)
    if batch is not None:
        options.add_free_dimension_override_by_name(batch, 1)
    if route.strict:
        options.log_severity_level = 4  # what it would log is raised
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        if how == "plugin":
            session = _with_plugin(ort, blob, options, accelerator, route, wanted)
        else:
            # with the CPU named, its fallback cannot be forbidden
            after = [] if route.strict else [_CPU]
            providers = [(accelerator.engine, wanted), *after]
            # else it would try again on the CPU alone, and print that it does
            session = ort.InferenceSession(blob, options, providers=providers, enable_fallback=0)
    except Exception as error:
        if _FORBIDDEN not in str(error):
            raise
        raise BackendError(
            f"{accelerator.name} does not run all of the network: nodes are left to the CPU",
            hint="without strict it runs, and edge-cl status tells how many",
        ) from error
    if accelerator.engine not in session.get_providers():
        raise BackendError(
            f"{accelerator.engine} did not load: ONNX Runtime went on without it",
            hint=accelerator.install,
        )
    return session


def assigned_nodes(session: Any) -> dict[str, int]:
    """Return provider -> number of nodes; empty where this version does not tell."""
    asked = getattr(session, "get_provider_graph_assignment_info", None)
    if asked is None:
        return {}
    counted: Counter[str] = Counter()
    for part in asked():
        counted[part.ep_name] += len(part.get_nodes())
    return dict(sorted(counted.items()))


def assigned_kinds(session: Any, accelerator: Accelerator) -> list[str]:
    """Return the operators of the nodes that did not go to `accelerator`, as far as told."""
    asked = getattr(session, "get_provider_graph_assignment_info", None)
    others = () if asked is None else (p for p in asked() if p.ep_name != accelerator.reports)
    return [node.op_type for part in others for node in part.get_nodes()]


def fallbacks(
    nodes: dict[str, int], kinds: Iterable[str], accelerator: Accelerator
) -> tuple[str, ...]:
    """Return one line for each place that nodes run at instead of `accelerator`.

    kinds : of the nodes that did not go there, as far as they are known.
    """
    if not accelerator.reports:
        return ()
    whole = sum(nodes.values())
    if not whole:
        return (f"it is not known what runs on {accelerator.name}: the library does not tell",)
    counts = Counter(kinds).most_common(4)
    named = ", ".join(f"{kind} {count}" for kind, count in counts)
    some = f" ({named}{', ...' if len(set(kinds)) > len(counts) else ''})" if named else ""
    return tuple(
        f"{count} of {whole} nodes run on {where}, not on {accelerator.name}{some}"
        for where, count in nodes.items()
        if where != accelerator.reports
    )


def refuse_fallbacks(found: tuple[str, ...], member: str, accelerator: Accelerator) -> None:
    """Raise BackendError where there is any fallback."""
    if found:
        raise BackendError(
            f"{member}: {'; '.join(found)}",
            hint=f"leave strict out, or take a network that {accelerator.name} runs whole",
        )


def _free_batch(ort: Any, blob: bytes) -> str | None:
    """Return the name of the network's batch size, None where it is a number."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # only looked at
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(blob, options, providers=[_CPU])
    shape = session.get_inputs()[0].shape
    return shape[0] if shape and isinstance(shape[0], str) else None


def _with_plugin(
    ort: Any,
    blob: bytes,
    options: Any,
    accelerator: Accelerator,
    route: Route,
    wanted: dict[str, str],
) -> Any:
    package = import_module(accelerator.plugin)
    if not any(device.ep_name == accelerator.engine for device in ort.get_ep_devices()):
        ort.register_execution_provider_library(accelerator.engine, package.get_library_path())
    devices = [d for d in ort.get_ep_devices() if d.ep_name == accelerator.engine]
    if not devices:
        raise BackendError(
            f"{accelerator.engine} finds no device of its kind here", hint=accelerator.install
        )
    backend = getattr(package, "get_qnn_htp_path", None)
    if backend is not None and not {"backend_path", "backend_type"} & set(route.options):
        wanted = {**wanted, "backend_path": backend()}  # the one that the package brings
    options.add_provider_for_devices(devices, wanted)
    return ort.InferenceSession(blob, options, enable_fallback=0)
