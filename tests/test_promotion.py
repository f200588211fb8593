"""Another head serves when it was better on the same rows, and what was found is kept."""

import numpy as np
import pytest

from edge_cl import InputError, Learner, NearestMeanOptions, RidgeOptions, features_bundle

D = 6
RNG = np.random.default_rng(0)
BUNDLE = features_bundle(RNG.standard_normal((50, D)))


def stretched(n, seed):
    """Two classes whose difference drowns in a loud feature: nearest mean fails, not ridge."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = 0.05 * rng.standard_normal((n, D))
    x[:, 0] += 0.3 * (2 * y - 1)
    x[:, 1] += 2.0 * rng.standard_normal(n)
    return x.astype(np.float32), [("a", "b")[c] for c in y]


def opened(folder=None, **options):
    learner = Learner.open(folder, bundle=BUNDLE, **options)
    for x, label in zip(*stretched(200, 1), strict=True):
        learner.learn(x, label)
    return learner


def test_a_compared_head_that_answered_the_stream_better_is_promoted_and_stays(tmp_path):
    with opened(tmp_path, head="ncm-euclidean", compare=["ridge"]) as learner:
        found = learner.promote("ridge")
        assert found.promoted
        assert found.accuracy_after > found.accuracy_before + 0.1
        assert (found.before, found.after) == ("ncm(metric=euclidean)", "ridge")
        assert (found.by, found.rows) == ("command", "prequential")
        assert learner.status.head == "ridge"
        # The one that served goes on beside it, with its tally
        assert learner.status.compared[1].head == found.before
        assert learner.status.compared[1].accuracy == pytest.approx(found.accuracy_before)
        scores = learner.scores(stretched(5, 2)[0])
    with Learner.open(tmp_path) as again:
        assert again.status.head == "ridge"
        assert again.promotions == (found,)
        np.testing.assert_array_equal(again.scores(stretched(5, 2)[0]), scores)
        assert any("promoted ridge" in one.label for one in again.history())


def test_one_that_is_no_better_is_not_and_that_is_recorded_too(tmp_path):
    with opened(tmp_path, head="ridge", compare=["ncm-euclidean"]) as learner:
        found = learner.promote(NearestMeanOptions(metric="euclidean"))
        assert not found.promoted
        assert learner.status.head == "ridge"
    with Learner.open(tmp_path) as again:
        assert again.status.head == "ridge"
        assert again.promotions == (found,)


@pytest.mark.parametrize("serving", ["ncm-euclidean", "ridge"])
def test_held_out_rows_decide_without_any_comparison_before(serving):
    learner = opened(head=serving)
    other = {"ridge": "ncm-euclidean", "ncm-euclidean": "ridge"}[serving]
    rows = list(zip(*stretched(150, 3), strict=True))
    before = learner.moments()
    found = learner.promote(other, held_out=rows)
    assert found.promoted == (other == "ridge")
    assert found.tested == 150
    assert learner.status.head.startswith(other if found.promoted else serving[:3])
    right = [learner.predict(x).label == label for x, label in rows]
    now = found.accuracy_after if found.promoted else found.accuracy_before
    assert np.mean(right) == pytest.approx(now)
    assert learner.moments() == before  # held-out rows are not learned


def test_a_few_rows_prove_nothing():
    learner = opened(head="ncm-euclidean")
    assert not learner.promote("ridge", held_out=list(zip(*stretched(6, 3), strict=True))).promoted


def test_the_rule_records_what_it_did(tmp_path):
    with opened(tmp_path, head="auto") as learner:
        pass
    with Learner.open(tmp_path, head="ncm-euclidean", compare=["ridge"]) as learner:
        assert learner.promotions == ()  # ridge served from the start
    with Learner.open(tmp_path, head="auto") as learner:
        for x, label in zip(*stretched(400, 5), strict=True):
            learner.learn(x, label)
        (found,) = learner.promotions
        assert (found.by, found.promoted) == ("rule", True)
        assert learner.status.head == found.after != "ncm(metric=euclidean)"


@pytest.mark.parametrize(
    ("head", "held_out", "match"),
    [
        ("lda", None, "not among"),
        ("ridge", [], "at least one"),
        ("kalman", [(np.zeros(D), "a")], "every sample, in order"),
        ("fecam", [(np.zeros(D), "a")], "sums"),
        ("svm", None, "unknown head"),
    ],
)
def test_what_cannot_be_told_is_refused_and_changes_nothing(tmp_path, head, held_out, match):
    with opened(tmp_path, head="ncm", compare=["ridge"]) as learner:
        before = learner.status, learner.history()
        with pytest.raises(InputError, match=match):
            learner.promote(head, held_out=held_out)
        assert (learner.status, learner.history()) == before


def test_before_anything_was_tested_nothing_is_promoted():
    learner = Learner.open(bundle=BUNDLE, head="ncm", compare=[RidgeOptions()])
    with pytest.raises(InputError, match="no sample was tested"):
        learner.promote("ridge")
