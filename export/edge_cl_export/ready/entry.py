"""What goes into a ready network file: its bytes, the layout of its input, the preparation.

A `.onnx` or `.tflite` file says the shape of its input, and rarely more. What is read off the
shape or taken for granted is returned in words, to be shown; what contradicts it is refused.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Literal, get_args

from edge_cl.errors import InputError
from edge_cl_export.graph.preparation import Preparation

__all__ = ["Layout", "nearest", "read_ready", "ready_layout", "ready_preparation", "ready_size"]

Layout = Literal["NCHW", "NHWC"]

MAX_BYTES = 1 << 30  # as a bundle
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


def read_ready(path: Path, suffix: str) -> bytes:
    """Return the bytes of a network file.

    Raises
    ------
    InputError : another suffix, no such file, unreadable or too large.
    """
    if path.suffix.lower() != suffix:
        raise InputError(f"expected a file NAME{suffix}, got {path.name}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path.name} is larger than {MAX_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def nearest(name: str, names: list[str]) -> str:
    """Return a hint with the names that are most like `name`."""
    found = get_close_matches(name, names, n=3, cutoff=0.4)
    return f"did you mean {' or '.join(found)}?" if found else f"its last one is {names[-1]}"


def ready_layout(
    dims: list[int | None], layout: Layout | None, where: str
) -> tuple[Layout, list[str]]:
    """Return how the input is laid out, from its shape `dims` (None: open), and what was assumed.

    Raises
    ------
    InputError : `layout` contradicts the shape, or neither it nor the shape says it.
    """
    shown = f"({', '.join('?' if d is None else str(d) for d in dims)})"
    if layout is not None and layout not in get_args(Layout):
        raise InputError(f"no layout is called {layout!r}", hint="NCHW or NHWC")
    if dims and len(dims) != 4:
        raise InputError(f"{where} takes an input of shape {shown}, expected one picture")
    possible: dict[Layout, int | None] = (
        {"NCHW": dims[1], "NHWC": dims[3]} if dims else {"NCHW": None, "NHWC": None}
    )
    if layout is not None:
        if possible[layout] not in (3, None):
            raise InputError(f"{where} takes an input of shape {shown}, which is not {layout}")
        return layout, []
    certain: list[Layout] = [kind for kind, channels in possible.items() if channels == 3]
    if len(certain) == 1:
        return certain[0], [f"the input is {certain[0]}, from its shape {shown}"]
    if None in possible.values() or certain:
        raise InputError(
            f"{where} does not say where the 3 channels of its input are, shape {shown}",
            hint="give --layout NCHW or --layout NHWC",
        )
    raise InputError(f"{where} takes an input of shape {shown}, expected 3 channels (RGB)")


def ready_size(
    dims: list[int | None], layout: Layout, size: tuple[int, int] | None, where: str
) -> tuple[int, int]:
    """Return (height, width) that the input has, or is given by `size` where it is open.

    Raises
    ------
    InputError : neither says it, or they contradict each other.
    """
    first = 2 if layout == "NCHW" else 1
    own = dims[first : first + 2] if dims else [None, None]
    for side, wanted in zip(own, size or (None, None), strict=True):
        if side is not None and wanted is not None and side != wanted:
            raise InputError(
                f"{where} takes pictures of {own[0]}x{own[1]}, got {size}",
                hint="leave out --input-size, or export the file again for another size",
            )
    height, width = (a or b for a, b in zip(own, size or (None, None), strict=True))
    if height is None or width is None:
        raise InputError(f"{where} takes pictures of any size", hint="give --input-size")
    return height, width


def ready_preparation(
    size: tuple[int, int],
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    pixels: tuple[float, float] | None,
    where: str,
) -> tuple[Preparation, list[str]]:
    """Return the preparation of pictures, and what was assumed.

    Parameters
    ----------
    mean, std : as the user gave them.
    pixels : mean and std of all channels where the file takes bytes, else None.

    Raises
    ------
    InputError : mean or std where the file takes bytes, and means another.
    """
    if pixels is not None:
        own_mean, own_std = (pixels[0],) * 3, (pixels[1],) * 3
        if (mean or own_mean, std or own_std) != (own_mean, own_std):
            raise InputError(
                f"{where} takes bytes, with a mean of {pixels[0]:g} and a std of {pixels[1]:g}",
                hint="leave out --mean and --std",
            )
        return Preparation(size=size, mean=own_mean, std=own_std), ["pixels go in as they are"]
    assumed = []
    if mean is None:
        assumed.append(f"the mean is ImageNet's, {IMAGENET_MEAN}")
    if std is None:
        assumed.append(f"the std is ImageNet's, {IMAGENET_STD}")
    preparation = Preparation(size=size, mean=mean or IMAGENET_MEAN, std=std or IMAGENET_STD)
    return preparation, assumed
