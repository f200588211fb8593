"""The whole product, once, on ready-made features."""

import numpy as np
import pytest

from edge_cl import ForgetError, Learner, features_bundle


def test_the_whole_product(tmp_path):
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((3, 16))
    kinds = ["mug", "pen", "key"]

    def see(kind):
        return centres[kinds.index(kind)] + 0.2 * rng.standard_normal(16)

    bundle = features_bundle(np.stack([see(kind) for kind in kinds * 10]))

    with Learner.open(tmp_path / "here", bundle=bundle) as learner:
        assert learner.learn(see("mug"), "mug").new_classes == ("mug",)
        learner.learn_many([see("pen") for _ in range(5)], ["pen"] * 5)
        assert learner.predict(see("pen")).label == "pen"
        mistake = see("key")
        learner.learn(mistake, "pen")
        assert learner.undo() == ("pen",)
        learner.learn(mistake, "key")
        picture = see("mug")
        scores = learner.scores([picture])

    with Learner.open(tmp_path / "here") as learner:
        assert (learner.scores([picture]) == scores).all()
        learner.forget(mistake, "key")
        with pytest.raises(ForgetError):
            learner.forget(mistake, "key")
        assert learner.status.samples_per_class == {"mug": 1, "pen": 5, "key": 0}

    with Learner.open(tmp_path / "there", bundle=bundle) as other:
        other.learn_many([see("key") for _ in range(5)], ["key"] * 5)

    with Learner.open(tmp_path / "here") as learner:
        learner.merge(tmp_path / "there")
        assert [learner.predict(see(kind)).label for kind in kinds] == kinds
        assert learner.tune().ridge > 0

    with Learner.open(tmp_path / "here", head="lda") as learner:
        assert [learner.predict(see(kind)).label for kind in kinds] == kinds
