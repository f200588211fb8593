"""A small picture goes where its lesson goes, and never decides about one."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from edge_cl import Learner, features_bundle
from edge_cl.errors import InputError
from edge_cl.thumbnails import SIDE, Thumbnails, thumbnail

PICTURES = np.random.default_rng(0).integers(0, 255, (6, 40, 60, 3), np.uint8)
NAMES = ["mug", "cup", "mug", "vase", "cup", "mug"]


@pytest.fixture
def shown(tmp_path):
    with Learner.open(tmp_path / "state", thumbnails=True, head="ncm") as learner:
        for picture, name in zip(PICTURES, NAMES, strict=True):
            learner.learn(picture, name)
        yield learner, tmp_path / "state" / "thumbnails"


def numbers(folder):
    return sorted(int(path.stem) for path in folder.iterdir())


@pytest.mark.parametrize("shape", [(300, 200, 3), (20, 700), (1, 1, 3)])
def test_a_thumbnail_is_a_small_picture(shape):
    small = Image.open(io.BytesIO(thumbnail(np.full(shape, 77, np.uint8))))
    assert small.format == "JPEG"
    assert max(small.size) <= SIDE
    assert abs(int(np.asarray(small).mean()) - 77) <= 2


def test_there_are_none_unless_asked_for(tmp_path):
    with Learner.open(tmp_path, head="ncm") as learner:
        learner.learn(PICTURES[0], "mug")
    assert not (tmp_path / "thumbnails").exists()


def test_each_lesson_has_one_under_its_number(shown):
    learner, folder = shown
    learner.learn_many(PICTURES[:2], ["jug", "jug"])
    assert numbers(folder) == list(range(1, 9))
    assert (folder / "8.jpg").read_bytes() == thumbnail(PICTURES[1])
    assert folder.stat().st_mode & 0o077 == 0


def test_a_retry_adds_none(shown):
    learner, folder = shown
    for _ in range(3):
        learner.learn(PICTURES[0], "mug", event=bytes(15) + b"\1")
    assert numbers(folder) == list(range(1, 8))


@pytest.mark.parametrize(
    ("take_back", "left"),
    [
        (lambda learner: learner.undo(2), [1, 2, 3, 4]),
        (lambda learner: learner.forget(PICTURES[2], "mug"), [1, 2, 4, 5, 6]),
        (lambda learner: learner.forget_lesson(4), [1, 2, 3, 5, 6]),
        (lambda learner: learner.forget_class("mug"), [2, 4, 5]),
        (lambda learner: learner.rename_class("mug", "jug"), [1, 2, 3, 4, 5, 6]),
    ],
)
def test_it_goes_with_its_lesson(shown, take_back, left):
    learner, folder = shown
    take_back(learner)
    assert numbers(folder) == left


def test_it_goes_when_the_lesson_is_rolled_back(shown):
    learner, folder = shown
    learner.save_version("good")
    learner.learn(PICTURES[0], "jug")
    learner.rollback("good")
    assert numbers(folder) == [1, 2, 3, 4, 5, 6]


def test_it_leaves_with_its_row_of_the_ring(tmp_path):
    kept = Thumbnails(tmp_path / "thumbnails", 4)
    for number in range(1, 11):
        kept.keep(number, [b"x"])
    assert numbers(tmp_path / "thumbnails") == [7, 8, 9, 10]
    kept.keep(16, [b"y"] * 6)
    assert numbers(tmp_path / "thumbnails") == [13, 14, 15, 16]


def test_a_lesson_counts_whose_thumbnail_cannot_be_kept(tmp_path):
    with Learner.open(tmp_path, thumbnails=True, head="ncm") as learner:
        (tmp_path / "thumbnails").write_text("in the way")
        with pytest.warns(UserWarning, match="thumbnails"):
            assert learner.learn(PICTURES[0], "mug").durable
        assert learner.status.samples == 1


def test_vectors_have_none(tmp_path):
    bundle = features_bundle([[1.0, -1.0]])
    with pytest.raises(InputError, match="pictures"):
        Learner.open(tmp_path, bundle=bundle, thumbnails=True)
    assert os.listdir(tmp_path) in ([], ["lock"])
