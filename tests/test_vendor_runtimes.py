"""NPUs with libraries of their own, against stand-ins with their calls: `vendor_stubs`.

No such device was at hand: what is tested is that the calls are made as the vendors' own code
takes them, in their order, with the right bytes, and that whatever they refuse is one clear line.
"""

import gc
import os
import sys
from pathlib import Path

import model_bytes as mb
import msgspec
import numpy as np
import pytest
from safetensors.numpy import save
from test_bundle import MANIFEST

from edge_cl import Learner, features_bundle
from edge_cl.added_encoder import with_encoder
from edge_cl.assets import shipped_bundle
from edge_cl.bench import bench
from edge_cl.bundle import InputSpec, open_bundle, pack_bundle, read_bundle
from edge_cl.cli import exit_code
from edge_cl.encoders import open_encoder, proven
from edge_cl.encoders.accelerators import accelerator_for
from edge_cl.errors import BackendError, BundleError, InputError
from edge_cl.verify import verify

STUBS = Path(__file__).parent / "vendor_stubs"
IMAGE = InputSpec(
    kind="image",
    shape=(2, 2, 3),
    dtype="uint8",
    layout="HWC",
    colour="RGB",
    resize="bilinear",
    fit="crop",
)
PICTURES = np.arange(3 * 2 * 2 * 3, dtype=np.uint8).reshape(3, 2, 2, 3) * 7
FEATURES = 0.5 * PICTURES.mean((1, 2)).astype(np.float32)  # what the stand-ins compute for 0.5


def rknn(factor=0.5, end=b""):
    return b"RKNN\0\0\0\0" + np.float32(factor).tobytes() + bytes(52) + end


def hef(factor=0.5, outputs=("net/features",), end=b""):
    names = b"".join(b"\0" + name.encode() for name in outputs)
    return b"\x01HEF" + bytes(20) + np.float32(factor).tobytes() + names + end


def edgetpu():
    return mb.tflite(code=32, custom="edgetpu-custom-op")


FILES = {"rknn": ("net.rknn", rknn), "hailo": ("net.hef", hef)}


def plain(input_spec=IMAGE):
    """A bundle with a network for the CPU that nothing here loads, and what it gives."""
    known = {"inputs": PICTURES, "features": FEATURES}
    members = {"encoder.onnx": mb.IDENTITY, "parity.safetensors": save(known)}
    manifest = msgspec.structs.replace(MANIFEST, input=input_spec)
    return read_bundle(pack_bundle(manifest, members))


def with_npu(kind, blob=None, **names):
    name, make = FILES[kind]
    return read_bundle(pack_bundle(*with_encoder(plain(), blob or make(), name, **names)))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(proven, "_here", set())


@pytest.fixture
def stubs(monkeypatch):
    """The vendors' libraries, installed."""
    monkeypatch.syspath_prepend(STUBS)
    import hailo_platform
    import rknnlite.api

    for library in (hailo_platform, rknnlite.api):
        library.CALLS.clear()
    yield {"rknn": rknnlite.api.CALLS, "hailo": hailo_platform.CALLS}
    gc.collect()
    for name in [n for n in sys.modules if n.split(".")[0] in ("rknnlite", "hailo_platform")]:
        del sys.modules[name]


both = pytest.mark.parametrize("kind", FILES)


# -- what runs -----------------------------------------------------------------------------------


@both
def test_features_are_those_of_the_library(stubs, kind):
    encoder = open_encoder(with_npu(kind), accelerator=kind)
    found = encoder.encode(PICTURES)
    np.testing.assert_allclose(found, FEATURES, rtol=1e-6)
    assert found.dtype == np.float32
    placement = encoder.placement
    assert (placement.runtime, placement.accelerator, placement.precision) == (kind, kind, "int8")


def test_rknn_gets_a_file_that_only_its_user_reads_and_that_is_gone(stubs):
    encoder = open_encoder(with_npu("rknn"), accelerator="rknn")
    load, begin = stubs["rknn"]
    assert load[0] == "load_rknn" and load[2] == 0o600 and not os.path.exists(load[1])
    assert begin == ("init_runtime", 0)  # NPU_CORE_AUTO
    encoder.encode(PICTURES)
    assert stubs["rknn"][2:] == 3 * [("inference", (1, 2, 2, 3), "uint8", ["nhwc"])]
    del encoder
    gc.collect()
    assert stubs["rknn"][-1] == ("release",)


def test_cores_of_the_npu_are_named_as_the_library_does(stubs):
    options = {"core_mask": "NPU_CORE_0_1_2"}
    open_encoder(with_npu("rknn"), accelerator="rknn", accelerator_options=options)
    assert ("init_runtime", 7) in stubs["rknn"]
    for wrong in ({"core_mask": "release"}, {"core_mask": "NPU_CORE_9"}, {"speed": "high"}):
        with pytest.raises(BackendError, match="unknown") as caught:  # the child says it
            open_encoder(with_npu("rknn"), accelerator="rknn", accelerator_options=wrong)
        assert caught.value.hint


def test_hailo_holds_its_device_as_long_as_the_encoder_lives(stubs):
    encoder = open_encoder(with_npu("hailo"), accelerator="hailo")
    encoder.encode(PICTURES)
    opened = ["device", "streams", "activate"]
    assert stubs["hailo"] == [*opened, ("infer", (3, 2, 2, 3))]
    del encoder
    gc.collect()
    assert stubs["hailo"][4:] == ["deactivate", "close streams", "release device"]
    open_encoder(with_npu("hailo"), accelerator="hailo")  # it is free again


def test_hailo_takes_the_output_that_is_named(stubs):
    blob = hef(outputs=("net/other", "net/features"))
    with pytest.raises(BackendError, match="the manifest says one and one") as caught:
        open_encoder(with_npu("hailo", blob), accelerator="hailo")
    assert "--output" in caught.value.hint
    named = with_npu("hailo", hef(0.25, ("net/other", "net/features")), output_name="net/features")
    found = open_encoder(named, accelerator="hailo").encode(PICTURES)
    np.testing.assert_allclose(found, FEATURES, rtol=1e-6)  # the stand-in doubles the second


@both
def test_a_learner_learns_on_an_npu_and_finds_back_to_it(stubs, tmp_path, kind):
    path = tmp_path / "npu.edgecl"
    path.write_bytes(with_npu(kind).archive())
    with Learner.open(tmp_path / "state", bundle=path, accelerator=kind, head="ncm") as learner:
        learner.learn_many(PICTURES[:2], ["a", "b"])
        assert learner.predict(PICTURES[1]).label == "b"
        assert learner.status.placement.accelerator == kind
    with Learner.open(tmp_path / "state") as learner:  # with the encoder it was learned with
        assert learner.status.placement.accelerator == kind
        assert learner.predict(PICTURES[0]).label == "a"


def test_what_holds_the_device_gives_it_back_where_opening_fails(stubs, tmp_path):
    with pytest.raises(InputError, match="unknown head") as caught:
        Learner.open(tmp_path / "state", bundle=with_npu("hailo"), accelerator="hailo", head="no")
    assert caught.tb is not None  # it holds on to everything that was there
    open_encoder(with_npu("hailo"), accelerator="hailo").close()


def test_a_plan_names_the_network_that_it_cannot_count(stubs, tmp_path, capsys):
    path = tmp_path / "npu.edgecl"
    path.write_bytes(with_npu("rknn").archive())
    words = ["plan", "--device", "rock-5b", "--bundle", str(path), "--runtime", "rknn"]
    assert exit_code(words) == 0
    assert "(rknn int8, 4 threads)" in capsys.readouterr().out


@pytest.mark.slow
def test_a_benchmark_times_what_it_was_compiled_for(stubs, tmp_path, monkeypatch):
    monkeypatch.setattr("edge_cl.bench.measure._STARTS", 1)
    quick = {"classes": 2, "seconds": 0.0, "repetitions": 20, "folder": tmp_path}
    (found,) = bench(with_npu("hailo"), runtime="hailo", **quick).encoders
    assert found.placement.accelerator == "hailo"


# -- what does not -------------------------------------------------------------------------------


@both
def test_without_the_library_it_says_what_to_install(kind):
    with pytest.raises(BackendError, match="needs a package that is not installed") as caught:
        open_encoder(with_npu(kind), accelerator=kind)
    assert "install" in caught.value.hint
    with pytest.raises(BackendError, match="needs a package that is not installed"):
        bench(with_npu(kind), runtime=kind)


@both
def test_the_cpu_is_not_taken_in_its_place(kind):
    with pytest.raises(BackendError):
        open_encoder(with_npu(kind), runtime=kind)
    with pytest.raises(InputError, match="not of onnx"):
        accelerator_for(kind, "onnx")


REFUSED = {
    "another chip": ("rknn", rknn(end=b"OTHER CHIP"), "RKNN cannot load .*: error -1"),
    "a run that fails": ("rknn", rknn(end=b"FAILS"), "expected one output, got none"),
    "a crash": ("rknn", rknn(end=b"CRASH"), r"SIGSEGV .* \(RKNN on rknn\)"),
    "another network": ("rknn", rknn(-1.0), "mean cosine -1.000"),
    "another device": ("hailo", hef(end=b"OTHER DEVICE"), "not compatible with device"),
    "another network there": ("hailo", hef(-1.0), "mean cosine -1.000"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_library_refuses_is_one_line(stubs, what):
    kind, blob, says = REFUSED[what]
    with pytest.raises(BackendError, match=says) as caught:
        open_encoder(with_npu(kind, blob), accelerator=kind)
    assert "\n" not in str(caught.value) and caught.value.hint
    assert not proven._here


def test_strict_takes_nobodys_word_for_rknn(stubs):
    found = open_encoder(with_npu("rknn"), accelerator="rknn").placement
    assert "not known" in found.fallbacks[0] and found.nodes == {}
    with pytest.raises(BackendError, match="not known"):
        open_encoder(with_npu("rknn"), accelerator="rknn", strict=True)
    assert open_encoder(with_npu("hailo"), accelerator="hailo", strict=True).placement.nodes


@both
def test_verify_says_that_it_was_not_run_on_hardware(stubs, tmp_path, kind, capsys):
    bundle = with_npu(kind)
    found = verify(bundle, accelerator=kind)
    assert [e.runtime for e in found.encoders] == [kind] and not found.misses
    path = tmp_path / "npu.edgecl"
    path.write_bytes(bundle.archive())
    assert exit_code(["verify", str(path), "--accelerator", kind]) == 0
    out = capsys.readouterr().out
    assert f"ran as: {kind} int8 on {kind}" in out and "not run on hardware" in out


# -- into a bundle -------------------------------------------------------------------------------


def test_an_encoder_is_added_beside_the_others(tmp_path, capsys):
    source, out = tmp_path / "a.edgecl", tmp_path / "b.edgecl"
    source.write_bytes(plain().archive())
    for kind, (name, make) in FILES.items():
        (tmp_path / name).write_bytes(make())
        arguments = ["add-encoder", str(source), str(tmp_path / name), "--out", str(out), "--json"]
        assert exit_code(arguments) == 0
        told = msgspec.json.decode(capsys.readouterr().out)
        made, before = open_bundle(out), open_bundle(source)
        assert told["sha256"] == made.sha256 and told["accelerator"] == kind
        assert made.files == {**before.files, told["member"]: make()}
        assert made.manifest.encoders[:-1] == before.manifest.encoders
        assert made.manifest.embedding == before.manifest.embedding
        source.write_bytes(out.read_bytes())
    assert exit_code(["inspect", str(out)]) == 0


def test_a_network_for_the_edge_tpu_is_for_nothing_else(tmp_path):
    bundle = read_bundle(pack_bundle(*with_encoder(plain(), edgetpu(), "net_edgetpu.tflite")))
    (spec,) = (s for s in bundle.manifest.encoders if s.runtime == "litert")
    assert spec.accelerator == "edgetpu"
    with pytest.raises(InputError, match="no encoder for cpu"):
        open_encoder(bundle, runtime="litert")
    with pytest.raises(BackendError, match=r"libedgetpu.so.1|edge-cl\[litert\]|not installed"):
        open_encoder(bundle, accelerator="edgetpu")
    encoders = (bundle.manifest.encoders[0], msgspec.structs.replace(spec, only_on=msgspec.UNSET))
    manifest = msgspec.structs.replace(bundle.manifest, encoders=encoders)
    with pytest.raises(BundleError, match="custom operator edgetpu-custom-op"):  # not said
        pack_bundle(manifest, bundle.files)


REFUSALS = {
    "a network for CPUs": ("net.onnx", mb.IDENTITY, "expected a file .rknn"),
    "no suffix": ("net", rknn(), "expected a file .rknn"),
    "no RKNN": ("net.rknn", hef(), "is not an RKNN network"),
    "no HEF": ("net.hef", rknn(), "is not a Hailo network"),
    "nothing": ("net.hef", b"", "is not a Hailo network"),
    "a header cut short": ("net.rknn", rknn()[:12], "is not an RKNN network"),
    "a .tflite for CPUs": ("net.tflite", mb.tflite(), "no operator edgetpu-custom-op"),
    "somebody's operator": ("net.tflite", mb.tflite(code=32, custom="mine"), "operator mine"),
    "no TFLite": ("net.tflite", rknn(), "is not a TFLite model"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_is_no_such_file_is_refused_and_nothing_written(tmp_path, capsys, what):
    name, blob, says = REFUSALS[what]
    bundle, out = tmp_path / "a.edgecl", tmp_path / "out.edgecl"
    bundle.write_bytes(plain().archive())
    (tmp_path / name).write_bytes(blob)
    assert exit_code(["add-encoder", str(bundle), str(tmp_path / name), "--out", str(out)]) == 1
    assert says in capsys.readouterr().err
    assert not out.exists()


def test_what_a_bundle_has_is_not_added_twice():
    with pytest.raises(InputError, match="has an encoder for rknn already"):
        with_encoder(with_npu("rknn"), rknn(2.0), "net.rknn")
    with pytest.raises(InputError, match="takes vectors"):
        with_encoder(features_bundle([[1.0]]), rknn(), "net.rknn")
    with pytest.raises(InputError, match="expected a precision"):
        with_encoder(plain(), rknn(), "net.rknn", precision="int4")


def test_a_damaged_file_is_found_when_the_bundle_is_opened():
    bundle = with_npu("rknn")
    files = {**bundle.files, "encoder-rknn-int8.rknn": b"nothing of the kind" * 4}
    with pytest.raises(BundleError, match="is not an RKNN network"):
        pack_bundle(bundle.manifest, files)


def test_the_manifest_of_a_bundle_without_one_is_written_as_before():
    shipped = open_bundle(shipped_bundle())
    assert msgspec.json.format(msgspec.json.encode(shipped.manifest), indent=2) == shipped.head
    assert b"only_on" not in shipped.head
