"""The demonstration keeps what it promises, on fewer pictures."""

import json

import pytest
from typer.testing import CliRunner

from edge_cl.cli import app
from edge_cl.demo.pictures import fashion, household, unpack_household


@pytest.mark.parametrize(("pictures", "classes"), [(household, 20), (fashion, 10)])
def test_the_pictures_that_ship_are_what_they_should_be(pictures, classes):
    shown = pictures(limit=2)
    assert len(set(shown.classes)) == classes
    for part in (shown.train, shown.test):
        assert set(part.labels) == set(shown.classes)
        assert all(p.ndim == 3 and p.shape[2] == 3 and p.std() > 5 for p in part.pictures)


def test_training_and_test_pictures_differ():
    shown = household()
    train = {picture.tobytes() for picture in shown.train.pictures}
    assert len(train) == len(shown.train.pictures)
    assert not any(picture.tobytes() in train for picture in shown.test.pictures)


def test_unpacking_makes_a_folder_a_session_and_a_class(tmp_path):
    count = unpack_household(tmp_path)
    assert count == len(list(tmp_path.glob("*/*/*.jpg"))) == 1080
    assert (tmp_path / "studio" / "mug").is_dir()


@pytest.mark.slow
def test_the_demonstration_passes_and_draws_its_picture(tmp_path):
    out = tmp_path / "out"
    for _ in range(2):  # running again does no harm
        done = CliRunner().invoke(app, ["demo", "--quick", "--json", "--out", str(out)])
        assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["passed"]
    assert (out / "demo.png").stat().st_size > 20_000
    for stream in report["streams"]:
        assert max(stream["joint_difference"].values()) < 1e-9
        assert stream["accuracy"]["ridge"][-1] == stream["joint_accuracy"]["ridge"]
        assert stream["accuracy"]["ridge"][-1] > stream["sgd_accuracy"][-1] + 0.2
    assert report["keeping"]["undo_equal"]
    assert report["keeping"]["forget_equal"]
    assert report["keeping"]["reopened_equal"]
