"""A boiler whose sensor drifts: its state by a window, its temperature by a Kalman filter."""

import numpy as np

from edge_cl import Learner, Regressor, features_bundle

STATES = ("cold", "warm", "hot")


def readings(rng: np.random.Generator, degrees: float, day: int) -> np.ndarray:
    """Return one vector of 16 readings; the offset of the sensor moves from day to day."""
    curve = np.sin(np.linspace(0, 3, 16) * (1 + degrees / 60))
    return 3 * curve + 0.02 * day + 0.2 * rng.standard_normal(16)


def main() -> None:
    rng = np.random.default_rng(0)
    bundle = features_bundle(np.stack([readings(rng, t, 0) for t in rng.uniform(20, 80, 200)]))
    learners = {
        "everything": Learner.open(bundle=bundle),
        "the newest 400": Learner.open(bundle=bundle, forgetting="window:400"),
    }
    regressor = Regressor.open(bundle=bundle)
    right, error = dict.fromkeys(learners, 0), []
    for day in range(200):
        for _ in range(20):
            degrees = float(rng.uniform(20, 80))
            x, state = readings(rng, degrees, day), STATES[int((degrees - 20) // 20.001)]
            for name, learner in learners.items():
                if day:
                    right[name] += day >= 150 and learner.predict(x).label == state
                learner.learn(x, state)
            if day:
                error.append(abs(regressor.predict(x).mean[0] - degrees))
            regressor.learn(x, degrees)
    for name, count in right.items():
        print(f"last 50 days, taught on {name}: {count / 1000:.3f} right")
    late = regressor.predict(readings(rng, 50.0, 200))
    print(
        f"mean error of the temperature on the last 50 days: {np.mean(error[-1000:]):.1f} degrees"
    )
    print(f"at 50 degrees it says {late.mean[0]:.1f} ± {late.sd[0]:.1f}")


if __name__ == "__main__":
    main()
