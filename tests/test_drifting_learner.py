"""A learner that forgets by itself: what it answers, takes back, keeps and refuses."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from edge_cl import Learner, features_bundle
from edge_cl.errors import ForgetError, InputError, StateError
from edge_cl.forgetting import Halving, Window

RNG = np.random.default_rng(5)
Y = RNG.integers(0, 3, 120)
X = (RNG.normal(size=(3, 7))[Y] + 0.5 * RNG.normal(size=(120, 7))).astype(np.float32)
NAMES = [f"class {c}" for c in Y]
BUNDLE = features_bundle(X)
KINDS = ["halve:25", "window:40:4"]


def taught(forgetting, start=0, stop=120, *, step=1, **options):
    learner = Learner.open(bundle=BUNDLE, forgetting=forgetting, **options)
    for i in range(start, stop, step):
        part = slice(i, min(i + step, stop))
        learner.learn_many(X[part], NAMES[part])
    return learner


@pytest.mark.parametrize("head", ["ridge", "lda", "ncm", "fecam"])
def test_a_window_is_a_learner_that_saw_only_what_is_in_it(head):
    learner = taught("window:40:4", head=head)
    alone = taught(None, 80, 120, head=head)
    columns = [alone.labels.index(name) for name in learner.labels]
    assert_allclose(learner.scores(X), alone.scores(X)[:, columns], atol=1e-8)
    assert learner.status.samples == 40


@pytest.mark.parametrize("forgetting", KINDS)
@pytest.mark.parametrize("head", ["ridge", "lda", "ncm", "air"])
def test_however_the_stream_is_cut_the_learner_is_the_same(forgetting, head):
    one, many = (taught(forgetting, step=step, head=head) for step in (1, 17))
    assert one.moments() == many.moments()
    assert_allclose(one.scores(X), many.scores(X), atol=1e-8)


@pytest.mark.parametrize("forgetting", KINDS)
def test_a_stream_that_changes_its_mind_is_followed(forgetting):
    """The same pictures, from one day on under another name."""
    learner = taught(forgetting)
    swapped = {f"class {c}": f"class {(c + 1) % 3}" for c in range(3)}
    everything = taught("everything")
    for x, name in zip(X[:60], NAMES[:60], strict=True):
        learner.learn(x, swapped[name])
        everything.learn(x, swapped[name])
    right = [
        np.mean([one.predict(X[i]).label == swapped[NAMES[i]] for i in range(60, 120)])
        for one in (learner, everything)
    ]
    assert right[0] > 0.8 > 0.5 > right[1]


@pytest.mark.parametrize("forgetting", KINDS)
def test_a_saved_learner_goes_on_forgetting(tmp_path, forgetting):
    with Learner.open(tmp_path / "s", bundle=BUNDLE, forgetting=forgetting) as learner:
        learner.learn_many(X[:70], NAMES[:70])
        scores = learner.scores(X)
    with Learner.open(tmp_path / "s") as again:
        assert again.status.forgetting == learner.status.forgetting
        assert_array_equal(again.scores(X), scores)
        for i in range(70, 120):
            again.learn(X[i], NAMES[i])
        assert again.moments() == taught(forgetting).moments()
    for other in ("everything", "halve:26", Window(samples=80), Halving(period=3)):
        with pytest.raises(StateError, match="forgetting"):
            Learner.open(tmp_path / "s", forgetting=other)


@pytest.mark.parametrize("forgetting", KINDS)
def test_what_has_left_cannot_be_taken_back_and_what_is_in_can(forgetting):
    learner = taught(forgetting)
    before = learner.moments()
    assert learner.status.undoable == (20 if forgetting == "halve:25" else 40)
    for refused in (
        lambda: learner.forget(X[3], NAMES[3]),
        lambda: learner.undo(60),
        lambda: learner.forget(X[119], NAMES[118 if NAMES[118] != NAMES[119] else 117]),
    ):
        with pytest.raises(ForgetError):
            refused()
        assert learner.moments() == before
    assert learner.undo(3) == tuple(NAMES[i] for i in (119, 118, 117))
    learner.forget(X[115], NAMES[115])
    assert learner.moments().samples == before.samples - 4


def test_two_devices_with_windows_do_not_merge():
    learner = taught("window:40:4")
    before = learner.moments()
    with pytest.raises(InputError, match="window"):
        learner.merge(taught("window:40:4"))
    assert learner.moments() == before
    everything = taught("everything", 0, 60)
    everything.merge(learner)
    assert everything.status.samples == 100


def test_a_kalman_head_forgets_at_its_own_pace_over_sums_that_halve():
    learner = taught("halve:25", head="kalman")
    assert_allclose(learner.scores(X), taught("everything", head="kalman").scores(X), atol=1e-8)


@pytest.mark.parametrize("forgetting", ["halve", "window:1", "halve:0", "window:9:2", "", "never"])
def test_a_kind_that_does_not_exist_is_refused(forgetting):
    with pytest.raises(InputError):
        Learner.open(bundle=BUNDLE, forgetting=forgetting)


@pytest.mark.parametrize("forgetting", [*KINDS, "halve:8", "window:8:2"])
def test_a_kalman_head_begins_anywhere_and_reopens_when_classes_have_left(tmp_path, forgetting):
    with Learner.open(
        tmp_path / "s", bundle=BUNDLE, head="kalman", forgetting=forgetting
    ) as learner:
        learner.learn_many(X[:30], NAMES[:30])
        learner.learn(X[30], "last of all")
        for i in range(31, 80):
            learner.learn(X[i], "class 0")
        scores = learner.scores(X)
    one = Learner.open(bundle=BUNDLE, head="kalman", forgetting=forgetting)
    for i in range(30):
        one.learn(X[i], NAMES[i])
    one.learn(X[30], "last of all")
    one.learn_many(X[31:80], ["class 0"] * 49)
    assert_allclose(one.scores(X), scores, atol=1e-8)
    with Learner.open(tmp_path / "s") as again:
        assert_array_equal(again.scores(X), scores)
        assert again.predict(X[0]).label == "class 0" or forgetting in KINDS


@pytest.mark.parametrize("forgetting", KINDS)
def test_where_samples_leave_those_of_one_call_are_not_mixed(forgetting):
    one = Learner.open(bundle=BUNDLE, compare=["ncm"], forgetting=forgetting)
    one.learn_many(X[:96], NAMES[:96])
    many = Learner.open(bundle=BUNDLE, compare=["ncm"], forgetting=forgetting)
    for start in range(0, 96, 7):
        part = slice(start, min(start + 7, 96))
        many.learn_many(X[part], NAMES[part])
    assert one.moments() == many.moments()
    assert one.undo() == (NAMES[95],)


def test_what_merging_halved_cannot_be_undone():
    learner, other = taught("halve:8", 0, 6), taught("everything", 6, 12)
    learner.merge(other)
    assert learner.status.undoable == 0
    with pytest.raises(ForgetError, match=r"undo 1\.\.0"):
        learner.undo()


def test_gcv_over_halved_sums_never_takes_a_lambda_that_fits_everything():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 161)
    x = rng.normal(size=(3, 64))[y] + 1.5 * rng.normal(size=(161, 64))
    learner = Learner.open(bundle=features_bundle(x), forgetting="halve:8")
    for row, c in zip(x, y, strict=True):
        learner.learn(row, str(c))
    choice = learner.tune()
    assert choice.degrees_of_freedom < learner.status.samples
