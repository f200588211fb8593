"""What is computed on the host and on an emulated board, to be compared: run on each of them.

    both_sides.py compute INPUTS OUT STATES    sums, scores and features; states left in STATES
    both_sides.py take-over STATES OUT         open states that the other side left, and go on

INPUTS holds vectors and pictures that the host made, so that both sides begin with the same bits.
"""

import shutil
import sys
from pathlib import Path

import numpy as np

from edge_cl import Durability, Learner, features_bundle
from edge_cl.assets import shipped_bundle

HEADS = ("ridge", "lda", "ncm", "kalman", "ridge-balanced", "fecam")
MAPS = ("identity", "random-relu:64")
SNAPSHOT_EVERY = 40


def compute(inputs, out, states):
    given, found = np.load(inputs), {}
    x, y, asked = given["x"], [f"class {c}" for c in given["y"]], given["asked"]
    bundle = features_bundle(x)
    for head in HEADS:
        for name in MAPS:
            learner = Learner.open(bundle=bundle, head=head, feature_map=name)
            for i in range(20):  # one by one, then many at once
                learner.learn(x[i], y[i])
            learner.scores(asked[:1])  # weights are solved, and followed from here
            for i in range(20, 40):
                learner.learn(x[i], y[i])
            learner.learn_many(x[40:], y[40:])
            if head != "kalman":  # it depends on the order, and cannot forget
                learner.undo()
                learner.learn_many(x[40:90], y[40:90])
                learner.forget(x[3], y[3])
            found[f"scores {head} {name}"] = learner.scores(asked)
            found |= {f"sums {head} {name} {k}": v for k, v in sums(learner).items()}
    for head in ("ridge", "ncm"):
        leave_states(states, head, bundle, x, y)
    found |= pictures(given["pictures"], given["labels"].tolist())
    np.savez(out, **found)


def pictures(shown, labels):
    """Teach the shipped bundle a few pictures; the rest are asked for."""
    learner = Learner.open(bundle=shipped_bundle(), head="ridge", threads=1)
    half = len(shown) // 2
    learner.learn_many(shown[:half], labels[:half])
    found = {"features": learner.features(shown)}
    found["answers"] = np.array([learner.predict(picture).label for picture in shown[half:]])
    return found


def leave_states(states, head, bundle, x, y):
    """Leave a state that was closed, and one whose last lessons are in its journal alone."""
    closed, cut = Path(states, f"{head} closed"), Path(states, f"{head} cut")
    durability = Durability(snapshot_every=SNAPSHOT_EVERY, ring=256)
    with Learner.open(closed, bundle=bundle, head=head, durability=durability) as learner:
        for i in range(SNAPSHOT_EVERY + 12):
            learner.learn(x[i], y[i])
        learner.undo()
        learner.flush()
        shutil.copytree(closed, cut, ignore=shutil.ignore_patterns("lock"))


def take_over(states, out):
    """Say what each state holds, then learn on in it, and save."""
    found = {}
    for state in sorted(Path(states).iterdir()):
        with Learner.open(state) as learner:
            found[f"replayed {state.name}"] = np.array(learner.recovery.replayed)
            found |= {f"{k} {state.name}": v for k, v in sums(learner).items()}
            d = learner.status.d
            asked = np.linspace(-1, 1, 8 * d, dtype=np.float32).reshape(8, d)
            found[f"scores {state.name}"] = learner.scores(asked)
            found[f"answers {state.name}"] = np.array([learner.predict(a).label for a in asked])
            learner.learn_many(asked, ["class 0", "class new"] * 4)
            found |= {f"{k} after, {state.name}": v for k, v in sums(learner).items()}
            found[f"scores after, {state.name}"] = learner.scores(asked)
    np.savez(out, **found)


def sums(learner):
    moments = learner.moments()
    return {"n": moments.n, "Q": moments.Q, "G": moments.G}


if __name__ == "__main__":
    {"compute": compute, "take-over": take_over}[sys.argv[1]](*sys.argv[2:])
