"""Pictures come from anywhere, are read lazily, and are never used twice."""

import zipfile

import numpy as np
import pytest
from export_samples import blobs
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge_cl.bundle import InputSpec
from edge_cl.errors import InputError
from edge_cl_export.calibration import FEWEST, Pictures, demo_pictures, open_pictures

SPEC = InputSpec(
    kind="image", shape=(32, 32, 3), dtype="uint8", layout="HWC", colour="RGB",
    resize="bicubic", fit="crop",
)  # fmt: skip


def numbered(n):
    return Pictures(
        tuple(str(i) for i in range(n)),
        np.arange(n),
        lambda i: np.full((32, 32, 3), i % 256, np.uint8),
    )


@given(st.integers(FEWEST, 2000), st.integers(0, 99))
def test_calibration_and_validation_share_no_picture(n, seed):
    calibration, validation = numbered(n).split(seed)
    assert not set(calibration.names) & set(validation.names)
    assert len(calibration) >= FEWEST // 2
    assert len(validation) >= FEWEST // 2
    assert numbered(n).split(seed)[0].names == calibration.names
    assert [int(name) for name in validation.names] == validation.labels.tolist()


def test_what_is_picked_from_a_pick_is_still_the_right_picture():
    some = numbered(100).pick([7, 50, 9]).pick([1, 0])
    assert [int(some.read(i)[0, 0, 0]) for i in range(2)] == [50, 7] == some.labels.tolist()


def test_batches_hold_every_picture_once_at_the_right_size():
    pictures = numbered(7)
    batches = list(pictures.batches(SPEC, 3))
    assert [b.shape for b in batches] == [(3, 32, 32, 3), (3, 32, 32, 3), (1, 32, 32, 3)]
    assert np.concatenate(batches)[:, 0, 0, 0].tolist() == list(range(7))


def test_folders_inside_a_folder_or_an_archive_are_classes(tmp_path):
    images, labels = blobs(10)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "in" / ["cup", "key"][label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:02}.png")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for file in (tmp_path / "in").rglob("*.png"):
            archive.write(file, file.relative_to(tmp_path / "in"))
    for source in ("in", "in.zip"):
        found = open_pictures(tmp_path / source)
        assert found.labels.tolist() == [0] * 5 + [1] * 5
        np.testing.assert_array_equal(found.read(0), images[0])
    assert open_pictures(tmp_path / "in" / "cup").labels is None


def test_arrays_are_pictures(tmp_path):
    images, labels = blobs(9)
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    np.save(tmp_path / "a.npy", images)
    assert open_pictures(tmp_path / "a.npz").labels.tolist() == labels.tolist()
    assert open_pictures(tmp_path / "a.npy").labels is None
    np.testing.assert_array_equal(open_pictures(tmp_path / "a.npy").read(3), images[3])


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.zip").write_bytes(b"no")
    (tmp_path / "bad.npz").write_bytes(b"no")
    (tmp_path / "text.txt").write_text("no")
    np.save(tmp_path / "floats.npy", np.zeros((9, 4, 4, 3)))
    np.savez(tmp_path / "labels.npz", images=blobs(9)[0], labels=np.zeros(3))
    names = ["empty", "bad.zip", "bad.npz", "text.txt", "floats.npy", "labels.npz", "nothing"]
    for name in names:
        with pytest.raises(InputError):
            open_pictures(tmp_path / name)
    (tmp_path / "empty" / "zero.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"zero\.png is not a picture"):
        open_pictures(tmp_path / "empty").read(0)
    with pytest.raises(InputError, match="at least 8"):
        open_pictures(tmp_path / "empty").split(0)


def test_the_shipped_pictures_calibrate_without_the_ones_the_demo_tests_on():
    shipped = demo_pictures()
    assert len(shipped) > 1000
    assert not any("evening/" in name or "/test/" in name for name in shipped.names)
    assert len(np.unique(shipped.labels)) >= 30
    assert shipped.read(len(shipped) - 1).dtype == np.uint8
