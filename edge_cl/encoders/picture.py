"""Bringing a picture of any size to the one the network takes."""

from __future__ import annotations

import numpy as np

from edge_cl.arrays import U8
from edge_cl.bundle import InputSpec


def fit_picture(picture: U8, spec: InputSpec) -> U8:
    """Return `picture` (height, width, 3) at the size and by the rule that `spec` declares.

    "crop" keeps the largest centred part that has the network's aspect ratio; "stretch"
    keeps everything. The resize is antialiased.
    """
    from PIL import Image

    height, width = picture.shape[:2]
    to_height, to_width = spec.shape[:2]
    if (height, width) == (to_height, to_width):
        return picture
    box = (0.0, 0.0, float(width), float(height))
    if spec.fit == "crop":
        ratio = min(width / to_width, height / to_height)
        # never below 0: (29 / 224) * 224 > 29 in floating point, and Pillow minds
        left = max(0.0, (width - ratio * to_width) / 2)
        top = max(0.0, (height - ratio * to_height) / 2)
        box = (left, top, width - left, height - top)
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    resized = Image.fromarray(picture).resize((to_width, to_height), filters[spec.resize], box)
    return np.asarray(resized)
