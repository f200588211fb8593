"""In-place kernels on plain arrays; the backend is chosen once, here.

`EDGE_CL_KERNELS=numpy|numba` forces one; otherwise Numba if it can be imported. `BACKEND`
says which it is, and the learner's status shows it.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

from edge_cl.errors import BackendError

__all__ = ["BACKEND", "add_outer", "corrected_product", "sign_product"]

BACKEND = os.environ.get("EDGE_CL_KERNELS") or ("numba" if find_spec("numba") else "numpy")

if BACKEND == "numba":
    if not find_spec("numba"):
        raise BackendError(
            "EDGE_CL_KERNELS=numba, but numba is not installed", hint="pip install numba"
        )
    from edge_cl.kernels.compiled import add_outer, corrected_product, sign_product
elif BACKEND == "numpy":
    from edge_cl.kernels.reference import add_outer, corrected_product, sign_product
else:
    raise BackendError(f"EDGE_CL_KERNELS must be numba or numpy, got {BACKEND!r}")
