"""Calibration pictures as they might also have been taken: other views, other light.

Each copy is mirrored half of the time, cropped to a part, changed in brightness, contrast and
colour, and sometimes blurred. Ranges that are measured on such copies too are wider. Copies
are for calibration only: what is judged is judged on pictures as they are.
"""

from __future__ import annotations

import numpy as np

from edge_cl.arrays import U8

__all__ = ["augmented"]

SMALLEST_PART = 0.6  # of the area
LIGHT = 0.4  # brightness, contrast and colour are multiplied by 1 ± so much
BLURRED = 0.3  # of the copies
BLUR = 0.01  # of the longer side: the radius at most


def augmented(picture: U8, rng: np.random.Generator) -> U8:
    """Return a changed copy of `picture` (h, w, 3), of the same size."""
    from PIL import Image, ImageEnhance, ImageFilter

    # Every number is drawn whether it is used or not: one choice does not move the others.
    mirror, blur = rng.random(2)
    area, left, top = rng.uniform(SMALLEST_PART, 1.0), rng.random(), rng.random()
    light = rng.uniform(1.0 - LIGHT, 1.0 + LIGHT, 3)
    radius = rng.uniform(0.0, BLUR) * max(picture.shape[:2])

    height, width = picture.shape[:2]
    part = float(np.sqrt(area))
    x, y = left * (1.0 - part) * width, top * (1.0 - part) * height
    box = (x, y, min(x + part * width, width), min(y + part * height, height))
    made = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR, box)
    if mirror < 0.5:
        made = made.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for change, factor in zip(
        (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), light, strict=True
    ):
        made = change(made).enhance(float(factor))
    if blur < BLURRED:
        made = made.filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(made)
