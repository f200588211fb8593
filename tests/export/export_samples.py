"""What the exporter's tests share: a small network's file, its preparation, pictures."""

from pathlib import Path

import numpy as np

NET = Path(__file__).parent / "tiny_net.py"
PIXELS = {"mean": (127.0,) * 3, "std": (128.0,) * 3}


def blobs(n, seed=0, size=40):
    """Pictures with some structure, (n, size, size, 3) uint8, and two classes of them."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    y, x = np.mgrid[:size, :size] / size
    out = np.empty((n, size, size, 3), np.uint8)
    for i in range(n):
        a, b, phase = rng.uniform(1, 8, 3)
        angle = y if labels[i] else x
        wave = np.sin(2 * np.pi * a * angle + phase)[..., None] * rng.uniform(0.3, 1, 3)
        out[i] = np.clip(128 + 90 * wave + 12 * b * rng.normal(size=(size, size, 3)) / 8, 0, 255)
    return out, labels
