"""A learner with several heads over one set of moments, masks, and the likeliest few."""

import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from edge_cl import Learner, RidgeOptions, features_bundle
from edge_cl.errors import InputError

RNG = np.random.default_rng(3)
CENTRES = RNG.normal(size=(6, 12))
Y = RNG.integers(0, 6, 400)
X = (CENTRES[Y] + 0.9 * RNG.normal(size=(400, 12))).astype(np.float32)
NAMES = [f"class {c}" for c in Y]
BUNDLE = features_bundle(X)


def opened(state=None, **options):
    return Learner.open(state, bundle=None if state and state.exists() else BUNDLE, **options)


def accuracies(learner):
    return {found.head: found.accuracy for found in learner.status.compared}


def test_each_head_answers_as_it_would_alone():
    learner = opened(head="lda", compare=["ridge", "ncm"])
    learner.learn_many(X[:100], NAMES[:100])
    alone = opened(head="lda")
    alone.learn_many(X[:100], NAMES[:100])
    assert_allclose(learner.scores(X), alone.scores(X), atol=1e-8)
    assert list(accuracies(learner)) == ["lda", "ridge", "ncm"]
    assert not alone.status.compared


def test_the_accuracy_is_that_of_heads_that_had_not_seen_the_sample():
    learner = opened(compare=["ncm"])
    answers = []
    for i in range(300):
        if i % 32 == 1:  # the first sample meets a learner that knows nothing
            seen = {head: opened(head=head) for head in ("ridge", "ncm")}
            for one in seen.values():
                one.learn_many(X[:i], NAMES[:i])
        if i:
            answers.append([one.predict(X[i]).label == NAMES[i] for one in seen.values()])
        learner.learn(X[i], NAMES[i])
    weight = 0.999 ** np.arange(len(answers))[::-1]
    expected = np.array(answers).T @ weight / weight.sum()
    assert list(accuracies(learner).values()) == pytest.approx(expected.tolist())
    assert learner.status.tested == pytest.approx(weight.sum())


def test_one_call_with_a_class_after_the_other_is_a_test_too():
    order = np.argsort(Y[:200], kind="stable")
    learner = opened(compare=["ncm"])
    learner.learn_many(X[order], [NAMES[i] for i in order])
    assert learner.status.tested > 100
    assert min(accuracies(learner).values()) > 0.5
    assert learner.undo(2) == tuple(NAMES[i] for i in order[[-1, -2]])


def test_auto_lets_the_best_head_serve_and_says_so(tmp_path):
    """Cosine means know nothing of length; here length is all that tells classes apart."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    x = ((1 + 4 * y)[:, None] * (1 + 0.05 * rng.normal(size=(600, 8)))).astype(np.float32)
    names = [str(c) for c in y]
    learner = Learner.open(tmp_path / "s", bundle=features_bundle(x), head="auto")
    told = [lesson.now_serving for lesson in map(learner.learn, x, names)]
    assert learner.status.auto
    assert learner.status.head.startswith("lda")
    assert [serving for serving in told if serving] == ["lda"]
    found = accuracies(learner)
    assert found["lda"] > found["ridge"]
    assert learner.predict(x[0]).label == names[0]
    learner.close()
    with Learner.open(tmp_path / "s") as again:
        assert again.status.compared == learner.status.compared
        assert again.status.head == learner.status.head
        assert again.status.auto
        assert_array_equal(again.scores(x), learner.scores(x))
    with Learner.open(tmp_path / "s", head="ridge") as fixed:
        assert (fixed.status.head, fixed.status.auto) == ("ridge", False)
        assert set(accuracies(fixed)) == set(found)


def test_a_saved_comparison_goes_on_and_can_be_dropped(tmp_path):
    with opened(tmp_path / "s", compare=["lda", RidgeOptions(ridge=9.0)]) as learner:
        learner.learn_many(X[:100], NAMES[:100])
        status = learner.status
    with opened(tmp_path / "s") as again:
        assert again.status.compared == status.compared
        assert again.status.head == "ridge"
    with opened(tmp_path / "s", compare=[]) as dropped:
        assert dropped.status.compared == ()
        assert_allclose(dropped.scores(X[:5]), learner.scores(X[:5]))
    with opened(tmp_path / "s") as again:
        assert again.status.compared == ()


def test_forgetting_takes_a_sample_from_every_head():
    learner = opened(compare=["lda", "ncm"])
    learner.learn_many(X[:60], NAMES[:60])
    before = learner.moments()
    learner.learn(X[70], "other")
    learner.forget(X[70], "other")
    other = opened(compare=["lda", "ncm"])
    other.merge(learner)
    for head in ("ridge", "lda", "ncm"):
        serving = opened(head=head)
        serving.merge(learner)
        assert np.isneginf(serving.scores(X[:3])[:, -1]).all()
    assert learner.moments().samples == before.samples == 60
    assert_allclose(other.scores(X), learner.scores(X), atol=1e-8)


def test_tuning_leaves_the_compared_heads_as_they_are():
    learner = opened(compare=["kalman", "ncm"])
    for x, name in zip(X, NAMES, strict=True):
        learner.learn(x, name)
    kalman = learner._journal.knowledge._heads[1]
    scores = kalman.scores(np.zeros((1, 12), np.int16) + 5)
    learner.tune()
    kalman = learner._journal.knowledge._heads[1]
    assert_array_equal(kalman.scores(np.zeros((1, 12), np.int16) + 5), scores)
    assert learner.status.tested == 0


def test_tuning_to_what_is_compared_leaves_one_of_the_two():
    choice = opened()
    choice.learn_many(X, NAMES)
    ridge = choice.tune().ridge
    learner = opened(compare=[RidgeOptions(ridge=ridge)])
    learner.learn_many(X, NAMES)
    learner.tune()
    assert learner.status.compared == ()
    assert learner.status.head == f"ridge(ridge={ridge})"


def test_auto_once_more_adds_nothing(tmp_path):
    with opened(tmp_path / "s") as learner:
        learner.learn_many(X, NAMES)
        learner.tune()
    with opened(tmp_path / "s", head="auto") as learner:
        before = learner.status
    with opened(tmp_path / "s", head="lda") as learner:
        pass
    with opened(tmp_path / "s", head="auto") as again:
        assert len(again.status.compared) == len(before.compared) == 3


def test_too_many_samples_are_refused_before_the_first_of_them(monkeypatch):
    learner = opened(compare=["ncm"])
    learner.learn_many(X[:64], NAMES[:64])
    before = learner.moments()
    monkeypatch.setattr("edge_cl.moments.MAX_SAMPLES", 100)
    with pytest.raises(InputError, match="at most 100 samples"):
        learner.learn_many(X[64:128], ["new"] * 64)
    assert learner.moments() == before
    assert learner.status.undoable == 64
    assert "new" not in learner.labels


def test_saving_while_another_thread_learns_writes_whole_snapshots(tmp_path):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 128)).astype(np.float32)
    with Learner.open(tmp_path / "s", bundle=features_bundle(x)) as learner:
        learner.learn(x[0], "0")
        stop = threading.Event()

        def teach():
            for i in range(10**6):
                if stop.is_set():
                    return
                learner.learn(x[i % 400], str(i % 40))

        teacher = threading.Thread(target=teach)
        teacher.start()
        try:
            for _ in range(15):
                learner.save()
                Learner.open(tmp_path / "s", read_only=True).close()  # its digest holds
        finally:
            stop.set()
            teacher.join()


@pytest.mark.parametrize("compare", ["lda", ["no-such-head"], [3]])
def test_what_cannot_be_compared_is_refused(compare):
    with pytest.raises(InputError):
        opened(compare=compare)


# -- masks and the likeliest few -------------------------------------------------------------


@pytest.mark.parametrize("head", ["ridge", "lda", "ncm", "ncm-euclidean"])
def test_a_mask_leaves_only_what_can_be_meant(head):
    learner = opened(head=head)
    learner.learn_many(X, NAMES)
    scores = learner.scores(X[:20])
    some = ("class 1", "class 4")
    columns = [learner.labels.index(name) for name in some]
    for x, row in zip(X[:20], scores, strict=True):
        found = learner.predict(x, among=some)
        assert found.label == some[int(np.argmax(row[columns]))]
        assert set(found.probabilities) == set(some)
        assert sum(found.probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize("among", [[], ["no such class"], "class 1", ["empty"]])
def test_a_mask_of_nothing_is_refused(among):
    learner = opened()
    learner.learn_many([*X, X[0]], [*NAMES, "empty"])
    learner.undo()
    with pytest.raises(InputError):
        learner.predict(X[0], among=among)


def test_the_likeliest_few_are_the_first_of_all():
    learner = opened()
    learner.learn_many(X, NAMES)
    for x in X[:20]:
        every = list(learner.predict(x).probabilities.items())
        for top in (1, 2, 5, 6, 99):
            assert list(learner.predict(x, top=top).probabilities.items()) == every[:top]
    with pytest.raises(InputError, match="top"):
        learner.predict(X[0], top=0)


def test_equal_scores_come_in_the_order_of_classes():
    learner = opened(head="ncm")
    learner.learn_many([X[0]] * 5, list("edcba"))
    assert list(learner.predict(X[0], top=3).probabilities) == ["e", "d", "c"]
