"""Bringing a picture of any size to the one the network takes."""

from __future__ import annotations

import numpy as np

from edge_cl.arrays import U8
from edge_cl.bundle import InputSpec


def fit_picture(picture: U8, spec: InputSpec) -> U8:
    """Return `picture` (height, width, 3) at the size and by the rule that `spec` declares.

    "crop" keeps the largest centred part that has the network's aspect ratio; "stretch"
    keeps everything. Of that, the centred share `spec.share` of each side is used. The resize
    is antialiased. A picture that has the network's size already is taken as it is.
    """
    from PIL import Image

    height, width = picture.shape[:2]
    to_height, to_width = spec.shape[:2]
    if (height, width) == (to_height, to_width):
        return picture
    box = (0.0, 0.0, float(width), float(height))
    if spec.share < 1.0:
        box = _cut(height, width, spec)
    elif spec.fit == "crop":
        ratio = min(width / to_width, height / to_height)
        # never below 0: (29 / 224) * 224 > 29 in floating point, and Pillow minds
        left = max(0.0, (width - ratio * to_width) / 2)
        top = max(0.0, (height - ratio * to_height) / 2)
        box = (left, top, width - left, height - top)
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    resized = Image.fromarray(picture).resize((to_width, to_height), filters[spec.resize], box)
    return np.asarray(resized)


def _cut(height: int, width: int, spec: InputSpec) -> tuple[float, float, float, float]:
    """Return the part of the picture that is left of it, resized and then cut to the centre.

    As libraries of networks do it: the short side is resized to round(size / share) pixels,
    and the cut falls between pixels. Their pictures and ours are then the same, pixel for pixel.
    """
    to_height, to_width = spec.shape[:2]
    down, across = round(to_height / spec.share), round(to_width / spec.share)
    if spec.fit == "crop" and down * width >= across * height:
        across = down * width // height
    elif spec.fit == "crop":
        down = across * height // width
    left, top = round((across - to_width) / 2), round((down - to_height) / 2)
    return (
        left * width / across,
        top * height / down,
        (left + to_width) * width / across,
        (top + to_height) * height / down,
    )
