"""What hypothesis draws, named by what it is."""

import numpy as np
from hypothesis import strategies as st

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def samples(draw, *, max_n=40, max_d=6, max_k=4, d=None, largest=2047):
    """Grid features (n, d) int16 and class indices (n,), n >= 1; some at the rail, some zero."""
    n = draw(st.integers(1, max_n))
    d = d or draw(st.integers(1, max_d))
    k = draw(st.integers(1, max_k))
    rng = np.random.default_rng(draw(SEEDS))
    q = rng.integers(-largest, largest + 1, (n, d)) // 4 ** rng.integers(0, 5, (n, 1))
    q[rng.random(q.shape) < 0.1] = draw(st.sampled_from([0, largest, -largest]))
    return q.astype(np.int16), rng.integers(0, k, n)


@st.composite
def splits(draw, n):
    """A partition of range(n), in a random order: a list of index arrays, some empty."""
    rng = np.random.default_rng(draw(SEEDS))
    cuts = np.sort(rng.integers(0, n + 1, draw(st.integers(0, 6))))
    return np.split(rng.permutation(n), cuts)


def labels():
    """Acceptable class names."""
    letters = st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"])
    return st.text(letters, min_size=1, max_size=8)


@st.composite
def two_streams(draw):
    """Two streams of samples with one number of features."""
    d = draw(st.integers(1, 6))
    return draw(samples(d=d)), draw(samples(d=d))
