"""Vibration of a machine, as vectors: each is predicted first, then learned (prequential)."""

import numpy as np

from edge_cl import Learner, features_bundle

STATES = ("idle", "running", "worn")


def spectra(rng: np.random.Generator, state: int, n: int) -> np.ndarray:
    """Return n log spectra (n, 32) of a made-up machine."""
    band = np.arange(32)
    shape = 2.0 * np.exp(-((band - 6 - 7 * state) ** 2) / 30) * (state > 0)
    return shape + 0.4 * rng.standard_normal((n, 32))


def main() -> None:
    rng = np.random.default_rng(0)
    calibration = np.concatenate([spectra(rng, s, 50) for s in range(3)])
    learner = Learner.open(bundle=features_bundle(calibration), head="lda")
    right = 0
    for i in range(300):
        state = int(rng.integers(3))
        x = spectra(rng, state, 1)[0]
        if learner.labels:
            right += learner.predict(x).label == STATES[state]
        learner.learn(x, STATES[state])
        if i + 1 in (10, 100, 300):
            print(f"after {i + 1:3d} samples: {right / i:.3f} right before being told")


if __name__ == "__main__":
    main()
