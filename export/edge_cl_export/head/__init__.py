"""The way back: a taught head as ONNX or TFLite, alone or with its encoder in front.

    from pathlib import Path
    from edge_cl_export.head import export_head

    export_head(Path("edge-cl-state"), Path("head.onnx"))

Needs no torch: `onnx` for one format, `ai-edge-litert` for the other.
"""

from edge_cl_export.head.write_head import LARGEST_DIFFERENCE, ExportedHead, export_head

__all__ = ["LARGEST_DIFFERENCE", "ExportedHead", "export_head"]
