"""Somebody asks to be forgotten: take a picture back, and prove that nothing is left of it."""

from edge_cl import ForgetError, Learner
from edge_cl.demo.pictures import household


def main() -> None:
    train = household(limit=2).train
    pictures, labels = train.pictures[:20], train.labels[:20]

    learner = Learner.open()
    learner.learn_many(pictures, labels)
    learner.forget(pictures[3], labels[3])

    never = Learner.open()
    never.learn_many(pictures[:3] + pictures[4:], labels[:3] + labels[4:])
    print("as if it had never been learned:", learner.moments() == never.moments())

    learner.learn(pictures[3], "wrong label")
    print("undone:", *learner.undo())

    try:
        learner.forget(pictures[3], "wrong label")
    except ForgetError as error:
        print("refused:", error)


if __name__ == "__main__":
    main()
