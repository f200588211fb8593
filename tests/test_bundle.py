import json
import os
import random
import resource
import subprocess
import sys
import zipfile

import model_bytes as mb
import msgspec
import numpy as np
import pytest
from attacks import bundles as attacks
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from safetensors.numpy import save

from edge_cl import archive
from edge_cl.assets import shipped_bundle
from edge_cl.bundle import (
    EmbeddingSpec,
    EncoderSpec,
    InputSpec,
    Manifest,
    load_parity,
    open_bundle,
    pack_bundle,
    read_bundle,
    write_bundle,
)
from edge_cl.errors import BundleError, InputError, StorageError
from edge_cl.sensor import features_bundle

D = 3
MANIFEST = Manifest(
    name="tiny",
    version="1.0",
    description="an encoder for tests",
    licence="Apache-2.0",
    source="tests",
    input=InputSpec(kind="vector", shape=(D,), dtype="float32", layout="D"),
    embedding=EmbeddingSpec(d=D, scale=0.5, signed=True, mean_square_norm=3.0),
    encoders=(
        EncoderSpec(
            member="encoder.onnx",
            runtime="onnx",
            precision="fp32",
            recipe="none",
            input_name="x",
            output_name="y",
        ),
    ),
    tools={"torch": "2.13.0"},
    created="2025-01-01",
)
PARITY = {
    "inputs": np.arange(6, dtype=np.float32).reshape(2, D),
    "features": np.ones((2, D), np.float32),
}
FILES = {
    "encoder.onnx": mb.IDENTITY,
    "parity.safetensors": save(PARITY),
    "report.json": b"{}",
    "MODEL_CARD.md": b"# tiny",
}
GOOD = pack_bundle(MANIFEST, FILES)
MEMBERS = attacks.members_of(read_bundle(GOOD))


def cases(attacks):
    return [pytest.param(data, id=what) for what, data in attacks(MEMBERS)]


def test_a_bundle_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "tiny.edgecl"
    write_bundle(path, MANIFEST, FILES)
    bundle = open_bundle(path)
    assert dict(bundle.files) == FILES
    assert bundle.name == "tiny 1.0"
    assert bundle.manifest.embedding == MANIFEST.embedding
    assert bundle.archive() == path.read_bytes() == GOOD
    assert os.listdir(tmp_path) == ["tiny.edgecl"]


def test_the_attackers_tools_can_build_a_good_bundle():
    assert read_bundle(attacks.zipped(MEMBERS)).files == FILES
    assert read_bundle(attacks.with_manifest(MEMBERS, lambda m: None)).files == FILES
    assert read_bundle(attacks.honest(MEMBERS, report__json=b"[]")).files["report.json"] == b"[]"


def test_the_same_members_give_the_same_bytes_in_any_order():
    backwards = dict(reversed(FILES.items()))
    assert pack_bundle(MANIFEST, backwards) == GOOD
    code = (
        "import hashlib, sys; sys.path[:0] = sys.argv[1:]; import test_bundle as t;"
        "print(hashlib.sha256(t.pack_bundle(t.MANIFEST, t.FILES)).hexdigest())"
    )
    here = os.path.dirname(__file__)
    digests = {
        subprocess.run(
            [sys.executable, "-c", code, here],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert len(digests) == 1


@pytest.mark.parametrize("data", cases(attacks.archives))
def test_an_archive_that_is_not_ours_is_refused(data):
    with pytest.raises(BundleError):
        read_bundle(data)


@pytest.mark.parametrize("data", cases(attacks.encoders))
def test_an_encoder_that_is_more_than_one_file_is_refused_before_a_runtime_sees_it(data):
    with pytest.raises(BundleError, match=r"encoder\.(onnx|tflite)"):
        read_bundle(data)


@pytest.mark.parametrize("data", cases(attacks.manifests))
def test_a_manifest_that_does_not_hold_is_refused(data):
    with pytest.raises(BundleError):
        read_bundle(data)


def test_a_newer_schema_says_what_to_do():
    data = attacks.with_manifest(MEMBERS, lambda m: m.update(schema_version=2, surprise=[]))
    with pytest.raises(BundleError, match="schema version 2, this edge-cl reads 1") as caught:
        read_bundle(data)
    assert "update edge-cl" in caught.value.hint


def refused(data):
    """The reader raises BundleError, in one line."""
    try:
        read_bundle(bytes(data))
    except BundleError as error:
        assert str(error).count("\n") == 0
        return True
    return False


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(position, flip):
    data = bytearray(GOOD)
    data[position] ^= flip
    assert refused(data)


def test_every_bit_and_every_truncation_of_a_small_bundle(capsys):
    flips = loaded = 0
    for position in range(len(GOOD)):
        for bit in range(8):
            data = bytearray(GOOD)
            data[position] ^= 1 << bit
            loaded += not refused(data)
            flips += 1
    cuts = [GOOD[:end] for end in range(len(GOOD))]
    loaded += sum(not refused(data) for data in cuts)
    say(capsys, f"small bundle: {flips} flipped bits, {len(cuts)} truncations, loaded: {loaded}")
    assert loaded == 0


def test_edits_and_truncations_of_the_shipped_bundle(capsys):
    """Every byte of the manifest, one flip in each 4 KiB of members, cuts at 512-byte steps."""
    data = bytearray(shipped_bundle().read_bytes())
    head = len(read_bundle(bytes(data)).head)
    start = 30 + len("manifest.json")
    positions = [*range(start + head), *range(start + head, len(data), 4096)]
    positions += range(len(data) - 600, len(data))  # the directory
    chance = random.Random(0)
    loaded = 0
    for position in positions:
        flip = 1 << chance.randrange(8)
        data[position] ^= flip
        loaded += not refused(data)
        data[position] ^= flip
    assert not refused(data)
    view = memoryview(data)
    ends = [*range(0, len(data), 512), *range(len(data) - 1024, len(data))]
    loaded += sum(not refused(view[:end]) for end in ends)
    say(
        capsys, f"shipped bundle: {len(positions)} edits, {len(ends)} truncations, loaded: {loaded}"
    )
    assert loaded == 0


def say(capsys, figure):
    with capsys.disabled():
        sys.stdout.write(f"\n{figure}\n")


@given(st.data())
def test_torn_and_shuffled_archives_are_refused(data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(GOOD)), min_size=1, max_size=4)))
    parts = [GOOD[a:b] for a, b in zip([0, *cuts], [*cuts, len(GOOD)], strict=True)]
    torn = b"".join(data.draw(st.permutations(parts)))
    assert torn == GOOD or refused(torn)


@given(st.binary(max_size=300))
def test_noise_is_refused(noise):
    assert refused(noise)
    assert refused(GOOD[:40] + noise)
    assert refused(GOOD + noise) or not noise
    assert refused(noise + GOOD) or not noise


@pytest.mark.slow
def test_a_hundred_thousand_random_edits():
    chance = random.Random(0)
    for _ in range(100_000):
        data = bytearray(GOOD)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        assert bytes(data) == GOOD or refused(data)


def test_a_claimed_size_allocates_nothing():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for size in (1 << 30, (1 << 32) - 2):
        with pytest.raises(BundleError):
            read_bundle(attacks.claiming(GOOD, size))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_a_file_larger_than_any_bundle_is_not_read(tmp_path):
    path = tmp_path / "huge.edgecl"
    with path.open("wb") as stream:
        stream.truncate((1 << 30) + 1)  # sparse: it takes no room
    with pytest.raises(BundleError, match="at most 1073741824"):
        open_bundle(path)


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    for path in (tmp_path, tmp_path / "missing.edgecl"):
        with pytest.raises(BundleError, match="cannot read"):
            open_bundle(path)


def test_the_archive_is_refused_before_its_manifest_is_believed():
    """By what its headers say, whatever the manifest may describe."""
    head = MEMBERS["manifest.json"]
    for members, message in (
        ({"x.pkl": b""}, "unknown member 'x.pkl'"),
        ({f"encoder-{i}.onnx": b"" for i in range(32)}, "more than 32 members"),
        ({"report.json": b" " * (1 << 20) + b" "}, "at most 1048576"),
    ):
        with pytest.raises(BundleError, match=message):
            read_bundle(archive.pack(head, members))
    with pytest.raises(BundleError, match="claims 1073741824 bytes"):
        read_bundle(attacks.claiming(GOOD, 1 << 30, member=1))


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_not_read(tmp_path, kind):
    """A pipe would make the reader wait, a device would never end."""
    path = {"pipe": tmp_path / "p.edgecl", "device": "/dev/zero", "folder": tmp_path}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(BundleError, match="not a file"):
        open_bundle(path)


MEMBER_NAMES = st.sampled_from(
    ["encoder.onnx", "encoder-int8.onnx", "encoder-b.onnx", "report.json", "MODEL_CARD.md"]
)


@given(st.dictionaries(MEMBER_NAMES, st.integers(0, 300), max_size=5))
def test_our_archive_is_what_a_zip_library_writes(sizes):
    """The same constants as Python's, so that bundles of older versions open, too."""
    members = {
        name: mb.IDENTITY + mb.field(6, "x" * size) if name.endswith("onnx") else b"x" * size
        for name, size in {**sizes, "encoder.onnx": 0}.items()
    }
    data = pack_bundle(MANIFEST, members)
    bundle = read_bundle(data)
    assert bundle.files == members
    assert attacks.zipped({"manifest.json": bundle.head, **members}) == data == bundle.archive()


def test_the_shipped_bundle_is_in_the_one_form():
    assert open_bundle(shipped_bundle()).archive() == shipped_bundle().read_bytes()


def test_a_bundle_opens_as_an_ordinary_zip(tmp_path):
    path = tmp_path / "tiny.edgecl"
    path.write_bytes(GOOD)
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
        assert json.loads(opened.read("manifest.json"))["name"] == "tiny"


@pytest.mark.parametrize(
    "members",
    [
        {**FILES, "x.txt": b""},
        {},
        {**FILES, "../report.json": b""},
        {**FILES, "manifest.json": b""},
        {**FILES, "MODEL_CARD.md": b" " * (1 << 20) + b" "},
        {**FILES, **{f"encoder-{i}.onnx": mb.IDENTITY for i in range(31)}},
    ],
)
def test_the_writer_makes_no_bundle_that_the_reader_refuses(members):
    with pytest.raises(InputError):
        pack_bundle(MANIFEST, members)


def test_the_writer_looks_at_encoders_as_the_reader_does():
    for blob in (b"no network", mb.onnx(mb.graph([mb.node("Run", domain="com.evil")]))):
        with pytest.raises(BundleError, match=r"tiny 1.0: encoder\.onnx"):
            pack_bundle(MANIFEST, {**FILES, "encoder.onnx": blob})


def test_a_refused_write_leaves_the_old_bundle(tmp_path):
    path = tmp_path / "tiny.edgecl"
    path.write_bytes(GOOD)
    with pytest.raises(InputError):
        write_bundle(path, MANIFEST, {})
    with pytest.raises(StorageError):
        write_bundle(tmp_path / "no" / "tiny.edgecl", MANIFEST, FILES)
    assert path.read_bytes() == GOOD
    assert os.listdir(tmp_path) == ["tiny.edgecl"]


def test_parity_vectors_come_back():
    parity = load_parity(read_bundle(GOOD))
    assert_array_equal(parity.inputs, PARITY["inputs"])
    assert_array_equal(parity.features, PARITY["features"])
    assert load_parity(features_bundle([[1.0]])) is None


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\0" * 100,
        save({"inputs": PARITY["inputs"]}),
        save({**PARITY, "more": np.ones(1)}),
        save({**PARITY, "inputs": np.full((2, D), np.inf, np.float32)}),
        save(PARITY, {"x": "y" * (1 << 16)}),
        save({**PARITY, "features": np.ones((3, D), np.float32)}),
        save({**PARITY, "features": np.full((2, D), np.nan, np.float32)}),
        save({**PARITY, "features": np.ones((2, D))}),
        save({**PARITY, "inputs": np.ones((2, D + 1), np.float32)}),
        save({**PARITY, "inputs": np.array(1, np.float32)}),
    ],
)
def test_parity_vectors_that_do_not_fit_are_refused(blob):
    bundle = read_bundle(attacks.honest(MEMBERS, parity__safetensors=blob))
    with pytest.raises(BundleError, match="parity"):
        load_parity(bundle)


@pytest.mark.parametrize("scale", [5e-324, 1e-320, 1e-200, 1e200, 1e300])
@pytest.mark.parametrize("name", ["ridge", "lda", "ncm", "ncm-euclidean"])
def test_a_grid_step_of_any_size_is_refused_or_works(scale, name):
    """A manifest may claim what it likes; a device that opens it must not crash later."""
    from edge_cl import Learner

    plain = attacks.members_of(features_bundle(np.ones((1, D))))
    try:
        bundle = read_bundle(
            attacks.with_manifest(plain, lambda m: m["embedding"].update(scale=scale))
        )
    except BundleError:
        return
    learner = Learner.open(bundle=bundle, head=name)
    learner.learn_many([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], ["a", "b"])
    assert sum(learner.predict([1.0, 2.0, 3.0]).probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize("scale", [0.003, 3.0, 0.1])
def test_a_grid_step_that_is_no_power_of_two_is_refused(scale):
    embedding = msgspec.structs.replace(MANIFEST.embedding, scale=scale)
    with pytest.raises(InputError, match="power of two"):
        pack_bundle(msgspec.structs.replace(MANIFEST, embedding=embedding), FILES)
