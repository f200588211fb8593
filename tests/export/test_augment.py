"""Changed copies: other pictures of the same size, the same again for a seed, widening ranges."""

import numpy as np
import pytest
from export_samples import blobs
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_cl.errors import InputError
from edge_cl_export.pictures.augment import augmented
from edge_cl_export.pictures.calibration import Pictures


def some(n=6, groups=None):
    images, labels = blobs(n)
    return Pictures(tuple(map(str, range(n))), labels, lambda i: images[i], groups)


shapes = st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))


@given(hnp.arrays(np.uint8, shapes), st.integers(0, 2**32 - 1))
def test_a_copy_is_a_picture_of_the_same_size_and_the_picture_stays_as_it_is(picture, seed):
    before = picture.copy()
    made = augmented(picture, np.random.default_rng(seed))
    assert (made.shape, made.dtype) == (picture.shape, np.uint8)
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(augmented(picture, np.random.default_rng(seed)), made)


def test_the_pictures_come_first_unchanged_and_each_copy_is_another():
    pictures = some()
    all_ = pictures.augmented(2, seed=0)
    assert len(all_) == 18
    assert len(set(all_.names)) == 18
    for i in range(6):
        np.testing.assert_array_equal(all_.read(i), pictures.read(i))
        copies = [all_.read(i + 6 * k).tobytes() for k in range(3)]
        assert len(set(copies)) == 3
        np.testing.assert_array_equal(all_.read(i + 6), all_.read(i + 6))
    assert all_.labels.tolist() == pictures.labels.tolist() * 3
    assert some().augmented(1, seed=1).read(6).tobytes() != all_.read(6).tobytes()


@pytest.mark.parametrize("groups", [None, np.arange(24) // 4], ids=["no groups", "groups"])
def test_a_picture_and_its_copies_are_on_one_side(groups):
    all_ = some(24, groups).augmented(3, seed=0)
    expected = np.arange(24) if groups is None else groups
    np.testing.assert_array_equal(all_.groups.reshape(4, 24), [expected] * 4)
    split = all_.split(0)
    assert split.by == "group"
    sides = [{name.partition(" ")[0] for name in side.names} for side in split]
    assert not sides[0] & sides[1]


def test_copies_see_more_light_and_less_than_the_pictures():
    images = np.full((1, 16, 16, 3), 128, np.uint8)
    images[0, 4:8] = 190
    pictures = Pictures(("grey",), None, lambda i: images[i]).augmented(40, seed=0)
    copies = np.stack([pictures.read(i) for i in range(1, 41)])
    assert copies.min() < 100
    assert copies.max() > 220
    flipped = np.arange(16, dtype=np.uint8)[None, :, None].repeat(16, 0).repeat(3, 2) * 15
    slopes = [
        np.diff(augmented(flipped, np.random.default_rng(i)).astype(int), axis=1).mean() > 0
        for i in range(200)
    ]
    assert 60 < sum(slopes) < 140  # mirrored half of the time


def test_fewer_than_no_copies_are_refused():
    assert some().augmented(0, seed=0).names == some().names
    with pytest.raises(InputError, match="expected 0 or more changed copies"):
        some().augmented(-1, seed=0)
