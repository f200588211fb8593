"""What the core must equal, from the definitions: batch, slow, and without edge_cl."""

import numpy as np


def sums(q, y, k):
    """n, Q, G in int64."""
    q = q.astype(np.int64)
    n, Q = np.bincount(y, minlength=k), np.zeros((k, q.shape[1]), np.int64)
    np.add.at(Q, y, q)
    return n, Q, q.T @ q


def one_hot(y, k):
    return np.eye(k)[y]


def ridge(x, y, k, lam):
    return np.linalg.solve(x.T @ x + lam * np.eye(x.shape[1]), x.T @ one_hot(y, k))


def class_means(x, y, k):
    return np.stack([x[y == c].mean(axis=0) for c in range(k)])


def centred(x, y, k):
    return x - class_means(x, y, k)[y]


def lda_scores(x, y, k, covariance, at):
    """x'Σ⁻¹μ - μ'Σ⁻¹μ/2 at the rows of `at`."""
    M = class_means(x, y, k)
    W = np.linalg.solve(covariance, M.T)
    return at @ W - np.diag(M @ W) / 2


def total_covariance(x):
    """Unbiased, about the mean of all samples, whatever their class."""
    deviation = x - x.mean(axis=0)
    return deviation.T @ deviation / (len(x) - 1)


def published_streaming_covariance(x, y, k):
    """Hayes & Kanan 2020, eq. 2, as printed: the global count weighs the class's deviation."""
    d = x.shape[1]
    mu, count, S = np.zeros((k, d)), np.zeros(k), np.zeros((d, d))
    for t, (row, c) in enumerate(zip(x, y, strict=True)):
        delta = row - mu[c]
        S = (t * S + t / (t + 1) * np.outer(delta, delta)) / (t + 1)
        mu[c] += delta / (count[c] + 1)
        count[c] += 1
    return S


def gcv(x, y, k, lam):
    """Golub, Heath, Wahba 1979, eq. 1.4, with the hat matrix written out; also its trace."""
    H = x @ np.linalg.solve(x.T @ x + lam * np.eye(x.shape[1]), x.T)
    Y, N = one_hot(y, k), len(x)
    residual = Y - H @ Y
    return N * np.square(residual).sum() / (N - np.trace(H)) ** 2, np.trace(H)


def held_out_error(x, y, group, k, lam):
    """Σ ‖y - Wᵀx‖² over all samples, W fitted without the sample's own group."""
    error = 0.0
    for g in np.unique(group):
        out = group == g
        residual = one_hot(y[out], k) - x[out] @ ridge(x[~out], y[~out], k, lam)
        error += np.square(residual).sum()
    return error


def gacil(batches, d, k, lam, *, with_gain=True):
    """GACL's recursion over batches (x, y); without its gain term where classes reappear."""
    R, W, seen = np.eye(d) / lam, np.zeros((d, k)), set()
    for x, y in batches:
        R = R - R @ x.T @ np.linalg.solve(np.eye(len(x)) + x @ R @ x.T, x @ R)
        Y = one_hot(y, k)
        if not with_gain:
            Y[:, sorted(seen)] = 0.0
        W = W - R @ x.T @ (x @ W) + R @ x.T @ Y
        seen |= set(y.tolist())
    return W


def simplex_projection(s):
    """The t with Σ max(s - t, 0) = 1, by bisection."""
    low, high = s.max() - 1.0, s.max()
    for _ in range(200):
        t = (low + high) / 2
        low, high = (t, high) if np.maximum(s - t, 0).sum() > 1 else (low, t)
    return np.maximum(s - (low + high) / 2, 0)


# -- feature maps, in Python integers ------------------------------------------------------


def grid(x, scale):
    """rint(x / scale), ties to even, clipped; `x` are exact binary fractions."""
    from fractions import Fraction

    return max(-2047, min(2047, round(Fraction(float(x)) / Fraction(scale))))


def signed_power(x, beta):
    """sign(x)|x|^β, in 50 decimal digits."""
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec = 50
        power = abs(Decimal(x)) ** Decimal(beta) if x else Decimal(0)
        return float(power if x >= 0 else -power)


def philox_words(seed, count):
    """Raw output of Philox-4x64-10 (Salmon et al. 2011, table 2), counter from 1, key = seed."""
    mask, words, counter = (1 << 64) - 1, [], 0
    while len(words) < count:
        counter += 1
        c = [counter & mask, counter >> 64, 0, 0]
        key = [seed & mask, seed >> 64]
        for _ in range(10):
            a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
            c = [(b >> 64) ^ c[1] ^ key[0], b & mask, (a >> 64) ^ c[3] ^ key[1], a & mask]
            key = [(key[0] + 0x9E3779B97F4A7C15) & mask, (key[1] + 0xBB67AE8584CAA73B) & mask]
        words += c
    return words[:count]


def signs(d, m, seed):
    """B (d, m) of ±1: bit i·m + j of the words, least significant bit first."""
    words = philox_words(seed, -(-d * m // 64))
    bit = [words[b // 64] >> (b % 64) & 1 for b in range(d * m)]
    return [[2 * bit[i * m + j] - 1 for j in range(m)] for i in range(d)]


def random_relu(q, B, shift):
    """min((relu(q B) + half) >> shift, 2047) for one row `q` of Python integers."""
    half = (1 << shift) >> 1
    totals = [sum(a * b for a, b in zip(q, column, strict=True)) for column in zip(*B, strict=True)]
    return [min((max(t, 0) + half) >> shift, 2047) for t in totals]
