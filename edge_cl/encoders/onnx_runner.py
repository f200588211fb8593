"""ONNX Runtime, from verified bytes. The only file that imports onnxruntime."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl.arrays import F32
from edge_cl.bundle import EncoderSpec
from edge_cl.encoders.accelerators import Accelerator, accelerator_for
from edge_cl.encoders.onnx_providers import (
    assigned_kinds,
    assigned_nodes,
    fallbacks,
    record_assignment,
    refuse_fallbacks,
    session_on,
)
from edge_cl.encoders.route import ON_CPU, Route
from edge_cl.errors import BackendError

_ON_CPU = accelerator_for("cpu", "onnx")
_BATCH = 16  # pictures at a time: the memory of a run grows with them, its speed hardly


def onnx_available() -> bool:
    """Say whether ONNX Runtime can be imported, without importing it."""
    return find_spec("onnxruntime") is not None


def forbid_telemetry() -> None:
    """Tell ONNX Runtime not to report home, unless the user's environment says otherwise.

    Its builds report usage over the network and keep a device id in the home folder, unless
    this is set before it is imported. A learner that needs no cloud does not call one.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


class OnnxRunner:
    """A network in ONNX Runtime, on the CPU unless `route` names another execution provider.

    Parameters
    ----------
    blob : the verified `.onnx` bytes; loading from bytes leaves no door for external data.
    threads : intra-op threads. They do not spin between pictures: a board has better uses. 0 is
        as the library does by itself: one a core, spinning.

    Attributes
    ----------
    nodes, fallbacks : see `edge_cl.placement.Placement`.
    """

    def __init__(self, blob: bytes, spec: EncoderSpec, threads: int, route: Route = ON_CPU) -> None:
        accelerator = accelerator_for(route.accelerator, "onnx")
        self._session = _session(blob, spec, threads, None, accelerator, route)
        self.nodes = assigned_nodes(self._session)
        kinds = assigned_kinds(self._session, accelerator)
        self.fallbacks = fallbacks(self.nodes, kinds, accelerator)
        if route.strict and self.nodes:  # a version that does not tell has refused itself
            refuse_fallbacks(self.fallbacks, spec.member, accelerator)
        self._input, self._output = spec.input_name, spec.output_name
        names = ([i.name for i in self._session.get_inputs()], [self._input])
        outputs = [o.name for o in self._session.get_outputs()]
        if names[0] != names[1] or self._output not in outputs:
            raise BackendError(
                f"{spec.member} has inputs {names[0]} and outputs {outputs}, "
                f"the manifest says {self._input} and {self._output}"
            )
        fixed = accelerator.name != "cpu" or isinstance(self._session.get_inputs()[0].shape[0], int)
        self._batch = 1 if fixed else _BATCH

    def run(self, batch: NDArray[Any]) -> F32:
        """See `Runner.run`."""
        try:
            starts = range(0, len(batch), self._batch)
            return np.concatenate([self._once(batch[i : i + self._batch]) for i in starts])
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed: {' '.join(str(error).split())}") from error

    def close(self) -> None:
        """See `Runner.close`: there is nothing to give back."""

    def _once(self, batch: NDArray[Any]) -> F32:
        return np.asarray(self._session.run([self._output], {self._input: batch})[0])


def operators_run(blob: bytes, spec: EncoderSpec, batch: NDArray[Any]) -> dict[str, dict[str, int]]:
    """Return, by execution provider, how many operators of each kind run for `batch`.

    Counted is what runs after all fusions, in a session of its own that is profiled: a
    convolution that became an integer one is a `QLinearConv` here, one that did not a `Conv`
    or `FusedConv`.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = _session(blob, spec, 1, Path(folder) / "run", _ON_CPU, ON_CPU)
        try:
            session.run([spec.output_name], {spec.input_name: batch})
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed: {' '.join(str(error).split())}") from error
        finally:
            profile = session.end_profiling()
        events = json.loads(Path(profile).read_text(encoding="utf-8"))
    found: dict[str, Counter[str]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            ran = event["args"]
            found.setdefault(ran["provider"], Counter())[ran["op_name"]] += 1
    return {provider: dict(sorted(kinds.items())) for provider, kinds in sorted(found.items())}


def profiled_events(
    blob: bytes, batch: NDArray[Any], *, fused: bool, threads: int = 1, runs: int = 1
) -> list[dict[str, Any]]:
    """Return what the profiler tells of each node of a network with one input, run by run.

    Without `fused` the network runs as it is written: then every weight has its shape.
    """
    forbid_telemetry()
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    if not fused:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "run")
        try:
            session = ort.InferenceSession(blob, options, providers=["CPUExecutionProvider"])
            for _ in range(runs):
                session.run(None, {session.get_inputs()[0].name: batch})
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed: {' '.join(str(error).split())}") from error
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return [
        event
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    ]


def _session(
    blob: bytes,
    spec: EncoderSpec,
    threads: int,
    profile: Path | None,
    accelerator: Accelerator,
    route: Route,
) -> Any:
    forbid_telemetry()
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if threads:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")  # what was checked
    record_assignment(options)
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    try:
        if accelerator.name == "cpu":
            return ort.InferenceSession(blob, options, providers=[accelerator.engine])
        return session_on(ort, blob, options, accelerator, route, threads)
    except BackendError:
        raise
    except Exception as error:
        raise BackendError(
            f"ONNX Runtime cannot load {spec.member}: {' '.join(str(error).split())}"
        ) from error
