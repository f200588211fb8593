import random
import subprocess
import sys

import numpy as np
import pytest
from attacks import states as attacks
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from edge_cl import Learner, features_bundle
from edge_cl.errors import EdgeCLError, StateError, StorageError
from edge_cl.sealed import MAX_HEADER_BYTES
from edge_cl.store import Store
from edge_cl.store.snapshots import read_saved

BUNDLE = features_bundle([[1.0, -1.0, 1.0]])
OTHER = features_bundle([[2.0, 1.0, 2.0]])
X = np.random.default_rng(0).standard_normal((30, 3)).astype(np.float32)
LABELS = [f"class {i % 3}" for i in range(30)]


def taught(folder, **options):
    learner = Learner.open(folder, bundle=BUNDLE, **options)
    for x, label in zip(X, LABELS, strict=True):
        learner.learn(x, label)
        learner.predict(x)
    return learner


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


@pytest.fixture
def saved(tmp_path):
    """A state folder whose two snapshots say the same."""
    with taught(tmp_path / "state", durability="save"):
        pass
    return tmp_path / "state"


@pytest.mark.parametrize("head", ["ridge", "lda", "ncm", "ncm-euclidean"])
@pytest.mark.parametrize("feature_map", ["identity", "l2", "random-relu:64"])
def test_reopening_gives_the_same_bits(tmp_path, head, feature_map):
    with taught(tmp_path, head=head, feature_map=feature_map) as learner:
        learner.forget(X[3], LABELS[3])
        scores, status = learner.scores(X), learner.status
    with Learner.open(tmp_path) as again:
        assert_array_equal(again.scores(X), scores)
        assert not again.status.unsaved
        for name in ("samples_per_class", "undoable", "head", "feature_map", "saturated_share"):
            assert getattr(again.status, name) == getattr(status, name)
        again.undo(29)
        assert again.status.samples == 0


def test_saving_again_writes_the_same_bytes(saved):
    before = contents(saved)
    for _ in range(5):
        with Learner.open(saved) as learner:
            learner.save()
        assert contents(saved) == before


def test_learning_nothing_after_reopening_changes_no_bit(saved):
    with Learner.open(saved) as learner:
        before = learner.scores(X)
        learner.learn_many([], [])
        assert_array_equal(learner.scores(X), before)
        assert not learner.status.unsaved


def test_the_bundle_that_was_given_is_kept_with_the_state(tmp_path):
    Learner.open(tmp_path / "a", bundle=BUNDLE).close()
    with Learner.open(tmp_path / "a") as learner:
        assert learner.bundle.sha256 == BUNDLE.sha256


def test_a_state_is_private_to_its_owner(saved):
    assert saved.stat().st_mode & 0o077 == 0
    assert all(p.stat().st_mode & 0o077 == 0 for p in saved.glob("snapshot-*"))
    assert (saved / "events.db").stat().st_mode & 0o077 == 0


# -- damage --------------------------------------------------------------------------------


def refused(path, data, good):
    """The reader raises StateError, or has read exactly the good state."""
    if data is not None:
        path.write_bytes(data)
    try:
        state = read_saved(path)
    except StateError as error:
        assert str(error).count("\n") == 0
        return True
    assert state.header == good.header
    for name, a in good.tensors.items():
        assert_array_equal(state.tensors[name], a)
    return False


@pytest.mark.parametrize("kind", ["one bit", "one byte", "a zeroed page", "three bytes"])
def test_thousands_of_damaged_snapshots_are_refused(saved, kind):
    path = saved / "snapshot-0.safetensors"
    good, state = path.read_bytes(), read_saved(path)
    chance, through = random.Random(kind), 0
    for _ in range(1500):
        data = bytearray(good)
        position = chance.randrange(len(data))
        if kind == "one bit":
            data[position] ^= 1 << chance.randrange(8)
        elif kind == "a zeroed page":
            data[position : position + 64] = bytes(len(data[position : position + 64]))
        else:
            for _ in range(1 if kind == "one byte" else 3):
                data[chance.randrange(len(data))] = chance.randrange(256)
        through += not refused(path, bytes(data), state)
    assert through < 60  # blanks of the header, a byte that was what it became


def test_every_truncation_is_refused(saved):
    path = saved / "snapshot-0.safetensors"
    good, state = path.read_bytes(), read_saved(path)
    assert all(refused(path, good[:end], state) for end in range(len(good)))
    assert refused(path, good + b"\0", state)


def refuses(folder, data):
    for place in (0, 1):
        (folder / f"snapshot-{place}.safetensors").write_bytes(data)
    with pytest.raises(StateError):
        Store(folder, read_only=True).load()


@given(st.binary(max_size=200))
def test_noise_is_refused(tmp_path, noise):
    refuses(tmp_path, noise)


@pytest.mark.parametrize(
    "data",
    [
        (1 << 62).to_bytes(8, "little") + b"{}",
        (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}",
        (200_000).to_bytes(8, "little") + b'{"__metadata__":' + b"[" * 199_984,
        (2).to_bytes(8, "little") + b"{}",
        (4).to_bytes(8, "little") + b"\xff\xff\xff\xff",
        (36).to_bytes(8, "little") + b'{"__metadata__":{"edge_cl":"\xff","sh":1}',
    ],
)
def test_headers_that_lie_are_refused(tmp_path, data):
    refuses(tmp_path, data)


def forgeries():
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        taught(folder).close()
        data = read_newest(folder)
    return [pytest.param(forged, id=what) for what, forged in attacks.forgeries(data)]


def read_newest(folder):
    from pathlib import Path

    paths = [Path(folder) / f"snapshot-{place}.safetensors" for place in (0, 1)]
    return max(paths, key=lambda path: read_saved(path).header.seq).read_bytes()


@pytest.mark.parametrize("forged", forgeries())
def test_a_forged_state_is_refused_by_whoever_opens_or_merges_it(saved, forged):
    for place in (0, 1):
        (saved / f"snapshot-{place}.safetensors").write_bytes(forged)
    with pytest.raises(StateError):
        Learner.open(saved)
    learner = Learner.open(bundle=BUNDLE)
    learner.learn(X[0], "a")
    before = learner.scores(X), learner.status
    with pytest.raises(StateError):
        learner.merge(saved)
    assert_array_equal(learner.scores(X), before[0])
    assert learner.status == before[1]


def test_a_refused_state_is_left_alone_and_unlocked(saved):
    before = contents(saved)
    for place in (0, 1):
        name = f"snapshot-{place}.safetensors"
        (saved / name).write_bytes(before[name][:-1])
    damaged = contents(saved)
    with pytest.raises(StateError) as caught:
        Learner.open(saved)
    assert caught.value.hint
    assert contents(saved) == damaged
    for name, data in before.items():
        (saved / name).write_bytes(data)
    Learner.open(saved).close()


@pytest.mark.parametrize("member", ["encoder.edgecl"])
def test_a_damaged_kept_bundle_is_refused(saved, member):
    data = bytearray((saved / member).read_bytes())
    data[len(data) // 2] ^= 1
    (saved / member).write_bytes(data)
    with pytest.raises(EdgeCLError):
        Learner.open(saved)


# -- who may open, and with what ------------------------------------------------------------


def test_another_encoder_is_refused_and_named(saved):
    with pytest.raises(StateError, match="was learned with encoder") as caught:
        Learner.open(saved, bundle=OTHER)
    assert "its own bundle" in caught.value.hint
    Learner.open(saved).close()  # what was kept is as it was


def test_another_map_is_refused(saved):
    with pytest.raises(StateError, match="l2"):
        Learner.open(saved, feature_map="l2")
    Learner.open(saved, feature_map="identity").close()


OPEN = "import sys, edge_cl; edge_cl.Learner.open(sys.argv[1], read_only=sys.argv[2] == 'r')"


def opened_elsewhere(folder, how):
    return subprocess.run(
        [sys.executable, "-c", OPEN, str(folder), how], capture_output=True, text=True
    ).stderr


def test_one_writer_and_any_number_of_readers(saved):
    with Learner.open(saved):
        assert "StorageError" in opened_elsewhere(saved, "w")
        assert opened_elsewhere(saved, "r") == ""
        with pytest.raises(StorageError, match="in use"):
            Learner.open(saved)
        with Learner.open(saved, read_only=True) as reader:
            assert reader.status.samples == 30
    assert opened_elsewhere(saved, "w") == ""


def test_a_killed_writer_leaves_no_lock(saved):
    code = OPEN + "; import os; os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(saved), "w"], check=False)
    Learner.open(saved).close()


def test_a_reader_writes_nothing(saved):
    before = contents(saved)
    with Learner.open(saved, read_only=True, head="lda") as reader:
        for write in (reader.save, reader.undo, lambda: reader.learn(X[0], "new")):
            with pytest.raises(StorageError, match="reading only"):
                write()
    assert contents(saved) == before


def test_a_closed_learner_never_writes_again(saved):
    learner = Learner.open(saved)
    learner.close()
    learner.close()
    before = contents(saved)
    with Learner.open(saved):  # somebody else's turn
        for write in (learner.save, learner.undo, lambda: learner.learn(X[0], "new")):
            with pytest.raises(StorageError, match="closed"):
                write()
        learner.close()
    assert contents(saved) == before


def test_a_folder_that_cannot_be_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError):
            Learner.open(folder, bundle=BUNDLE)
    with pytest.raises(StorageError):
        Learner.open(tmp_path / "file", bundle=BUNDLE, read_only=True)
