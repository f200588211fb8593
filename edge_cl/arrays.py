"""Array types, and the one place where callers' arrays are checked.

Everything that enters from outside passes here once; behind this door arrays are
C-contiguous, finite, and of the shape and dtype that the kernels are compiled for.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_cl.errors import InputError

F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]
I16: TypeAlias = NDArray[np.int16]
I64: TypeAlias = NDArray[np.int64]
U8: TypeAlias = NDArray[np.uint8]


def features(x: ArrayLike, d: int) -> F32:
    """Return `x` as finite, C-ordered float32 features, shape (n, d).

    Raises
    ------
    InputError : wrong shape, a dtype that is not real numbers, or a value that is not finite.
    """
    a = _numeric(x, "features")
    if a.ndim != 2 or a.shape[1] != d:
        raise InputError(f"expected features of shape (n, {d}), got {a.shape}")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, refused below
        a = np.ascontiguousarray(a, dtype=np.float32)
    finite = np.isfinite(a).all(axis=1)
    if not finite.all():
        raise InputError(f"expected finite features, row {int(np.argmin(finite))} is not")
    return a


def grid_features(q: ArrayLike, d: int) -> I16:
    """Return `q` as C-ordered int16 grid features, shape (n, d), |q| <= 2047."""
    a: NDArray[Any] = np.asarray(q)
    if a.ndim != 2 or a.shape[1] != d or a.dtype != np.int16:
        raise InputError(f"expected int16 features of shape (n, {d}), got {a.dtype} {a.shape}")
    if a.size and (a.min() < -2047 or a.max() > 2047):
        raise InputError("expected grid features in [-2047, 2047]")
    return np.ascontiguousarray(a)


def class_indices(y: ArrayLike, n: int) -> I64:
    """Return `y` as class indices, shape (n,), all >= 0."""
    a: NDArray[Any] = np.asarray(y)
    if a.shape != (n,) or (a.dtype.kind not in "iu" and n):
        raise InputError(f"expected {n} integer labels, got {a.dtype} of shape {a.shape}")
    if n and a.min() < 0:
        raise InputError(f"expected labels >= 0, got {a.min()}")
    return a.astype(np.int64)


def image(x: ArrayLike) -> U8:
    """Return `x` as a C-ordered RGB image, shape (height, width, 3), uint8.

    A grey image, (height, width) or (height, width, 1), is repeated over the three
    channels; a fourth channel (alpha) is refused, because what it hides is a choice.
    """
    a = as_array(x, "an image")
    if a.dtype != np.uint8:
        raise InputError(
            f"expected an image of dtype uint8, got {a.dtype} {a.shape}",
            hint=(
                "scale to 0..255 and convert: (x * 255).astype(numpy.uint8)"
                if a.ndim > 1
                else "for ready-made features, make a bundle: edge-cl export --features FILE.npz"
            ),
        )
    if a.ndim == 2:
        a = a[:, :, None]
    if a.ndim != 3 or a.shape[2] not in (1, 3):
        raise InputError(f"expected an image of shape (height, width, 3), got {a.shape}")
    if 0 in a.shape:
        raise InputError(f"expected an image with pixels, got shape {a.shape}")
    if a.shape[2] == 1:
        a = np.repeat(a, 3, axis=2)
    return np.ascontiguousarray(a)


def vector(x: ArrayLike, d: int) -> F32:
    """Return `x` as one finite float32 vector, shape (d,)."""
    a = _numeric(x, "a vector")
    if a.shape != (d,):
        raise InputError(f"expected a vector of shape ({d},), got {a.shape}")
    row: F32 = features(a[None, :], d)[0]
    return row


def as_array(x: ArrayLike, what: str) -> NDArray[Any]:
    """Return `x` as an array of any kind; `what` names it where it is none."""
    try:
        return np.asarray(x)
    except ValueError as error:  # ragged nested lists
        raise InputError(f"expected {what} as an array: {error}") from None


def _numeric(x: ArrayLike, what: str) -> NDArray[Any]:
    a = as_array(x, what)
    if a.dtype.kind not in "fiu":
        raise InputError(f"expected {what} of real numbers, got dtype {a.dtype}")
    return a
