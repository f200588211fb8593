"""`edge-cl heads`: what can be chosen by name."""

from __future__ import annotations

from edge_cl.cli import options
from edge_cl.cli.output import json_line, line

EXAMPLES = """
  edge-cl heads
  edge-cl heads --json
"""

# The order is that of the list; a test holds the names to edge_cl.heads and edge_cl.features
HEADS = {
    "ridge": "least squares on one-hot labels; the default",
    "lda": "Gaussians of one shrunk covariance",
    "ncm": "largest cosine to a class mean",
    "ncm-centred": "the same, about the mean of all samples",
    "ncm-euclidean": "nearest class mean",
    "ridge-balanced": "ridge in which every class counts the same, nearly; no more memory",
    "air": "the same, exactly; a matrix a class",
    "aef-ocl": "ridge in which small classes are filled up with what is expected of them",
    "fecam": "a Gaussian a class, each with a covariance of its own; a matrix a class",
    "kalman": "ridge that forgets as fast as the stream drifts; cannot undo",
    "auto": "ridge, lda and ncm side by side; the best of them answers",
}
MAPS = {
    "identity": "the encoder's features as they are; the default",
    "l2": "on the unit sphere",
    "power[:BETA]": "sign(x)·|x|^BETA, 0.5 unless given",
    "random-relu[:M]": "M random rectified combinations, 2048 unless given",
    "fourier[:M[:GAMMA]]": "M random cosines: a Gaussian kernel of that GAMMA",
}


def heads(as_json: options.Json = False) -> None:
    """List heads, feature maps and presets.

    Another head can be chosen at any time (edge-cl use), a map and a preset when a state is new.
    """
    from edge_cl.presets import PRESETS

    presets = {
        name: f"{preset.paper}{f'; {preset.note}' if preset.note else ''}"
        for name, preset in PRESETS.items()
    }
    found = {"heads": HEADS, "maps": MAPS, "presets": presets}
    if as_json:
        json_line(found)
        return
    for kind, entries in found.items():
        line(f"{kind}:")
        width = max(len(name) for name in entries)
        for name, text in entries.items():
            line(f"  {name:{width}}  {text}")
