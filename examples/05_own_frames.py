"""The loop of a camera program: show a thing, press a key, and it is known.

Frames come from the pictures that ship with edge-cl, so that this runs without a camera;
replace `frames()` by your own source of uint8 RGB arrays of any size.
"""

from collections.abc import Iterator

import numpy as np

from edge_cl import Learner
from edge_cl.demo.pictures import household


def frames() -> Iterator[tuple[np.ndarray, str | None]]:
    """Yield frames and, where a key was pressed, the label that it stands for."""
    pictures = household(limit=6)
    for i, (picture, label) in enumerate(
        zip(pictures.train.pictures, pictures.train.labels, strict=True)
    ):
        if label in ("mug", "phone", "plant"):
            yield picture, label if i % 2 == 0 else None


def main() -> None:
    learner = Learner.open(head="ridge")
    for frame, key in frames():
        if key is not None:
            lesson = learner.learn(frame, key)
            if lesson.new_classes:
                print(f"new: {key} ({lesson.stage_ms.learn:.2f} ms to learn)")
        elif learner.labels:
            answer = learner.predict(frame)
            print(f"{answer.label:6s} {answer.probability:.2f} {answer.stage_ms.total:5.1f} ms")


if __name__ == "__main__":
    main()
