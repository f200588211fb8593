"""A traced graph as a float LiteRT (TFLite) flatbuffer, for one picture at a time."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import fx

from edge_cl.errors import EdgeCLError, ExportError, MissingExtraError
from edge_cl_export.quiet import quiet

__all__ = ["to_litert"]


def to_litert(graph: fx.GraphModule, size: tuple[int, int]) -> bytes:
    """Return `graph` as a flatbuffer: uint8 (1, height, width, 3) in, float32 (1, d) out.

    Raises
    ------
    MissingExtraError : litert-torch is not installed.
    ExportError : an operator has no LiteRT form.
    """
    try:
        with quiet():
            import litert_torch
    except ImportError as error:
        raise MissingExtraError("LiteRT export", "export") from error
    example = torch.zeros((1, *size, 3), dtype=torch.uint8)
    try:
        with quiet(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "encoder.tflite"
            litert_torch.convert(graph, (example,)).export(str(path))
            return path.read_bytes()
    except EdgeCLError:
        raise
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise ExportError(f"LiteRT export failed: {type(error).__name__}: {first}") from error
