import io
import os
import threading
import time
from contextlib import suppress

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from edge_cl import sources
from edge_cl.errors import InputError, MissingExtraError, SourceError
from edge_cl.sources import Camera, PathLines, Sample, Unusable, open_source, read_picture
from edge_cl.sources.path_lines import MAX_LINE_BYTES, parse_line

file_settings = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def save_picture(path, colour=(10, 20, 30), size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def samples(source):
    items = list(source)
    assert all(isinstance(item, Sample) for item in items)
    return items


# -- folders and pictures --------------------------------------------------------------------


def test_a_folder_gives_sorted_pictures_labelled_by_their_class_folder(tmp_path):
    for name in ("b/2.jpg", "b/1.png", "a/deep/er/3.jpg", "0.jpg"):
        save_picture(tmp_path / name)
    found = samples(open_source(str(tmp_path)))
    assert [(os.path.relpath(s.name, tmp_path), s.label) for s in found] == [
        ("0.jpg", None),
        ("a/deep/er/3.jpg", "a"),
        ("b/1.png", "b"),
        ("b/2.jpg", "b"),
    ]
    assert found[0].x.shape == (6, 8, 3)
    assert found[0].x.dtype == np.uint8


def test_hidden_files_are_passed_over_and_strays_are_reported(tmp_path):
    save_picture(tmp_path / "a" / "1.jpg")
    save_picture(tmp_path / ".thumbnails" / "1.jpg")
    (tmp_path / "a" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "a" / "notes.txt").write_text("x")
    source = open_source(str(tmp_path))
    stray, sample = list(source)
    assert isinstance(stray, Unusable)
    assert stray.stray
    assert stray.name.endswith("notes.txt")
    assert sample.label == "a"
    assert source.total == 2


def test_shuffling_is_the_same_for_the_same_seed_and_loses_nothing(tmp_path):
    for i in range(20):
        save_picture(tmp_path / "a" / f"{i:02}.png")

    def names(seed):
        return [s.name for s in open_source(str(tmp_path), shuffle=seed)]

    assert names(1) == names(1)
    assert names(1) != names(2)
    assert sorted(names(1)) == names(None)


def test_a_folder_that_contains_itself_through_a_link_ends(tmp_path):
    save_picture(tmp_path / "a" / "1.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert len(samples(open_source(str(tmp_path)))) == 1


def test_a_class_folder_may_be_a_link(tmp_path):
    save_picture(tmp_path / "elsewhere" / "1.jpg")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mug").symlink_to(tmp_path / "elsewhere")
    assert [s.label for s in samples(open_source(str(tmp_path / "photos")))] == ["mug"]


def test_a_bad_picture_does_not_hide_the_ones_after_it(tmp_path):
    save_picture(tmp_path / "1.jpg")
    (tmp_path / "2.jpg").write_bytes(b"")
    save_picture(tmp_path / "3.jpg")
    kinds = [type(item) for item in open_source(str(tmp_path))]
    assert kinds == [Sample, Unusable, Sample]


def test_the_orientation_tag_turns_the_picture(tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(path, exif=exif)
    assert read_picture(path).shape == (8, 4, 3)


def test_what_is_transparent_is_laid_over_white(tmp_path):
    path = tmp_path / "clear.png"
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(path)
    assert (read_picture(path) == 255).all()


def test_sixteen_bit_grey_keeps_its_upper_bits(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((2, 3), 0x8001, np.uint16)).save(path)
    assert (read_picture(path) == 0x80).all()
    assert read_picture(path).shape == (2, 3, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "CMYK", "YCbCr"])
def test_every_usual_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("x.jpg" if mode in ("CMYK", "YCbCr") else "x.png")
    Image.new("RGB", (4, 4), "white").convert(mode).save(path)
    assert read_picture(path).shape == (4, 4, 3)
    assert read_picture(path).min() > 250


def damaged(tmp_path, kind):
    path = tmp_path / f"{kind}.jpg"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no picture")
    elif kind == "cut":
        Image.fromarray(np.arange(30000, dtype=np.uint8).reshape(100, 100, 3)).save(path)
        path.write_bytes(path.read_bytes()[:400])
    elif kind == "float":
        path = path.with_suffix(".tif")
        Image.new("F", (4, 4)).save(path)
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "float", "folder", "missing"])
def test_a_bad_picture_is_one_line_that_names_it(tmp_path, kind):
    path = damaged(tmp_path, kind)
    with pytest.raises(SourceError, match=path.name) as caught:
        read_picture(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limit", [(sources.pictures, "MAX_PIXELS"), (Image, "MAX_IMAGE_PIXELS")])
@pytest.mark.parametrize("pixels", [10, 30])  # Pillow warns above its limit, refuses above twice
def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch, limit, pixels):
    monkeypatch.setattr(*limit, pixels)
    with pytest.raises(SourceError, match="pixels"):
        read_picture(save_picture(tmp_path / "bomb.png"))


@settings(file_settings, max_examples=60)
@given(st.data())
def test_a_picture_with_changed_bytes_is_read_or_refused_and_nothing_else(tmp_path, data):
    kind = data.draw(st.sampled_from(["png", "jpeg", "gif", "bmp", "webp", "tiff"]))
    buffer = io.BytesIO()
    Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(buffer, kind)
    blob = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "fuzzed.png"
    path.write_bytes(blob[: data.draw(st.integers(0, len(blob)))])
    with suppress(SourceError):
        assert read_picture(path).ndim == 3


# -- arrays ----------------------------------------------------------------------------------


def test_rows_of_an_npz_file_carry_their_labels_and_say_which_row(tmp_path):
    np.savez(tmp_path / "f.npz", x=np.eye(2), y=np.array(["mug", "cup"]))
    found = samples(open_source(str(tmp_path / "f.npz")))
    assert [s.label for s in found] == ["mug", "cup"]
    assert found[1].name.endswith("f.npz[1]")
    assert found[1].x.tolist() == [0.0, 1.0]


def test_integer_labels_become_text_and_missing_ones_none(tmp_path):
    np.savez(tmp_path / "i.npz", x=np.eye(2), y=np.array([7, -1]))
    np.savez(tmp_path / "n.npz", x=np.eye(2))
    assert [s.label for s in open_source(str(tmp_path / "i.npz"))] == ["7", "-1"]
    assert [s.label for s in open_source(str(tmp_path / "n.npz"))] == [None, None]


BAD_ARRAYS = {
    "pickled y": {"x": np.eye(2), "y": np.array(["a", None], object)},
    "pickled x": {"x": np.array([[None]], object)},
    "no x": {"features": np.eye(2)},
    "too few y": {"x": np.eye(3), "y": np.array(["a"])},
    "float y": {"x": np.eye(2), "y": np.array([0.5, 1.5])},
    "flat x": {"x": np.arange(4.0)},
    "no rows": {"x": np.zeros((0, 4))},
    "complex x": {"x": np.eye(2) * 1j},
    "text x": {"x": np.array([["a"]])},
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_a_bad_npz_file_is_one_line_that_names_it(tmp_path, name):
    np.savez(tmp_path / "bad.npz", **BAD_ARRAYS[name])
    with pytest.raises(SourceError, match=r"bad\.npz") as caught:
        open_source(str(tmp_path / "bad.npz"))
    assert "\n" not in str(caught.value)


def test_pickled_objects_are_refused_by_that_name(tmp_path):
    np.savez(tmp_path / "bad.npz", **BAD_ARRAYS["pickled y"])
    with pytest.raises(SourceError, match="pickled objects"):
        open_source(str(tmp_path / "bad.npz"))


def test_one_array_under_the_name_of_many_is_refused(tmp_path):
    with (tmp_path / "one.npz").open("wb") as stream:
        np.save(stream, np.eye(2))
    with pytest.raises(SourceError, match="one array"):
        open_source(str(tmp_path / "one.npz"))


labels = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], max_codepoint=0x2FFF), min_size=1, max_size=8
).filter(lambda text: text == text.strip())


@settings(file_settings, max_examples=50)
@given(st.data())
def test_an_npz_file_gives_back_the_rows_that_were_saved(tmp_path, data):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=5))
    x = data.draw(hnp.arrays(np.float32, shape))
    y = data.draw(st.lists(labels, min_size=shape[0], max_size=shape[0]))
    np.savez(tmp_path / "f.npz", x=x, y=np.array(y))
    found = samples(open_source(str(tmp_path / "f.npz")))
    np.testing.assert_array_equal(np.array([s.x for s in found]), x)
    assert [s.label for s in found] == y


@settings(file_settings, max_examples=150)
@given(st.data())
def test_an_npz_file_with_changed_bytes_is_read_or_refused_and_nothing_else(tmp_path, data):
    buffer = io.BytesIO()
    save = data.draw(st.sampled_from([np.savez, np.savez_compressed]))
    save(buffer, x=np.eye(3), y=np.array(["a", "b", "c"]))
    blob = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(0, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "fuzzed.npz"
    path.write_bytes(blob[: data.draw(st.integers(0, len(blob)))])
    with suppress(SourceError):
        samples(open_source(str(path)))


# -- lines -----------------------------------------------------------------------------------

paths = st.text(
    st.characters(exclude_characters="\0\n\r\t", exclude_categories=["Cs"]), min_size=1
).filter(str.strip)


@given(paths, labels)
def test_a_line_is_a_path_or_a_path_and_a_label(path, label):
    assert parse_line(f"{path}\t{label}\n".encode()) == (path, label)
    assert parse_line(f"{path}\r\n".encode()) == (path, None)


@given(st.binary().filter(lambda b: b"\n" not in b))
def test_any_line_is_parsed_or_refused(line):
    try:
        path, label = parse_line(line)
    except SourceError:
        return
    assert path
    assert label is None or label


@settings(deadline=None, max_examples=40)
@given(st.lists(paths, max_size=6), st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_lines_do_not_depend_on_how_the_stream_is_cut(lines, sizes):
    data = "".join(f"{line}\n" for line in lines).encode()
    seen = []

    def open_path(path):
        seen.append(path)
        return []

    reader, writer = os.pipe()

    def write():
        start, i = 0, 0
        while start < len(data):
            size = sizes[i % len(sizes)]
            os.write(writer, data[start : start + size])
            start, i = start + size, i + 1
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    assert list(PathLines(reader, open_path, stop=threading.Event())) == []
    thread.join()
    os.close(reader)
    assert seen == lines


def test_a_label_on_the_line_wins_and_a_bad_line_is_reported(tmp_path):
    picture = save_picture(tmp_path / "1.jpg")
    reader, writer = os.pipe()
    os.write(writer, f"{picture}\tmug\n\n{tmp_path}/none.jpg\n\tcup\n{picture}".encode())
    os.close(writer)
    found = list(PathLines(reader, open_source, stop=threading.Event()))
    os.close(reader)
    assert [type(item) for item in found] == [Sample, Unusable, Unusable, Sample]
    assert [found[0].label, found[3].label] == ["mug", None]


def test_a_stream_of_lines_ends_when_told_to_though_no_line_comes():
    reader, writer = os.pipe()
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    start = time.monotonic()
    assert list(PathLines(reader, open_source, stop=stop)) == []
    assert time.monotonic() - start < 2
    os.close(reader)
    os.close(writer)


def test_a_line_without_an_end_is_refused(tmp_path):
    (tmp_path / "long").write_bytes(b"x" * (3 * MAX_LINE_BYTES))
    with (tmp_path / "long").open("rb") as stream, pytest.raises(SourceError, match="at most"):
        list(PathLines(stream.fileno(), open_source, stop=threading.Event()))


# -- videos and cameras ----------------------------------------------------------------------


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for i in range(12):
        writer.write(np.full((48, 64, 3), (0, 0, 20 * i), np.uint8))  # blue, green, red
    writer.release()
    return path


def test_a_video_gives_every_frame_in_order_as_rgb(clip):
    source = open_source(str(clip))
    found = samples(source)
    assert source.total == len(found) == 12
    assert found[7].name.endswith("clip.avi#7")
    assert found[7].time_s == pytest.approx(0.7)
    assert found[7].x.shape == (48, 64, 3)
    red = [int(s.x[..., 0].mean()) for s in found]
    assert red == pytest.approx([20 * i for i in range(12)], abs=6)
    assert max(int(s.x[..., 2].mean()) for s in found) < 10


def test_every_nth_frame_can_be_taken(clip):
    source = open_source(str(clip), every=5)
    assert [s.name.rpartition("#")[2] for s in source] == ["0", "5", "10"]
    assert source.total == 3


@pytest.mark.parametrize("content", [b"", b"no video" * 50])
def test_a_bad_video_is_one_line_that_names_it(tmp_path, content):
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(SourceError, match=r"bad\.mp4"):
        open_source(str(tmp_path / "bad.mp4"))


def test_a_video_that_ends_early_says_so(clip, monkeypatch):
    source = open_source(str(clip))
    monkeypatch.setattr(source, "_frames", 20)
    last = list(source)[-1]
    assert isinstance(last, Unusable)
    assert last.stray
    assert "12 of 20 frames" in str(last.error)


class FakeCapture:
    """A camera that gives a frame each millisecond, `frames` in all."""

    frames = 1000

    def __init__(self, number):
        self.given = 0
        self.released = False

    def isOpened(self):  # noqa: N802
        return True

    def read(self):
        time.sleep(0.001)
        self.given += 1
        if self.given > self.frames:
            return False, None
        return True, np.full((2, 2, 3), self.given % 256, np.uint8)

    def release(self):
        self.released = True


def test_of_a_camera_the_latest_frame_wins_and_the_others_are_counted(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    stop = threading.Event()
    camera = open_source("camera:0", stop=stop)
    numbers = []
    for sample in camera:
        numbers.append(int(sample.name.partition("#")[2]))
        time.sleep(0.02)
        if len(numbers) == 5:
            stop.set()
    assert numbers == sorted(set(numbers))
    assert numbers[-1] > 20
    assert camera.dropped >= numbers[-1] - len(numbers)
    assert camera._capture.released


def test_a_camera_that_stops_answering_is_an_error_after_its_last_frame(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "frames", 3)
    frames = iter(Camera(0, stop=threading.Event()))
    while int(next(frames).name.partition("#")[2]) < 2:
        pass
    with pytest.raises(SourceError, match="camera:0 no longer"):
        next(frames)


def test_a_camera_that_is_not_there_is_one_line():
    with pytest.raises(SourceError, match="camera:63 cannot be opened"):
        open_source("camera:63")


@pytest.mark.parametrize("place", ["camera:", "camera:front", "camera:-1"])
def test_a_camera_needs_a_number(place):
    with pytest.raises(SourceError, match="camera:NUMBER"):
        open_source(place)


@pytest.mark.parametrize("place", ["camera:0", "clip"])
def test_without_opencv_the_install_line_is_said(clip, monkeypatch, place):
    monkeypatch.setattr(sources.video, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        open_source(str(clip) if place == "clip" else place)
    assert caught.value.hint == "pip install 'edge-cl[camera]'"


# -- all -------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["none.jpg", "none/", "none.npz", "none.mp4", "a\0b", ""])
def test_what_does_not_exist_is_one_line(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as caught:
        open_source(place)
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, InputError)


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="holds no pictures"):
        open_source(str(tmp_path))


def test_a_chain_adds_up_its_sources(tmp_path):
    save_picture(tmp_path / "a" / "1.jpg")
    np.savez(tmp_path / "f.npz", x=np.eye(2))
    chain = sources.Chain([open_source(str(tmp_path / name)) for name in ("a", "f.npz")])
    assert chain.total == len(samples(chain)) == 3
    assert (chain.live, chain.dropped) == (False, 0)
