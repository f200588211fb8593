"""What a learning process holds in memory besides what it has learned.

Python and the libraries are constants, measured as resident memory of a process that had just
loaded them; most of it is mapped from files. The network takes its file, which the bundle holds,
twice that in the library that runs it, and room for what flows between its layers, for the 16
pictures that are encoded at a time:

    encoder = bundle + 2 file + 1.6 · 16 · widest layer                                     (1)
"""

from __future__ import annotations

import math

from edge_cl.bundle import Bundle, EncoderSpec
from edge_cl.device.needs import Needs
from edge_cl.encoders.network_work import NetworkWork
from edge_cl.planning.span import Assumption

__all__ = ["ASSUMPTIONS", "NUMBA_BYTES", "process_memory", "usable_bytes"]

_MB = 1_000_000
_PYTHON_BYTES = 47 * _MB  # with NumPy, edge-cl, and what a state folder needs
NUMBA_BYTES = 114 * _MB  # with LLVM and the compiled kernels; none with EDGE_CL_KERNELS=numpy
_LIBRARY_BYTES = {"onnx": 33 * _MB, "litert": 9 * _MB}
_PICTURES_BYTES = 3 * _MB  # Pillow
_AT_A_TIME = {"onnx": 16, "litert": 1}
_FLOWING, _COPIES = 1.6, 2.0

_SYSTEM_BYTES, _SYSTEM_SHARE = 150 * _MB, 0.1

ASSUMPTIONS = (
    Assumption(
        f"Python and NumPy take {_PYTHON_BYTES // _MB} MB, Numba {NUMBA_BYTES // _MB} MB, ONNX "
        f"Runtime {_LIBRARY_BYTES['onnx'] // _MB} MB, LiteRT {_LIBRARY_BYTES['litert'] // _MB} MB",
        "measured on x86-64, resident, Python 3.11",
        True,
    ),
    Assumption(
        f"the system keeps {_SYSTEM_BYTES // _MB} MB and a tenth of the memory for itself",
        "assumed: no desktop",
        False,
    ),
)


def usable_bytes(memory_gb: float) -> int:
    """Return what a process can take of a board's memory, as it is sold."""
    return max(0, math.floor((1 - _SYSTEM_SHARE) * memory_gb * (1 << 30)) - _SYSTEM_BYTES)


def process_memory(
    needs: Needs, bundle: Bundle, spec: EncoderSpec | None, work: NetworkWork | None
) -> dict[str, int]:
    """Return the memory of a whole process by part; `passing` is what comes and goes."""
    parts = {"python": _PYTHON_BYTES, "numba": NUMBA_BYTES}
    if spec is not None:
        parts["pictures"] = _PICTURES_BYTES
        parts["library"] = _LIBRARY_BYTES.get(spec.runtime, 0)
        file = len(bundle.files[spec.member])
        flowing = _FLOWING * _AT_A_TIME[spec.runtime] * work.widest_bytes if work else 0
        members = sum(len(blob) for blob in bundle.files.values())
        parts["encoder"] = members + int(_COPIES * file + flowing)  # (1)
    return {**parts, **needs.memory, "passing": needs.passing}
