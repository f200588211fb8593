import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from head_cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import SEEDS, labels, splits

from edge_cl import Learner, RidgeOptions, features_bundle
from edge_cl.bundle import EmbeddingSpec, EncoderSpec, InputSpec, Manifest, pack_bundle, read_bundle
from edge_cl.encoders import Encoder
from edge_cl.errors import BackendError, EdgeCLError, ForgetError, InputError, StateError
from edge_cl.features import Identity
from edge_cl.forgetting import Everything
from edge_cl.heads.group_choice import choose_ridge_by_group
from edge_cl.journal import Journal
from edge_cl.learner import UNDO_DEPTH
from edge_cl.pipeline import Pipeline
from edge_cl.resume import begun_knowledge
from edge_cl.stopwatch import Stopwatch
from edge_cl.store import Durability, Store

D = 30
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 4, 60)
X = (RNG.standard_normal((4, D))[Y] + 0.5 * RNG.standard_normal((60, D))).astype(np.float32)
NAMES = np.array(["mug", "cup", "vase", "jug"])[Y].tolist()
BUNDLE = features_bundle(X)


def heads(wanted):
    found = {name: options for name, options in CASES.items() if wanted(options)}
    return pytest.mark.parametrize("head", found.values(), ids=found.keys())


every_head = heads(lambda options: True)
heads_of_moments = heads(lambda options: options.promise.from_moments)
heads_in_order = heads(lambda options: not options.promise.from_moments)
heads_of_every_state = heads(
    lambda options: options.promise.from_moments and not options.promise.statistics
)
heads_of_some_states = heads(lambda options: options.promise.statistics)
# what is drawn depends on the numbers of the classes, which are those of their first appearance
heads_of_any_order = heads(
    lambda options: options.promise.from_moments and getattr(options, "method", "") != "aef-sampled"
)


def taught(n=60, head="ridge", state=None, **options):
    learner = Learner.open(state, bundle=BUNDLE, head=head, **options)
    learner.learn_many(X[:n], NAMES[:n])
    return learner


def moments(learner):
    """The sums a class, as bytes, whatever the order in which classes appeared."""
    m = learner.moments()
    rows = {name: (int(m.n[c]), m.Q[c].tobytes()) for c, name in enumerate(learner.labels)}
    return {name: row for name, row in rows.items() if row[0]}, m.G.tobytes(), m.saturated


def everything(learner):
    """What a caller can see of a learner, and what it would save."""
    state = {**learner.moments().tensors(), **learner._journal.knowledge.history.tensors()}
    return (
        learner.scores(X).tobytes() if learner.status.samples else None,
        learner.labels,
        {name: a.tobytes() for name, a in state.items()},
        learner.status,
    )


class FakeRunner:
    """A network for pictures: mean colour and size of what came in."""

    nodes, fallbacks = {"FakeRunner": 1}, ()

    def close(self):
        """Nothing to give back."""

    def run(self, batch):
        return batch.reshape(len(batch), -1, 3).mean(axis=1).astype(np.float32)


def picture_learner(scale=1.0, runner=None):
    spec = EncoderSpec(
        member="encoder.onnx",
        runtime="onnx",
        precision="fp32",
        recipe="none",
        input_name="x",
        output_name="y",
    )
    manifest = Manifest(
        name="colours",
        version="1",
        description="",
        licence="none",
        source="tests",
        input=InputSpec(
            kind="image",
            shape=(8, 12, 3),
            dtype="uint8",
            layout="HWC",
            colour="RGB",
            resize="bilinear",
            fit="crop",
        ),
        embedding=EmbeddingSpec(d=3, scale=scale, signed=False, mean_square_norm=3e4),
        encoders=(spec,),
        tools={},
        created="",
    )
    bundle = read_bundle(pack_bundle(manifest, {"encoder.onnx": b"\x3a\x00"}))
    encoder = Encoder(bundle, spec, runner or FakeRunner())
    pipeline = Pipeline(bundle, encoder, Identity())
    known = begun_knowledge(pipeline, [RidgeOptions()], Everything(), auto=False)
    return Learner(pipeline, Journal(known, pipeline.origin, durability=Durability()))


# -- learning and answering ------------------------------------------------------------------


def test_a_lesson_and_a_prediction_say_what_happened():
    learner = Learner.open(bundle=BUNDLE)
    lesson = learner.learn_many(X[:9], NAMES[:9])
    assert (lesson.samples, lesson.total) == (9, 9)
    assert lesson.new_classes == tuple(dict.fromkeys(NAMES[:9]))
    again = learner.learn(X[9], NAMES[0])
    assert (again.samples, again.total, again.new_classes) == (1, 10, ())
    prediction = learner.predict(X[0])
    assert prediction.label == learner.labels[int(learner.scores(X[:1])[0].argmax())]
    assert prediction.probability == prediction.probabilities[prediction.label]
    assert prediction.stage_ms.total > 0
    status = learner.status
    assert status.samples == 10
    assert sum(status.samples_per_class.values()) == 10
    assert status.unsaved and status.state is None


@heads_of_moments
def test_probabilities_are_sorted_and_name_seen_classes_only(head):
    learner = taught(head=head)
    learner.learn(X[0], "gone")
    learner.forget(X[0], "gone")
    for x in X:
        prediction = learner.predict(x)
        p = list(prediction.probabilities.values())
        assert p == sorted(p, reverse=True)
        assert next(iter(prediction.probabilities)) == prediction.label
        assert sum(p) == pytest.approx(1.0)
        assert set(prediction.probabilities) == set(NAMES)


@heads_of_any_order
@given(data=st.data())
def test_any_order_and_any_split_teach_the_same(head, data):
    learner = Learner.open(bundle=BUNDLE, head=head)
    for part in data.draw(splits(60)):
        learner.learn_many(X[part], [NAMES[i] for i in part])
    reference = taught(head=head)
    assert moments(learner) == moments(reference)
    for x in X[:5]:
        expected = reference.predict(x).probabilities
        actual = learner.predict(x).probabilities
        assert actual == pytest.approx(expected, abs=1e-8)


def test_predicting_then_learning_is_one_after_the_other():
    learner, reference = Learner.open(bundle=BUNDLE), Learner.open(bundle=BUNDLE)
    for i in range(20):
        prediction, lesson = learner.predict_then_learn(X[i], NAMES[i])
        if i == 0:
            assert prediction is None
        else:
            assert prediction.probabilities == reference.predict(X[i]).probabilities
        reference.learn(X[i], NAMES[i])
        assert lesson.total == i + 1
    assert everything(learner) == everything(reference)


def test_features_are_the_encoders():
    assert_array_equal(taught().features(X), X)
    assert taught().features([]).shape == (0, D)
    assert taught().scores([]).shape == (0, 4)


def test_saturation_is_counted():
    learner = taught()
    assert learner.status.saturated_share == 0
    learner.learn(X[0] * 1000, "far away")
    assert learner.status.saturated_share == pytest.approx(5 / (61 * 5))


def test_nothing_learned_is_said_so():
    learner = Learner.open(bundle=BUNDLE)
    for ask in (lambda: learner.predict(X[0]), lambda: learner.scores(X)):
        with pytest.raises(StateError, match="nothing has been learned"):
            ask()
    learner.learn(X[0], "a")
    learner.undo()
    with pytest.raises(StateError, match="nothing has been learned"):
        learner.predict(X[0])


def test_pictures_of_any_size_and_grey_ones_are_learned():
    learner = picture_learner()
    learner.learn(np.full((30, 40, 3), [200, 0, 0], np.uint8), "red")
    learner.learn(np.full((5, 5, 3), [0, 0, 200], np.uint8), "blue")
    learner.learn(np.full((9, 9), 90, np.uint8), "grey")
    learner.learn(np.full((9, 9, 1), 92, np.uint8), "grey")
    assert learner.predict(np.full((123, 29, 3), [180, 20, 0], np.uint8)).label == "red"


# -- what is refused -------------------------------------------------------------------------

BAD_VECTORS = {
    "too short": X[0, :-1],
    "too long": np.append(X[0], 0),
    "two rows": X[:2],
    "one row in a matrix": X[:1],
    "a scalar": 1.0,
    "empty": [],
    "nan": np.append(X[0, 1:], np.nan),
    "inf": np.append(X[0, 1:], np.inf),
    "beyond float32": np.append(X[0, 1:].astype(float), 1e300),
    "strings": ["1"] * D,
    "complex": np.ones(D, complex),
    "bool": np.ones(D, bool),
    "objects": [None] * D,
    "ragged": [1.0, [2.0], 3.0, 4.0, 5.0],
    "none": None,
    "dates": np.zeros(D, "datetime64[s]"),
    "integers without bound": [10**400] * D,
}
BAD_LABELS = {
    "empty": "",
    "blank": "  ",
    "blanks around": " mug",
    "newline inside": "a\nb",
    "zero byte": "a\0b",
    "escape": "\x1b[31mred",
    "a lone surrogate": "\ud800",
    "201 characters": "x" * 201,
    "bytes": b"mug",
    "a number": 3,
    "none": None,
    "a list": ["mug"],
    "a numpy number": np.int64(3),
}
BAD_PICTURES = {
    "float": np.zeros((4, 4, 3), np.float32),
    "int": np.zeros((4, 4, 3), int),
    "bool": np.zeros((4, 4, 3), bool),
    "RGBA": np.zeros((4, 4, 4), np.uint8),
    "two channels": np.zeros((4, 4, 2), np.uint8),
    "a batch": np.zeros((1, 4, 4, 3), np.uint8),
    "a row": np.zeros(4, np.uint8),
    "no height": np.zeros((0, 4, 3), np.uint8),
    "no width": np.zeros((4, 0), np.uint8),
    "no channel": np.zeros((4, 4, 0), np.uint8),
    "none": None,
    "text": "mug.png",
    "bytes": b"\x89PNG",
    "ragged": [[1], [1, 2]],
}


@every_head
@pytest.mark.parametrize("case", BAD_VECTORS)
def test_a_bad_vector_changes_nothing(head, case):
    learner, bad = taught(head=head), BAD_VECTORS[case]
    before = everything(learner)
    for call in (
        lambda: learner.learn(bad, "mug"),
        lambda: learner.learn(bad, "new"),
        lambda: learner.learn_many([X[0], X[1], bad, X[2]], ["mug", "new", "newer", "mug"]),
        lambda: learner.predict_then_learn(bad, "new"),
        lambda: learner.predict(bad),
        lambda: learner.scores([X[0], bad]),
        lambda: learner.features([X[0], bad]),
        lambda: learner.forget(bad, "mug"),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert everything(learner) == before


@pytest.mark.parametrize("case", BAD_LABELS)
def test_a_bad_label_changes_nothing(case):
    learner, bad = taught(), BAD_LABELS[case]
    before = everything(learner)
    for call in (
        lambda: learner.learn(X[0], bad),
        lambda: learner.learn_many(X[:3], ["new", "mug", bad]),
        lambda: learner.predict_then_learn(X[0], bad),
        lambda: learner.forget(X[0], bad),
    ):
        with pytest.raises(InputError):
            call()
    assert everything(learner) == before


@pytest.mark.parametrize("case", BAD_PICTURES)
def test_a_bad_picture_changes_nothing(case):
    learner, bad = picture_learner(), BAD_PICTURES[case]
    learner.learn(np.zeros((4, 4, 3), np.uint8), "black")
    before = moments(learner), learner.labels, learner.status
    for call in (lambda: learner.learn(bad, "new"), lambda: learner.predict(bad)):
        with pytest.raises(InputError):
            call()
    assert (moments(learner), learner.labels, learner.status) == before


@pytest.mark.parametrize(
    "call",
    [
        lambda a: a.learn_many(X[:2], ["mug"]),
        lambda a: a.learn_many(X[:1], ["mug", "cup"]),
        lambda a: a.learn_many(X[:3], "mug"),  # a string is a sequence too
        lambda a: a.learn_many([], ["mug"]),
        lambda a: a.forget(X[0], "never heard of"),
        lambda a: a.forget(X[0] * 900, NAMES[0]),
        lambda a: a.undo(0),
        lambda a: a.undo(-1),
        lambda a: a.undo(61),
        lambda a: a.merge("no such folder"),
        lambda a: a.merge(Learner.open(bundle=features_bundle([[1.0] * D]))),
        lambda a: a.merge(Learner.open(bundle=BUNDLE, feature_map="l2")),
        lambda a: a.save(),
    ],
)
def test_a_call_that_is_refused_changes_nothing(call):
    learner = taught()
    before = everything(learner)
    with pytest.raises(EdgeCLError):
        call(learner)
    assert everything(learner) == before


@pytest.mark.parametrize("fails_at", [0, 7, 20])
def test_an_error_from_the_callers_own_iterator_changes_nothing(fails_at):
    def broken():
        yield from X[:fails_at]
        raise RuntimeError("the disk of pictures is gone")

    learner = taught()
    before = everything(learner)
    with pytest.raises(RuntimeError, match="gone"):
        learner.learn_many(broken(), ["new"] * 30)
    assert everything(learner) == before


@pytest.mark.parametrize(
    "features",
    [np.full((1, 3), np.nan), np.full((1, 3), np.inf), np.zeros((1, 4)), np.zeros((2, 3))],
)
def test_a_broken_encoder_is_reported_and_changes_nothing(features):
    class Broken(FakeRunner):
        broken = False

        def run(self, batch):
            return features if self.broken else super().run(batch)

    runner, picture = Broken(), np.zeros((4, 4, 3), np.uint8)
    learner = picture_learner(runner=runner)
    learner.learn(picture, "black")
    before = moments(learner), learner.labels
    runner.broken = True
    for call in (lambda: learner.learn(picture, "new"), lambda: learner.predict(picture)):
        with pytest.raises(BackendError):
            call()
    assert (moments(learner), learner.labels) == before


@pytest.mark.parametrize(
    "options",
    [
        {"head": "svm"},
        {"head": 3},
        {"head": ""},
        {"feature_map": "wavelet"},
        {"feature_map": "random-relu:9"},
        {"runtime": "onnx"},
        {"precision": "int8"},
        {"threads": 0},
    ],
)
def test_an_option_that_does_not_exist_is_refused_and_makes_no_state(tmp_path, options):
    with pytest.raises(InputError):
        Learner.open(tmp_path / "state", bundle=BUNDLE, **options)
    assert not (tmp_path / "state" / "snapshot.safetensors").exists()
    Learner.open(tmp_path / "state", bundle=BUNDLE).close()  # and holds no lock


# -- labels ----------------------------------------------------------------------------------


@given(st.lists(labels(), min_size=1, max_size=12))
def test_any_reasonable_label_comes_back(names):
    learner = Learner.open(bundle=BUNDLE)
    try:
        learner.learn_many(X[: len(names)], names)
    except InputError:
        assert any(name != name.strip() for name in names)
        return
    assert learner.status.samples == len(names)
    assert set(learner.predict(X[0]).probabilities) == set(learner.labels)


def test_two_spellings_of_one_accent_are_one_class():
    learner = Learner.open(bundle=BUNDLE)
    learner.learn(X[0], "caf\u00e9")
    learner.learn(X[1], "cafe\u0301")
    assert learner.labels == ("caf\u00e9",)
    learner.forget(X[0], "cafe\u0301")
    assert learner.status.samples == 1


# -- taking back -----------------------------------------------------------------------------


@heads_of_moments
def test_forget_is_as_if_it_had_never_been_learned(head):
    learner, never = taught(head=head), taught(40, head=head)
    for i in range(59, 39, -1):
        learner.forget(X[i], NAMES[i])
    assert moments(learner) == moments(never)
    assert_allclose(learner.scores(X), never.scores(X), rtol=1e-8, atol=1e-8)


def test_undo_takes_back_the_newest_first_and_names_them():
    learner = taught()
    assert learner.undo(3) == tuple(NAMES[:56:-1])
    assert moments(learner) == moments(taught(57))
    assert learner.undo(57) == tuple(NAMES[56::-1])
    assert learner.status.samples == learner.status.undoable == 0
    assert learner.labels == tuple(dict.fromkeys(NAMES))
    with pytest.raises(ForgetError):
        learner.undo()


def test_undo_reaches_back_so_far_and_no_further():
    learner = Learner.open(bundle=BUNDLE)
    for _ in range(6):
        learner.learn_many(X, NAMES)
    assert learner.status.undoable == UNDO_DEPTH
    before = everything(learner)
    with pytest.raises(ForgetError) as caught:
        learner.undo(UNDO_DEPTH + 1)
    assert str(UNDO_DEPTH) in caught.value.hint
    assert everything(learner) == before
    learner.undo(UNDO_DEPTH)
    assert learner.status.samples == 360 - UNDO_DEPTH
    learner.learn(X[0], "mug")
    assert learner.undo() == ("mug",)


def test_what_was_forgotten_is_not_undone_again():
    learner = taught()
    learner.learn(X[0], NAMES[0])  # twice in: once old, once new
    learner.forget(X[0], NAMES[0])
    assert learner.status.undoable == 60
    learner.forget(X[59], NAMES[59])
    assert learner.undo() == (NAMES[58],)
    assert moments(learner) == moments(taught(58))
    learner.undo(58)
    assert moments(learner)[0] == {}


def test_forget_of_what_was_never_learned_is_refused():
    learner = taught(3)
    before = everything(learner)
    other = next(name for name in NAMES if name != NAMES[0])
    for x, label in [(X[50], NAMES[0]), (X[0], other), (X[0] + 0.1, NAMES[0])]:
        if label in learner.labels:
            with pytest.raises(ForgetError):
                learner.forget(x, label)
    with pytest.raises(InputError):
        learner.forget(X[0], "never heard of")
    assert everything(learner) == before


@heads_of_moments
@settings(max_examples=15)  # of each head; each writes a state and reads it
@given(seed=SEEDS)
def test_a_learner_that_forgot_the_wrong_thing_can_still_be_kept(head, seed, tmp_path_factory):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("state")
    n = int(rng.integers(2, 60))
    with taught(n, head=head, state=folder) as learner:
        for _ in range(4):
            i, noise = int(rng.integers(n)), rng.normal(0, rng.choice([1e-3, 0.1, 1.0]), D)
            try:
                learner.forget(X[i] + noise, NAMES[i])
            except ForgetError:
                continue
        scores = learner.scores(X) if learner.status.samples else None
    with Learner.open(folder) as again:
        if scores is not None:
            assert_array_equal(again.scores(X), scores)
            again.predict(X[0])


# -- devices that come together ----------------------------------------------------------------


@heads_of_any_order
@given(data=st.data())
def test_devices_merged_in_any_order_are_one_device(head, data):
    devices = []
    for part in data.draw(splits(60)):
        device = Learner.open(bundle=BUNDLE, head=head)
        device.learn_many(X[part], [NAMES[i] for i in part])
        devices.append(device)
    centre = devices.pop(data.draw(st.integers(0, len(devices) - 1)))
    for device in data.draw(st.permutations(devices)):
        before = moments(device)
        centre.merge(device)
        assert moments(device) == before
    one = taught(head=head)
    assert moments(centre) == moments(one)
    columns = [centre.labels.index(name) for name in one.labels]
    assert_allclose(centre.scores(X)[:, columns], one.scores(X), rtol=1e-8, atol=1e-8)


def test_a_saved_device_merges_like_a_live_one(tmp_path):
    with Learner.open(tmp_path, bundle=BUNDLE) as device:
        device.learn_many(X[30:], NAMES[30:])
    centre = taught(30)
    centre.merge(tmp_path)
    assert moments(centre) == moments(taught())
    assert centre.status.undoable == 30
    centre.undo(30)
    with Learner.open(tmp_path) as device:
        assert moments(centre) == moments(device)


def test_merging_with_oneself_would_count_twice_and_is_refused(tmp_path):
    with taught(state=tmp_path) as learner:
        learner.save()
        before = everything(learner)
        for itself in (learner, tmp_path, str(tmp_path / ".." / tmp_path.name)):
            with pytest.raises(InputError):
                learner.merge(itself)
        assert everything(learner) == before


def test_two_learners_may_merge_each_other_at_once():
    a, b = taught(30), taught(20)
    threads = [threading.Thread(target=x.merge, args=(y,)) for x, y in ((a, b), (b, a))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


def test_a_device_on_another_grid_is_refused():
    """The same network in another bundle, calibrated to another step: its integers mean less."""
    here, there = picture_learner(scale=1.0), picture_learner(scale=0.5)
    there.learn(np.full((4, 4, 3), 9, np.uint8), "a")
    with pytest.raises(StateError):
        here.merge(there)


# -- heads -----------------------------------------------------------------------------------


@heads_of_every_state
def test_switching_the_head_equals_learning_with_it(tmp_path, head):
    with taught(state=tmp_path):
        pass
    with Learner.open(tmp_path, head=head) as switched:
        scores = switched.scores(X)
        assert_allclose(scores, taught(head=head).scores(X), rtol=1e-8, atol=1e-8)
    with Learner.open(tmp_path) as again:  # the switch was kept
        assert_array_equal(again.scores(X), scores)
        assert again.status.head == switched.status.head


@heads_in_order
def test_a_head_that_depends_on_order_takes_nothing_back(tmp_path, head):
    with taught(head=head, state=tmp_path) as learner:
        before = everything(learner)
        for refused in (
            learner.undo,
            lambda: learner.forget(X[0], NAMES[0]),
            lambda: learner.merge(taught(5)),
        ):
            with pytest.raises(ForgetError, match="order") as caught:
                refused()
            assert "edge-cl use ridge --alone" in caught.value.hint
            assert everything(learner) == before
        scores = learner.scores(X)
    with Learner.open(tmp_path) as again:
        assert_array_equal(again.scores(X), scores)
    with Learner.open(tmp_path, head="ridge") as ridge:
        ridge.undo()
        assert_allclose(ridge.scores(X), taught(59).scores(X), atol=1e-9)


@heads_of_some_states
def test_a_head_that_needs_other_sums_is_refused_by_a_state_without_them(tmp_path, head):
    with taught(state=tmp_path / "plain"):
        pass
    with pytest.raises(InputError, match="was not told to keep"):
        Learner.open(tmp_path / "plain", head=head)
    with taught(head=head, state=tmp_path / "rich"):
        pass
    for other in ("ridge", head):
        with Learner.open(tmp_path / "rich", head=other) as learner:
            assert_allclose(learner.scores(X), taught(head=other).scores(X), atol=1e-8)
    with Learner.open(tmp_path / "rich", head=head) as learner:
        learner.undo()
        assert_allclose(learner.scores(X), taught(59, head=head).scores(X), atol=1e-8)


def test_tuning_changes_the_ridge_and_is_kept(tmp_path):
    with taught(state=tmp_path) as learner:
        choice = learner.tune()
        assert str(choice.ridge) in learner.status.head
        scores = learner.scores(X)
        expected = taught(head=RidgeOptions(ridge=choice.ridge)).scores(X)
        assert_allclose(scores, expected, atol=1e-8)
    with Learner.open(tmp_path) as again:
        assert_array_equal(again.scores(X), scores)


@pytest.mark.parametrize("head", ["lda", "ncm"])
def test_only_a_ridge_can_be_tuned(head):
    learner = taught(head=head)
    before = everything(learner)
    with pytest.raises(InputError):
        learner.tune()
    with pytest.raises(InputError, match="ridge"):
        learner.tune_by_group({})
    assert everything(learner) == before


def halves():
    """The samples as two sessions, each with every class."""
    return {f"session {i}": zip(X[i::2], NAMES[i::2], strict=True) for i in range(2)}


def test_tuning_by_group_uses_the_choice_and_learns_nothing(tmp_path):
    with taught(state=tmp_path / "s") as learner:
        before = learner.moments()
        choice = learner.tune_by_group(halves())
        assert learner.moments() == before
        assert learner.status.head == f"ridge(ridge={choice.ridge})"
        assert list(choice.accuracy_of_group) == ["session 0", "session 1"]
        scores = learner.scores(X)
    assert_allclose(scores, taught(head=RidgeOptions(ridge=choice.ridge)).scores(X))
    with Learner.open(tmp_path / "s") as again:
        assert_array_equal(again.scores(X), scores)


def test_tuning_by_group_is_that_of_the_features_of_the_groups():
    learner = taught()
    y = np.array([sorted(set(NAMES)).index(name) for name in NAMES])
    q = learner._pipeline.grid(X, Stopwatch())
    expected = choose_ridge_by_group(
        {f"session {i}": (q[i::2], y[i::2]) for i in range(2)},
        scale=learner._pipeline.scale,
        mean_square_norm=learner._pipeline.mean_square_norm,
    )
    choice = learner.tune_by_group(halves())
    assert_allclose(choice.accuracy, expected.accuracy)
    assert choice.ridge == expected.ridge


@pytest.mark.parametrize(
    "spoiled",
    [
        {},
        {"one": list(zip(X, NAMES, strict=True))},
        {"one": [(X[0], "mug")], "two": [(X[0, :3], "mug")]},
        {"one": [(X[0], "mug")], "two": [(X[0] * np.nan, "mug")]},
        {"one": [(X[0], "mug")], "two": [(X[0], "")]},
        {"one": [(X[0], "mug")], "two": [(X[0], "cup")]},
    ],
)
def test_tuning_by_bad_groups_changes_nothing(spoiled):
    learner = taught()
    before = everything(learner)
    with pytest.raises(InputError):
        learner.tune_by_group(spoiled)
    assert everything(learner) == before


# -- keeping ---------------------------------------------------------------------------------


def test_leaving_the_block_saves_what_is_unsaved(tmp_path):
    with taught(state=tmp_path, durability="save") as learner:
        assert learner.status.unsaved
        learner.save()
        assert not learner.status.unsaved
        learner.undo()
        assert learner.status.unsaved
    assert Store(tmp_path, read_only=True).load().saved.tensors["n"].sum() == 59


def test_an_error_in_the_block_saves_too_and_passes_on(tmp_path):
    with pytest.raises(ZeroDivisionError), taught(state=tmp_path):
        _ = 1 / 0
    with Learner.open(tmp_path) as learner:
        assert learner.status.samples == 60


def test_an_interrupted_update_never_leaves_a_stale_head(tmp_path):
    """Ctrl-C may come between the sums and the head; what is saved then must agree."""
    learner = taught(state=tmp_path)
    learner.predict(X[0])
    update = learner._journal.knowledge.head.update

    def interrupted(*arguments):
        raise KeyboardInterrupt

    learner._journal.knowledge.head.update = interrupted
    with pytest.raises(KeyboardInterrupt):
        learner.learn(X[0] * 2, "new")
    learner._journal.knowledge.head.update = update
    learner.close()
    with Learner.open(tmp_path) as again:
        scores, n = again.scores(X), again.status.samples
    expected = taught()
    if n == 61:
        expected.learn(X[0] * 2, "new")
    assert_allclose(scores, expected.scores(X), atol=1e-8)


# -- threads ---------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["ridge", "lda", "ncm"])
def test_readers_see_whole_states_while_another_thread_learns(head):
    """Every answer must be that of one of the states the learner went through."""
    learner = taught(10, head=head)
    probe, steps = X[:3], 40
    shapes = [learner.scores(probe)]
    for i in range(10, 10 + steps):
        learner.learn(X[i], NAMES[i])
        shapes.append(learner.scores(probe))
    learner.undo(steps)
    seen, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            seen.append(learner.scores(probe))
            status = learner.status
            assert sum(status.samples_per_class.values()) == status.samples
            assert sum(learner.predict(X[0]).probabilities.values()) == pytest.approx(1)

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for i in range(10, 10 + steps):
            learner.learn(X[i], NAMES[i])
        stop.set()
        for reader in readers:
            reader.result()
    assert seen
    for scores in seen:
        assert any(
            s.shape == scores.shape and np.allclose(s, scores, atol=1e-9, rtol=1e-7) for s in shapes
        )


def test_writers_in_many_threads_lose_nothing():
    learner = Learner.open(bundle=BUNDLE)

    def teach(part):
        for i in part:
            learner.learn(X[i], NAMES[i])

    threads = [threading.Thread(target=teach, args=(range(s, 60, 4),)) for s in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert moments(learner) == moments(taught())
