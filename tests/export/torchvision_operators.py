"""Makes torchvision importable where its compiled operators are not of torch's own build.

torchvision's wheels hold operators for CUDA. Beside a torch for CPUs they do not load, and its
import ends at the first that it registers a shape for: "operator torchvision::nms does not
exist". Classifiers need none of them, so their signatures are enough.
"""

import functools

import torch


@functools.cache
def declare_missing_operators():
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library  # kept by the cache: with it the signatures would go
    return None
