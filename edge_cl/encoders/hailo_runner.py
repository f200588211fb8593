"""Hailo's accelerators, through HailoRT's `hailo_platform`. Not run on hardware.

The only file that imports it.

A `.hef` file is compiled on a workstation by Hailo's Dataflow Compiler, with the mean and the
scale of its input inside, and for one device. It takes a picture's bytes (n, height, width, 3)
as they are; features come back as float32: HailoRT scales the device's integers on the CPU.
Everything in the file runs on the device.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl.arrays import F32
from edge_cl.bundle import EncoderSpec
from edge_cl.encoders.accelerators import Accelerator, accelerator_for
from edge_cl.encoders.route import Route
from edge_cl.errors import BackendError, InputError

__all__ = ["HailoRunner", "hailo_available"]

_COMPILE = "compile the .hef for this device, with the compiler that fits the HailoRT installed"


def hailo_available() -> bool:
    """Say whether `hailo_platform` can be imported, without importing it."""
    return find_spec("hailo_platform") is not None


class HailoRunner:
    """A network on a Hailo device, which it holds as long as it lives.

    Parameters
    ----------
    blob : the verified `.hef` bytes.
    threads : not used: HailoRT has its own, which wait for the device.
    route : there are no options.

    Attributes
    ----------
    nodes, fallbacks : see `edge_cl.placement.Placement`; the whole network counts as one node.
    """

    def __init__(self, blob: bytes, spec: EncoderSpec, threads: int, route: Route) -> None:
        accelerator = accelerator_for(route.accelerator, "hailo")
        if route.options:
            raise InputError(f"unknown option {min(route.options)!r} of hailo: it takes none")
        self.nodes = {accelerator.reports: 1}
        self.fallbacks: tuple[str, ...] = ()
        self._lock = threading.Lock()
        with ExitStack() as held:
            self._streams, self._input, self._output = _opened(blob, spec, accelerator, held)
            self._release = weakref.finalize(self, held.pop_all().close)

    def run(self, batch: NDArray[Any]) -> F32:
        """See `Runner.run`."""
        try:
            with self._lock:  # one pair of streams, one picture after the other
                answers = self._streams.infer({self._input: np.ascontiguousarray(batch)})
        except Exception as error:
            raise BackendError(f"HailoRT failed: {' '.join(str(error).split())}") from error
        return np.asarray(answers[self._output], np.float32).reshape(len(batch), -1)

    def close(self) -> None:
        """See `Runner.close`."""
        self._release()


def _opened(
    blob: bytes, spec: EncoderSpec, accelerator: Accelerator, held: ExitStack
) -> tuple[Any, str, str]:
    """Return the streams of a network that is active, and the names of its input and output."""
    try:
        import hailo_platform as hailo
    except ImportError as error:
        raise BackendError(
            f"{spec.member} needs hailo_platform: {' '.join(str(error).split())}",
            hint=accelerator.install,
        ) from error
    try:
        network = hailo.HEF(blob)
        inputs = [info.name for info in network.get_input_vstream_infos()]
        outputs = [info.name for info in network.get_output_vstream_infos()]
        given_name, taken_name = _named(inputs, outputs, spec)
        device = held.enter_context(hailo.VDevice())
        params = hailo.ConfigureParams.create_from_hef(
            network, interface=hailo.HailoStreamInterface.PCIe
        )
        group = device.configure(network, params)[0]
        kind = hailo.FormatType
        given = hailo.InputVStreamParams.make(group, format_type=kind.UINT8)
        taken = hailo.OutputVStreamParams.make(group, format_type=kind.FLOAT32)
        streams = held.enter_context(hailo.InferVStreams(group, given, taken))
        held.enter_context(group.activate(group.create_params()))
    except BackendError:
        raise
    except Exception as error:
        raise BackendError(
            f"HailoRT cannot load {spec.member}: {' '.join(str(error).split())}", hint=_COMPILE
        ) from error
    return streams, given_name, taken_name


def _named(inputs: list[str], outputs: list[str], spec: EncoderSpec) -> tuple[str, str]:
    """Return the input and the output that the manifest names, or the only ones."""
    given = spec.input_name or (inputs[0] if len(inputs) == 1 else "")
    taken = spec.output_name or (outputs[0] if len(outputs) == 1 else "")
    if inputs != [given] or taken not in outputs:
        raise BackendError(
            f"{spec.member} has inputs {inputs} and outputs {outputs}, the manifest says "
            f"{spec.input_name or 'one'} and {spec.output_name or 'one'}",
            hint="name them: edge-cl add-encoder --input NAME --output NAME",
        )
    return given, taken
