"""The preparation that a bundle declares, beside the one that the network's library defines.

Both prepare the same picture; compared is what the first layer would be given. Where a part of
the picture is cut away (`crop` < 1) the two do the same (transformers rounds the cut's half
pixels down, timm and torchvision to even). Where all is kept, libraries round the resized side
and the cut of an oblong picture to whole pixels, and the bundle does not. The pictures are then
a pixel apart at most, which is much at an edge and little on average.

    difference = max |(fit(picture) - mean) / std - own(picture)|                           (1)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from edge_cl.arrays import F32, U8
from edge_cl.encoders.picture import fit_picture
from edge_cl.errors import ExportError, InputError
from edge_cl_export.sources.backbone import Backbone, OwnPreprocessing

__all__ = ["PreprocessingCheck", "check_preprocessing"]

# Grey levels: the mean difference of a channel when a picture of 224 pixels is shifted by one
MOST, PIXELS = 4.0, 224


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessingCheck:
    """How far the two are apart.

    Attributes
    ----------
    pictures : how many were compared: the centred square of each, and two strips of that.
    largest_square, largest_oblong : the largest difference (1), normalised, on squares and strips.
    mean_square, mean_oblong : the mean difference of the worst channel, in grey levels 0..255.
    """

    pictures: int
    largest_square: float
    largest_oblong: float
    mean_square: float
    mean_oblong: float


def check_preprocessing(backbone: Backbone, pictures: Iterable[U8]) -> PreprocessingCheck | None:
    """Compare on `pictures` (h, w, 3); None where the library defines no preprocessing.

    Raises
    ------
    InputError : no picture.
    ExportError : the two differ by more than a shift by one pixel explains.
    """
    if backbone.own is None:
        return None
    std = np.asarray(backbone.preparation.std, dtype=np.float32)
    largest: dict[bool, list[float]] = {True: [], False: []}  # square or not
    means: dict[bool, list[float]] = {True: [], False: []}
    count = 0
    for picture in pictures:
        count += 1
        side = min(picture.shape[:2])
        for height, width in ((side, side), (side, side * 3 // 4), (side * 2 // 3, side)):
            gap = _gap(backbone, backbone.own, _centre(picture, height, width))
            largest[height == width].append(float(gap.max()))
            means[height == width].append(float((gap.mean((1, 2)) * std).max()))
    if not count:
        raise InputError("expected at least one picture to compare preprocessing on")
    found = PreprocessingCheck(
        pictures=count,
        largest_square=round(max(largest[True]), 5),
        largest_oblong=round(max(largest[False]), 5),
        mean_square=round(max(means[True]), 3),
        mean_oblong=round(max(means[False]), 3),
    )
    most = MOST * max(1.0, PIXELS / min(backbone.preparation.size))
    if max(found.mean_square, found.mean_oblong) > most:
        raise ExportError(
            f"the declared preparation differs from that of {backbone.typed} by "
            f"{found.mean_square:.1f} grey levels on square pictures and {found.mean_oblong:.1f} "
            f"on others, at most {most:.0f} are a pixel's shift",
            hint="declare the preparation yourself: a factory, --input-size, --mean and --std",
        )
    return found


def _gap(backbone: Backbone, own: OwnPreprocessing, picture: U8) -> F32:
    """Return |difference| (3, h, w) for one picture, normalised."""
    preparation = backbone.preparation
    fitted = fit_picture(picture, preparation.spec).astype(np.float32)
    mean = np.asarray(preparation.mean, dtype=np.float32)
    std = np.asarray(preparation.std, dtype=np.float32)
    declared: F32 = ((fitted - mean) / std).transpose(2, 0, 1)
    made = own(picture)
    if made.shape != declared.shape:
        raise ExportError(
            f"{backbone.typed} prepares pictures to {made.shape}, the bundle to {declared.shape}"
        )
    gap: F32 = np.abs(declared - made)  # (1)
    return gap


def _centre(picture: U8, height: int, width: int) -> U8:
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return np.ascontiguousarray(picture[top : top + height, left : left + width])
