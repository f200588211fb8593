"""In-place kernels on plain arrays; the backend is chosen once, here.

`EDGE_CL_KERNELS=numpy|numba` forces one; otherwise Numba if it can be imported. `BACKEND`
says which it is, and the learner's status shows it. Where Numba is missing and nobody asked
for NumPy, a warning says so once.
"""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec

import numpy as np

from edge_cl.errors import BackendError

__all__ = [
    "BACKEND",
    "add_outer",
    "add_rows",
    "corrected_product",
    "follow",
    "sign_product",
    "warm_up",
]

_ASKED = os.environ.get("EDGE_CL_KERNELS")
BACKEND = _ASKED or ("numba" if find_spec("numba") else "numpy")

if BACKEND == "numba":
    if not find_spec("numba"):
        raise BackendError(
            "EDGE_CL_KERNELS=numba, but numba is not installed", hint="pip install numba"
        )
    from edge_cl.kernels.compiled import (
        add_outer,
        add_rows,
        corrected_product,
        follow,
        sign_product,
    )
elif BACKEND == "numpy":
    if not _ASKED:
        warnings.warn(
            "numba is not installed: learning runs on the NumPy kernels, up to 4 times slower"
            " (pip install numba, or EDGE_CL_KERNELS=numpy to say that this is meant)",
            RuntimeWarning,
            stacklevel=2,
        )
    from edge_cl.kernels.reference import (
        add_outer,
        add_rows,
        corrected_product,
        follow,
        sign_product,
    )
else:
    raise BackendError(f"EDGE_CL_KERNELS must be numba or numpy, got {BACKEND!r}")


def warm_up() -> None:
    """Run every kernel once on the types in use: Numba compiles it, and fills its cache."""
    q, y = np.zeros((1, 8), np.int16), np.zeros(1, np.int64)
    x, W = np.zeros(8), np.zeros((8, 1))
    add_rows(q, y, 1, W.T.copy())
    for P in (np.zeros((8, 8)), np.zeros((8, 8), np.float32)):
        A, w = np.zeros((1, 8)), np.zeros(1)
        corrected_product(P, A, w, 0, x, x.copy())
        follow(P, A, w, 0, x, 0, 1.0, 0.0, 2.0, x.copy(), W)
    add_outer(x, np.zeros(1), 0.0, W)
    sign_product(q, np.zeros((8, 1), np.uint8), 0, np.zeros((1, 8), np.int16))
