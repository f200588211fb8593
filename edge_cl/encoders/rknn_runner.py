"""Rockchip's NPU, through `rknnlite`. The only file that imports it. Not run on hardware.

A `.rknn` file is made on a workstation by Rockchip's toolkit, with the mean and the scale of its
input inside: it takes a picture's bytes (1, height, width, 3) as they are, and the library gives
features back as float32, whatever the network computes in. The whole network runs on the NPU, but
for operators that the toolkit has given to the CPU; the library does not tell of these.

The library reads a network from a file only, and all of it at once: it gets one that nobody else
can read, and that is gone when the network is loaded.
"""

from __future__ import annotations

import tempfile
import weakref
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl.arrays import F32
from edge_cl.bundle import EncoderSpec
from edge_cl.encoders.accelerators import Accelerator, accelerator_for
from edge_cl.encoders.onnx_providers import refuse_fallbacks
from edge_cl.encoders.route import Route
from edge_cl.errors import BackendError, InputError

__all__ = ["RKNNRunner", "rknn_available"]

_MAKE = "make the .rknn file for this chip, with the toolkit of the version that is installed here"


def rknn_available() -> bool:
    """Say whether `rknnlite` can be imported, without importing it."""
    return find_spec("rknnlite") is not None


class RKNNRunner:
    """A network on Rockchip's NPU, one picture at a time.

    Parameters
    ----------
    blob : the verified `.rknn` bytes.
    threads : not used: the library has none to set.
    route : `core_mask` among its options names NPU cores as the library does: "NPU_CORE_AUTO",
        "NPU_CORE_0_1_2" ...

    Attributes
    ----------
    nodes, fallbacks : see `edge_cl.placement.Placement`; nodes are not told.
    """

    def __init__(self, blob: bytes, spec: EncoderSpec, threads: int, route: Route) -> None:
        accelerator = accelerator_for(route.accelerator, "rknn")
        self.nodes: dict[str, int] = {}
        self.fallbacks: tuple[str, ...] = (
            "it is not known what runs on the NPU: RKNN does not tell which operators the CPU got",
        )
        if route.strict:
            refuse_fallbacks(self.fallbacks, spec.member, accelerator)
        self._network = _loaded(blob, spec, accelerator, {**accelerator.options, **route.options})
        self._release = weakref.finalize(self, self._network.release)

    def run(self, batch: NDArray[Any]) -> F32:
        """See `Runner.run`."""
        return np.concatenate([self._once(batch[i : i + 1]) for i in range(len(batch))])

    def close(self) -> None:
        """See `Runner.close`."""
        self._release()

    def _once(self, one: NDArray[Any]) -> F32:
        layout = {"data_format": ["nhwc"]} if one.ndim == 4 else {}
        answers = self._network.inference(inputs=[np.ascontiguousarray(one)], **layout)
        if answers is None or len(answers) != 1:
            got = "none" if answers is None else str(len(answers))
            raise BackendError(f"RKNN failed: expected one output, got {got}", hint=_MAKE)
        return np.asarray(answers[0], np.float32).reshape(1, -1)


def _loaded(
    blob: bytes, spec: EncoderSpec, accelerator: Accelerator, options: dict[str, str]
) -> Any:
    try:
        from rknnlite.api import RKNNLite
    except ImportError as error:
        raise BackendError(
            f"{spec.member} needs rknnlite: {' '.join(str(error).split())}",
            hint=accelerator.install,
        ) from error
    mask = options.pop("core_mask")
    if options:
        raise InputError(f"unknown option {min(options)!r} of rknn", hint="it takes core_mask")
    if not mask.startswith("NPU_CORE_") or not hasattr(RKNNLite, mask):
        have = ", ".join(name for name in dir(RKNNLite) if name.startswith("NPU_CORE_"))
        raise InputError(f"unknown core_mask {mask!r}", hint=f"one of: {have}")
    network: Any = RKNNLite(verbose=False)
    with tempfile.NamedTemporaryFile(suffix=".rknn") as file:  # readable by this user only
        file.write(blob)
        file.flush()
        status = network.load_rknn(file.name)
        if status == 0:
            status = network.init_runtime(core_mask=getattr(RKNNLite, mask))
    if status != 0:
        network.release()
        raise BackendError(
            f"RKNN cannot load {spec.member}: error {status}; its log says more", hint=_MAKE
        )
    return network
