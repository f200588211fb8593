r"""Frequencies and phases of random Fourier features, the same in every library.

A normal number is whatever a library's `normal()` makes of its generator, and no two agree;
so how these are drawn is written down. Words w are the raw output of the counter-based
generator Philox-4x64-10 (Salmon et al. 2011) with the seed as key. Feature j takes
2⌈d/2⌉ + 1 words, in order after those of feature j - 1: pairs for its d frequencies (where d
is odd, the last one is dropped), and one for its phase.

    u = (⌊w / 2¹¹⌋ + 1) / 2⁵³                            uniform on (0, 1]             (1)
    z, z' = √(-2 ln u) · (cos 2πu', sin 2πu')            Box and Muller 1958           (2)
    Z = rint(2¹¹ z)                                      |z| < 8.6: sixteen bits       (3)
    b = 2π u                                                                           (4)

(3) moves a frequency by 1.4·10⁻⁴ standard deviations, and makes q Z a sum of integers:
exact in float64, whatever the order of its terms and the number of rows. Neither the width
of the kernel nor the encoder enters the draw, and the first features of many are those of
few. A logarithm or a cosine that rounds otherwise changes a Z in one of 10¹¹ draws.

References
----------
Box, Muller. A note on the generation of random normal deviates. Ann. Math. Stat. 29 (1958).
Rahimi, Recht. Random features for large-scale kernel machines. NIPS 2007.
Salmon et al. Parallel random numbers: as easy as 1, 2, 3. SC 2011.
"""

from __future__ import annotations

import numpy as np

from edge_cl.arrays import F64, I16

__all__ = ["STEP", "draw"]

STEP = 2.0**-11  # of (3)

_ROWS = 64  # features drawn at a time: all their words would be four times Z


def draw(d: int, m: int, seed: int) -> tuple[I16, F64]:
    """Return Z (m, d) int16, standard normal in units of `STEP`, and phases b (m,) float64."""
    generator = np.random.Philox(key=seed)
    words = 2 * (-(-d // 2)) + 1
    normals, phases = np.empty((m, d), np.int16), np.empty(m)
    for start in range(0, m, _ROWS):
        n = min(_ROWS, m - start)
        raw = generator.random_raw(n * words).reshape(n, words)
        u = ((raw >> np.uint64(11)) + np.uint64(1)) * 2.0**-53  # (1)
        radius, angle = np.sqrt(-2.0 * np.log(u[:, :-1:2])), 2 * np.pi * u[:, 1::2]
        z = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2)  # (2)
        normals[start : start + n] = np.rint(z.reshape(n, words - 1)[:, :d] / STEP)  # (3)
        phases[start : start + n] = 2 * np.pi * u[:, -1]  # (4)
    return normals, phases
