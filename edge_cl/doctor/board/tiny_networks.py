"""Networks of one operator, on which a library shows that it loads and runs.

ONNX: y = Identity(x), x float32 (n, 3); TFLite: y = RELU(x), x float32 (1, 3). They are bytes here
because nothing that could write them is a dependency of the runtime.
"""

from __future__ import annotations

import base64
from typing import Literal

from edge_cl.bundle import EncoderSpec

__all__ = ["tiny_network"]

_FILES = {
    "onnx": (
        b"CAhCBAoAEBE6QQoQCgF4EgF5IghJZGVudGl0eRIBZ1oUCgF4Eg8KDQgBEgkKAxIBbgoCCANiFAoBeRIPCg0IARIJ"
        b"CgMSAW4KAggD"
    ),
    "litert": (
        b"GAAAAFRGTDMAAA4AFAAQAAwACAAAAAQADgAAABAAAAAcAAAAyAAAAAMAAAABAAAACAAAAAQABAAEAAAAAQAAABAA"
        b"AAAMABQAEAAMAAgABAAMAAAAHAAAADgAAAA8AAAABAAAAAIAAABkAAAANAAAAAEAAAAQAAAAAAAKAAwAAAAIAAQA"
        b"CgAAAAgAAAAMAAAAAQAAAAEAAAABAAAAAAAAAOD///8UAAAABAAAAAIAAAABAAAAAwAAAAEAAAB5AAAADAAMAAgA"
        b"AAAAAAQADAAAABQAAAAEAAAAAgAAAAEAAAADAAAAAQAAAHgAAAABAAAAEAAAAAwADAALAAAAAAAEAAwAAAATAAAA"
        b"AAAAEw=="
    ),
}


def tiny_network(runtime: Literal["onnx", "litert"]) -> tuple[EncoderSpec, bytes]:
    """Return a network that `runtime` must be able to run: x (1, 3) to (1, 3)."""
    spec = EncoderSpec(
        member="a network of one operator",
        runtime=runtime,
        precision="fp32",
        recipe="by hand",
        input_name="x",
        output_name="y",
    )
    return spec, base64.b64decode(_FILES[runtime])
