"""Teach three things from a few pictures each, then ask about pictures of another session."""

import tempfile

from edge_cl import Learner
from edge_cl.demo.pictures import household

WANTED = ("mug", "chair", "shoe")


def main() -> None:
    pictures = household()
    with tempfile.TemporaryDirectory() as folder:
        with Learner.open(folder) as learner:
            for picture, label in zip(pictures.train.pictures, pictures.train.labels, strict=True):
                if label in WANTED:
                    learner.learn(picture, label)
            print(f"learned {learner.status.samples} pictures of {len(learner.labels)} things")

        with Learner.open(folder, read_only=True) as learner:
            right = total = 0
            for picture, label in zip(pictures.test.pictures, pictures.test.labels, strict=True):
                if label in WANTED:
                    answer = learner.predict(picture)
                    right += answer.label == label
                    total += 1
            print(f"last answer: {answer.label}, {answer.stage_ms.total:.1f} ms")
            print(f"right: {right} of {total} in a session never seen")


if __name__ == "__main__":
    main()
