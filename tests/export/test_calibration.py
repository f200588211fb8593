"""Pictures come from anywhere, are read lazily, and are never used twice, nor is their group."""

import zipfile

import numpy as np
import pytest
from export_samples import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_cl.bundle import InputSpec
from edge_cl.errors import InputError
from edge_cl_export.pictures import calibration as module
from edge_cl_export.pictures.calibration import (
    CALIBRATION,
    FEWEST,
    VALIDATION,
    Pictures,
    demo_pictures,
    open_pictures,
)

SPEC = InputSpec(
    kind="image", shape=(32, 32, 3), dtype="uint8", layout="HWC", colour="RGB",
    resize="bicubic", fit="crop",
)  # fmt: skip


def numbered(n, labels=None, groups=None):
    return Pictures(
        tuple(str(i) for i in range(n)),
        np.arange(n) if labels is None else labels,
        lambda i: np.full((32, 32, 3), i % 256, np.uint8),
        groups,
    )


def put(folder, names):
    """Write a small picture at each of `names`, the i-th of grey i."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 7), (i, i, i)).save(folder / name)
    return folder


def told(pictures, kind):
    """Return the sets of file names of one class, or of one group."""
    index = getattr(pictures, kind)
    if index is None:
        return None
    names = np.array([name.rpartition("/")[2] for name in pictures.names])
    return sorted("".join(sorted(n[0] for n in names[index == i])) for i in np.unique(index))


# -- splits ------------------------------------------------------------------


@given(st.integers(FEWEST, 2000), st.integers(0, 99))
def test_calibration_and_validation_share_no_picture(n, seed):
    calibration, validation = numbered(n).split(seed)
    assert not set(calibration.names) & set(validation.names)
    assert len(calibration) >= FEWEST // 2
    assert len(validation) >= FEWEST // 2
    assert numbered(n).split(seed)[0].names == calibration.names
    assert [int(name) for name in validation.names] == validation.labels.tolist()


@settings(max_examples=100)
@given(st.integers(FEWEST, 900), st.integers(1, 40), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_no_group_is_on_both_sides_or_the_split_says_so(n, groups, classes, seed):
    rng = np.random.default_rng(seed)
    pictures = numbered(n, rng.integers(0, classes, n), rng.integers(0, groups, n))
    split = pictures.split(seed % 100)
    calibration, validation = split
    assert not set(calibration.names) & set(validation.names)
    assert FEWEST // 2 <= len(calibration) <= CALIBRATION
    assert FEWEST // 2 <= len(validation) <= VALIDATION
    shared = set(calibration.groups.tolist()) & set(validation.groups.tolist())
    assert (split.by == "group") == (not shared)
    for side in split:  # what is said of a picture stays with it
        at = [int(name) for name in side.names]
        np.testing.assert_array_equal(side.groups, pictures.groups[at])
        np.testing.assert_array_equal(side.labels, pictures.labels[at])
    assert pictures.split(seed % 100)[1].names == validation.names


@given(st.integers(2, 30), st.integers(2, 6), st.integers(4, 12), st.integers(0, 2**32 - 1))
def test_every_class_with_two_groups_is_on_both_sides(classes, groups, size, seed):
    labels = np.repeat(np.arange(classes), groups * size)
    split = numbered(len(labels), labels, np.repeat(np.arange(classes * groups), size)).split(seed)
    assert split.by == "group"
    for side in split:
        assert set(side.labels.tolist()) == set(range(classes))
        counts = np.bincount(side.labels)
        assert counts.max() - counts.min() <= 1 or len(side) < CALIBRATION


def test_sessions_that_hold_every_class_are_split_as_sessions():
    labels, groups = np.tile(np.arange(5), 60), np.repeat(np.arange(3), 100)
    split = numbered(300, labels, groups).split(3)
    assert split.by == "group"
    assert [len(np.unique(side.groups)) for side in split] == [1, 2]
    assert [len(np.unique(side.labels)) for side in split] == [5, 5]


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        (np.arange(20) % 2, np.zeros(20, int)),
        (np.arange(20) % 2, np.array([0] * 18 + [1] * 2)),
        (np.repeat([0, 1], 10), np.repeat([0, 1], 10)),
    ],
    ids=["one group", "a group too small", "one class left to judge on"],
)
def test_too_few_groups_are_split_by_picture_and_the_split_says_so(labels, groups):
    split = numbered(20, labels, groups).split(0)
    assert split.by == "picture"
    assert [len(side) for side in split] == [10, 10]
    assert split.calibration.names == numbered(20, labels).split(0).calibration.names


def test_without_groups_a_split_is_by_picture():
    assert numbered(99).split(0).by == "picture"


def test_too_few_pictures_are_refused():
    with pytest.raises(InputError, match="at least 8 calibration pictures, got 7"):
        numbered(7).split(0)


def test_what_is_picked_from_a_pick_is_still_the_right_picture():
    some = numbered(100, groups=np.arange(100) // 10).pick([7, 50, 9]).pick([1, 0])
    assert [int(some.read(i)[0, 0, 0]) for i in range(2)] == [50, 7] == some.labels.tolist()
    assert some.groups.tolist() == [5, 0]


def test_batches_hold_every_picture_once_at_the_right_size():
    pictures = numbered(7)
    batches = list(pictures.batches(SPEC, 3))
    assert [b.shape for b in batches] == [(3, 32, 32, 3), (3, 32, 32, 3), (1, 32, 32, 3)]
    assert np.concatenate(batches)[:, 0, 0, 0].tolist() == list(range(7))


# -- what folders say --------------------------------------------------------

LAYOUTS = {
    "flat": (["a.png", "b.png"], None, None),
    "classes": (["cup/a.png", "cup/b.png", "key/c.png"], ["ab", "c"], None),
    "classes below one folder": (["in/cup/a.png", "in/key/b.png"], ["a", "b"], None),
    "sessions": (
        ["dawn/cup/a.png", "dawn/key/b.png", "dusk/cup/c.png", "dusk/key/d.png"],
        ["ac", "bd"],
        ["ab", "cd"],
    ),
    "numbered sessions": (
        ["s1/cup/a.png", "s1/key/b.png", "s2/pen/c.png"],
        ["a", "b", "c"],
        ["ab", "c"],
    ),
    "clips": (
        ["cup/red/a.png", "cup/red/b.png", "cup/blue/c.png", "key/old/d.png"],
        ["abc", "d"],
        ["ab", "c", "d"],
    ),
    "numbered clips": (
        ["cup/1/a.png", "cup/2/b.png", "key/1/c.png", "key/2/d.png"],
        ["ab", "cd"],
        ["a", "b", "c", "d"],
    ),
    "clips in part": (
        ["cup/a.png", "cup/x/b.png", "cup/x/c.png", "key/d.png"],
        ["abc", "d"],
        ["a", "bc", "d"],
    ),
    "deeper": (
        ["cup/red/1/a.png", "cup/red/2/b.png", "cup/blue/1/c.png", "key/old/1/d.png"],
        ["abc", "d"],
        ["ab", "c", "d"],
    ),
}


@pytest.mark.parametrize(("names", "classes", "groups"), LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_folders_tell_classes_and_groups(tmp_path, names, classes, groups, packed):
    place = put(tmp_path / "in", names)
    (place / ".hidden.png").write_bytes(b"no")
    (place / "notes.txt").write_text("no")
    if packed:
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
            for file in place.rglob("*.*"):
                archive.write(file, file.relative_to(place))
        place = tmp_path / "in.zip"
    found = open_pictures(place)
    assert len(found) == len(names)
    assert told(found, "labels") == classes
    assert told(found, "groups") == groups
    greys = {name.rpartition("/")[2]: i for i, name in enumerate(names)}
    for i, name in enumerate(found.names):
        assert int(found.read(i)[0, 0, 0]) == greys[name.rpartition("/")[2]]


def test_pictures_beside_the_classes_and_one_class_alone_have_no_labels(tmp_path):
    put(tmp_path, ["cup/a.png", "key/b.png", "c.png"])
    assert open_pictures(tmp_path).labels is None
    assert open_pictures(tmp_path / "cup").labels is None


def test_a_folder_is_not_read_before_its_pictures_are_needed(tmp_path, monkeypatch):
    put(tmp_path, [f"{c}/{g}/{i}.png" for c in "pq" for g in ("u", "v", "w") for i in range(20)])
    reads = []
    real = module.read_picture
    monkeypatch.setattr(module, "read_picture", lambda path: reads.append(path) or real(path))
    calibration, _ = open_pictures(tmp_path).split(0)
    assert reads == []
    batches = calibration.batches(SPEC, 4)
    next(batches)
    assert len(reads) == 4
    next(batches)
    assert len(reads) == 8


def test_a_hundred_thousand_names_are_split_without_reading_one():
    def never(i):
        raise AssertionError(f"read {i}")

    n = 100_000
    pictures = Pictures(tuple(map(str, range(n))), np.arange(n) % 50, never, np.arange(n) // 10)
    split = pictures.split(0)
    assert [len(side) for side in split] == [CALIBRATION, VALIDATION]
    assert split.by == "group"


# -- arrays ------------------------------------------------------------------


def test_arrays_are_pictures(tmp_path):
    images, labels = blobs(9)
    groups = np.array(["b", "a", "b"] * 3)
    np.savez(tmp_path / "a.npz", images=images, labels=labels, groups=groups)
    np.save(tmp_path / "a.npy", images)
    found = open_pictures(tmp_path / "a.npz")
    assert found.labels.tolist() == labels.tolist()
    assert found.groups.tolist() == [1, 0, 1] * 3
    np.testing.assert_array_equal(open_pictures(tmp_path / "a.npy").read(3), images[3])
    assert open_pictures(tmp_path / "a.npy").labels is None
    assert open_pictures(tmp_path / "a.npy").groups is None


def arrays_of_the_wrong_kind(folder):
    images = blobs(9)[0]
    np.save(folder / "floats.npy", images / 255.0)
    np.save(folder / "one.npy", images[0, 0])
    np.save(folder / "none.npy", images[:0])
    np.save(folder / "alpha.npy", np.zeros((9, 8, 8, 4), np.uint8))
    np.savez(folder / "labels.npz", images=images, labels=np.zeros(3))
    np.savez(folder / "groups.npz", images=images, groups=np.zeros((9, 2)))
    np.savez(folder / "x.npz", x=images)
    sizes = np.empty(2, object)
    sizes[:] = [images[0], images[1][:20]]
    np.savez(folder / "sizes.npz", images=sizes)
    np.savez(folder / "cut.npz", images=images)
    np.save(folder / "one-array.npz.npy", images)
    (folder / "one-array.npz.npy").rename(folder / "one-array.npz")
    (folder / "cut.npz").write_bytes((folder / "cut.npz").read_bytes()[:900])


WRONG = {
    "floats.npy": ("got float64", "astype"),
    "one.npy": (r"got uint8 \(40, 3\)", ""),
    "none.npy": (r"got uint8 \(0, 40, 40, 3\)", ""),
    "alpha.npy": ("expected 1 or 3 channels", ""),
    "labels.npz": ("expected 9 labels", ""),
    "groups.npz": (r"expected 9 groups, got shape \(9, 2\)", ""),
    "x.npz": ("holds x, expected images", ""),
    "sizes.npz": ("holds Python objects", "several sizes"),
    "cut.npz": ("cannot read", ""),
    "one-array.npz": ("is one array", ".npy"),
    "bad.npz": ("cannot read", ""),
    "bad.zip": ("cannot read", ""),
    "bare.zip": ("holds no pictures", "png"),
    "text.txt": ("cannot calibrate on", "folder"),
    "empty": ("holds no pictures", "folder"),
    "nothing": ("no such folder or file", ""),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_source_of_the_wrong_kind_is_refused_in_one_line(tmp_path, name):
    arrays_of_the_wrong_kind(tmp_path)
    (tmp_path / "empty").mkdir()
    for bad in ("bad.zip", "bad.npz", "text.txt"):
        (tmp_path / bad).write_text("no")
    with zipfile.ZipFile(tmp_path / "bare.zip", "w") as archive:
        archive.writestr("notes.txt", "no")
    expected, hint = WRONG[name]
    with pytest.raises(InputError, match=expected) as caught:
        open_pictures(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert hint in caught.value.hint


# -- pictures ----------------------------------------------------------------


def pictures_of_many_kinds(folder):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    (folder / "text.png").write_text("no picture at all")
    (folder / "zero.png").write_bytes(b"")
    noise = np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8)
    Image.fromarray(noise).save(folder / "whole.png")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:1500])
    Image.fromarray(np.full((8, 8), 1 << 20, np.int32)).save(folder / "deep.tif")
    Image.fromarray(grey.astype(np.uint16) << 8).save(folder / "sixteen.png")
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    return grey


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("text.png", "is not a picture"),
        ("zero.png", "is empty"),
        ("cut.png", "damaged picture"),
        ("deep.tif", "32 bits"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_what_is_no_picture_is_refused_by_name(tmp_path, name, said, packed):
    pictures_of_many_kinds(tmp_path)
    place = tmp_path
    if packed:
        place = tmp_path / "in.zip"
        with zipfile.ZipFile(place, "w") as archive:
            archive.write(tmp_path / name, name)
    found = open_pictures(place)
    at = next(i for i, full in enumerate(found.names) if full.endswith(name))
    with pytest.raises(InputError, match=said) as caught:
        list(found.pick([at]).batches(SPEC, 1))
    assert str(caught.value).count(name) == 1
    assert "\n" not in str(caught.value)


def test_a_moving_picture_and_one_of_sixteen_bits_are_read_as_a_device_reads_them(tmp_path):
    from edge_cl.sources import read_picture

    grey = pictures_of_many_kinds(tmp_path)
    found = open_pictures(tmp_path)
    for i, name in enumerate(found.names):
        if name.endswith(("sixteen.png", "moving.gif")):
            np.testing.assert_array_equal(found.read(i), read_picture(tmp_path / name))
        if name.endswith("sixteen.png"):
            np.testing.assert_array_equal(found.read(i)[:, :, 0], grey)


# -- what ships --------------------------------------------------------------


def test_the_shipped_pictures_calibrate_without_the_ones_the_demo_tests_on():
    shipped = demo_pictures()
    assert len(shipped) > 1000
    assert not any("evening/" in name or "/test/" in name for name in shipped.names)
    assert len(np.unique(shipped.labels)) == 30
    assert shipped.read(len(shipped) - 1).dtype == np.uint8


def test_an_object_of_the_shipped_pictures_is_on_one_side_only():
    split = demo_pictures().split(0)
    assert split.by == "group"
    assert [len(side) for side in split] == [CALIBRATION, VALIDATION]

    def objects(side):
        paths = [name.split("/")[-2:] for name in side.names if "household" in name]
        return {(label, file.partition("-")[0]) for label, file in paths}

    assert objects(split.calibration)
    assert objects(split.validation)
    assert not objects(split.calibration) & objects(split.validation)
    for side in split:
        assert len(np.unique(side.labels)) == 30
