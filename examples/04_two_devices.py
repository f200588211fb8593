"""Two devices learn different things apart; merged, they are one that saw everything."""

import numpy as np

from edge_cl import Learner
from edge_cl.demo.pictures import household


def main() -> None:
    train = household(limit=3).train
    samples = list(zip(train.pictures, train.labels, strict=True))

    kitchen, garage, both = Learner.open(), Learner.open(), Learner.open()
    for i, (picture, label) in enumerate(samples):
        (kitchen if i % 3 else garage).learn(picture, label)
        both.learn(picture, label)

    kitchen.merge(garage)
    columns = [kitchen.labels.index(name) for name in both.labels]
    ours, theirs = kitchen.moments(), both.moments()
    print("samples:", ours.samples, "=", theirs.samples)
    print("sums equal, bit for bit:", np.array_equal(ours.G, theirs.G))
    few = [picture for picture, _ in samples[:10]]
    difference = np.abs(kitchen.scores(few)[:, columns] - both.scores(few)).max()
    print(f"largest difference of a score: {difference:.0e}")


if __name__ == "__main__":
    main()
