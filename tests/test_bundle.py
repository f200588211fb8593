import json
import os
import random
import resource
import subprocess
import sys
import warnings
import zipfile

import msgspec
import numpy as np
import pytest
from attacks import bundles as attacks
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from safetensors.numpy import save

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
    "encoder.onnx": b"no parser ever sees this",
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


@pytest.mark.parametrize("data", cases(attacks.manifests))
def test_a_manifest_that_does_not_hold_is_refused(data):
    with pytest.raises(BundleError):
        read_bundle(data)


def test_a_newer_schema_says_what_to_do():
    data = attacks.with_manifest(MEMBERS, lambda m: m.update(schema_version=2, surprise=[]))
    with pytest.raises(BundleError, match="schema version 2, this edge-cl reads 1") as caught:
        read_bundle(data)
    assert "update edge-cl" in caught.value.hint


def refuse_or_equal(data):
    """The reader raises BundleError, or has verified exactly the good content."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            bundle = read_bundle(bytes(data))
        except BundleError as error:
            assert str(error).count("\n") == 0
            return True
    assert bundle.files == FILES and bundle.head == MEMBERS["manifest.json"]
    return False


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused_or_harmless(position, flip):
    data = bytearray(GOOD)
    data[position] ^= flip
    refuse_or_equal(data)


def test_every_position_of_the_archive_with_one_bit_flipped():
    refused = 0
    for position in range(len(GOOD)):
        data = bytearray(GOOD)
        data[position] ^= 1 << (position % 8)
        refused += refuse_or_equal(data)
    assert refused > 0.8 * len(GOOD)  # dates and such carry no content


def test_every_truncation_is_refused():
    assert all(refuse_or_equal(GOOD[:end]) for end in range(len(GOOD)))


@given(st.data())
def test_torn_and_shuffled_archives_are_refused_or_harmless(data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(GOOD)), min_size=1, max_size=4)))
    parts = [GOOD[a:b] for a, b in zip([0, *cuts], [*cuts, len(GOOD)], strict=True)]
    refuse_or_equal(b"".join(data.draw(st.permutations(parts))))


@given(st.binary(max_size=300))
def test_noise_is_refused(noise):
    assert refuse_or_equal(noise)
    assert refuse_or_equal(GOOD[:40] + noise)


@pytest.mark.slow
@settings(max_examples=1)
@given(st.just(0))
def test_a_hundred_thousand_random_edits(_):
    chance = random.Random(0)
    for _ in range(100_000):
        data = bytearray(GOOD)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        refuse_or_equal(data)


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
    with pytest.raises(BundleError, match="at most"):
        open_bundle(path)


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    for path in (tmp_path, tmp_path / "missing.edgecl"):
        with pytest.raises(BundleError, match="cannot read"):
            open_bundle(path)


def test_a_bundle_opens_as_an_ordinary_zip(tmp_path):
    path = tmp_path / "tiny.edgecl"
    path.write_bytes(GOOD)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("manifest.json"))["name"] == "tiny"


@pytest.mark.parametrize(
    "members",
    [
        {**FILES, "x.txt": b""},
        {},
        {**FILES, "../report.json": b""},
        {**FILES, "manifest.json": b""},
    ],
)
def test_the_writer_makes_no_bundle_that_the_reader_refuses(members):
    with pytest.raises(InputError):
        pack_bundle(MANIFEST, members)


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
