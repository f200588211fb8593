"""What the core must equal, from the definitions: batch, slow, and without edge_cl."""

import math

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


def published_klda_scatter(batches, d, k):
    """Momeni et al. 2025 as their code has it: each batch about the mean that it has just moved."""
    total, count, S = np.zeros((k, d)), np.zeros(k), np.zeros((d, d))
    for x, y in batches:
        np.add.at(total, y, x)
        count += np.bincount(y, minlength=k)
        r = x - (total / np.maximum(count, 1)[:, None])[y]
        S += r.T @ r
    return S


def posterior(scores):
    """Softmax of each row, in long double."""
    e = np.exp(scores.astype(np.longdouble) - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def gcv(x, y, k, lam):
    """Golub, Heath, Wahba 1979, eq. 1.4, with the hat matrix written out; also its trace."""
    H = x @ np.linalg.solve(x.T @ x + lam * np.eye(x.shape[1]), x.T)
    Y, N = one_hot(y, k), len(x)
    residual = Y - H @ Y
    return N * np.square(residual).sum() / (N - np.trace(H)) ** 2, np.trace(H)


def held_out(x, y, group, k, lam):
    """Ridge without the sample's own group: which samples it answers rightly, and Σ‖y - Wᵀx‖².

    None, and not in the sum, where no other group has the class; answers are among the classes
    that others have.
    """
    right, error = np.full(len(y), None), 0.0
    for g in np.unique(group):
        out = group == g
        seen = np.unique(y[~out])
        scores = x[out] @ ridge(x[~out], y[~out], k, lam)[:, seen]
        known = np.isin(y[out], seen)
        right[np.flatnonzero(out)[known]] = (seen[scores.argmax(axis=1)] == y[out])[known]
        residual = one_hot(y[out], k)[:, seen] - scores
        error += np.square(residual[known]).sum()
    return right, error


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


def fourier_draw(d, m, seed):
    """Z (m, d) in units of 2^-11 and b (m,): Box and Muller's normals, a feature at a time."""
    from math import ceil, cos, log, pi, sin, sqrt

    each = 2 * ceil(d / 2) + 1
    u = [((w >> 11) + 1) / 2**53 for w in philox_words(seed, m * each)]
    Z, b = [], []
    for own in (u[j * each : (j + 1) * each] for j in range(m)):
        z = []
        for first, second in zip(own[:-1:2], own[1::2], strict=True):
            radius = sqrt(-2 * log(first))
            z += [radius * cos(2 * pi * second), radius * sin(2 * pi * second)]
        Z.append([round(2048 * v) for v in z[:d]])
        b.append(2 * pi * own[-1])
    return Z, b


def random_relu(q, B, shift):
    """min((relu(q B) + half) >> shift, 2047) for one row `q` of Python integers."""
    half = (1 << shift) >> 1
    totals = [sum(a * b for a, b in zip(q, column, strict=True)) for column in zip(*B, strict=True)]
    return [min((max(t, 0) + half) >> shift, 2047) for t in totals]


# -- weights that drift --------------------------------------------------------------------


def drifting_process(x, Y, lam, noise, gamma, t=None):
    """A Gaussian process over time, dense: kernel γ^|t_i-t_j| (σ²/λ) x_i'x_j, t = 0, 1, ... .

    Returns the posterior of the weights at the last sample, (d, K) and (d, d), the log marginal
    likelihood, and the maximum-likelihood σ² of each output for these γ and λ.
    """
    t = np.arange(len(x)) if t is None else t
    lag = np.abs(t[:, None] - t)
    decay = np.where(lag == 0, 1.0, float(gamma) ** lag)
    K = noise * (decay * (x @ x.T) / lam + np.eye(len(x)))
    cross = noise / lam * decay[-1][:, None] * x
    solved = np.linalg.solve(K, Y)
    mean = cross.T @ solved
    covariance = noise / lam * np.eye(x.shape[1]) - cross.T @ np.linalg.solve(K, cross)
    evidence = np.linalg.slogdet(K)[1] + len(x) * np.log(2 * np.pi)
    log_likelihood = -(np.sum(Y * solved) + Y.shape[1] * evidence) / 2
    return mean, covariance, log_likelihood, noise * np.sum(Y * solved, axis=0) / len(x)


def drifting_recursion(x, Y, lam, gammas):
    """The textbook recursion, dense, one γ a sample, in long double: mean, and P in σ²."""
    d = x.shape[1]
    M, P = np.zeros((d, Y.shape[1]), np.longdouble), np.eye(d, dtype=np.longdouble) / lam
    prior = P.copy()
    for row, y, gamma in zip(x.astype(np.longdouble), Y, gammas, strict=True):
        keep = np.longdouble(gamma) ** 2
        M, P = gamma * M, keep * P + (1 - keep) * prior
        g = P @ row
        s = 1 + row @ g
        M = M + np.outer(g / s, y - row @ M)
        P = P - np.outer(g, g) / s
    return M.astype(np.float64), P.astype(np.float64)


# -- statistics, in Python integers ----------------------------------------------------------


def statistics(q, y, k):
    """Squares and scatter a class in int64; Σ‖q‖⁴ and Σ‖q‖²q in Python integers."""
    q = q.astype(np.int64)
    scatter = np.stack([q[y == c].T @ q[y == c] for c in range(k)])
    norms = [int(v) for v in (q * q).sum(axis=1)]
    third = [sum(v * int(x) for v, x in zip(norms, column, strict=True)) for column in q.T]
    return np.einsum("kdd->kd", scatter), scatter, sum(v * v for v in norms), third


def within_scatter(n, Q, G):
    """G - Σ QQ'/n over classes with samples."""
    return G - sum(np.outer(Q[c], Q[c]) / n[c] for c in range(len(n)) if n[c])


def on_the_sphere(x):
    """Rows on the sphere; zero stays zero."""
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, norm, out=np.zeros_like(x, float), where=norm > 0)


def fecam_scores(x, y, k, at, *, a1, a2, times, correlation, unit):
    """Goswami et al. 2023, eq. 4-8, by explicit inverses; classes of two samples and more."""
    on_sphere = on_the_sphere if unit else lambda v: v
    scores = np.empty((len(at), k))
    for c in range(k):
        own = x[y == c]
        R, d = np.atleast_2d(np.cov(own.T)), x.shape[1]
        for _ in range(times):
            V1 = np.trace(R) / d
            V2 = R[~np.eye(d, dtype=bool)].mean() if d > 1 else 0.0
            R = R + a1 * V1 * np.eye(d) + a2 * V2 * (1 - np.eye(d))
        if correlation:
            R = R / np.sqrt(np.outer(np.diag(R), np.diag(R)))
        v = on_sphere(at) - on_sphere(own.mean(axis=0)[None])
        scores[:, c] = -np.einsum("nd,de,ne->n", v, np.linalg.inv(R), v)
    return scores


def class_weighted_ridge(x, y, k, lam):
    """Weighted least squares with w = N / (C n_c), one sample and one weight at a time."""
    counts = np.bincount(y, minlength=k)
    w = len(y) / ((counts > 0).sum() * counts[y])
    root = np.sqrt(w)[:, None]
    padding = np.sqrt(lam) * np.eye(x.shape[1])
    rows = np.concatenate([root * x, padding])
    targets = np.concatenate([root * one_hot(y, k), np.zeros((x.shape[1], k))])
    return np.linalg.lstsq(rows, targets, rcond=None)[0]


def printed_air(x, y, k, lam):
    """Fang et al. 2024 as printed: w_c = C (1/n_c) / Σ (1/n_j)."""
    counts = np.bincount(y, minlength=k)
    w = (k / counts / (1 / counts).sum())[y]
    return np.linalg.solve(
        x.T @ (w[:, None] * x) + lam * np.eye(x.shape[1]), x.T @ (w[:, None] * one_hot(y, k))
    )


def aef_expectation(x, y, k):
    """G and Q of the samples and of what AEF-OCL draws, in expectation."""
    A, B = x.T @ x, x.T @ one_hot(y, k)
    most = np.bincount(y).max()
    for c in range(k):
        own = x[y == c]
        missing, mean = most - len(own), own.mean(axis=0)
        variance = own.var(axis=0, ddof=1) if len(own) > 1 else np.zeros(x.shape[1])
        A = A + missing * (np.outer(mean, mean) + np.diag(variance))
        B[:, c] += missing * mean
    return A, B


def halved(n, Q, G):
    """Counts, class sums and products after halving, one Python number at a time."""
    k, d = Q.shape
    counts = [-(-int(c) // 2) for c in n]
    sums = [
        [float(round(float(v) * counts[c] / max(int(n[c]), 1))) for v in Q[c]] for c in range(k)
    ]
    products = [[0.0] * d for _ in range(d)]
    for i in range(d):
        missing = 0
        for j in range(d):
            exact = float(G[i, j]) / 2
            for c in range(k):
                if n[c]:
                    before, after = float(n[c]), float(counts[c])
                    product = sums[c][i] * sums[c][j] * (2 * before)
                    product -= float(Q[c, i]) * float(Q[c, j]) * after
                    exact += product / (2 * before * after)
            products[i][j] = float(round(exact))
            missing += math.ceil(abs(products[i][j] - exact) * 2**20)
        products[i][i] += math.ceil(missing / 2**20)
    return np.array(counts), np.array(sums).reshape(k, d), np.array(products)
