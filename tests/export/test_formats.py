"""Every format of one network agrees with torch, through the runtime's own encoders."""

import json
from collections import Counter

import numpy as np
import pytest
from export_samples import NET, PIXELS, blobs

from edge_cl.bundle import load_parity, open_bundle
from edge_cl.encoders import open_encoder

FORMATS = [("onnx", "fp32"), ("onnx", "int8"), ("litert", "fp32"), ("litert", "int8")]


def torch_features(pictures, factory="make", preparation=PIXELS):
    from edge_cl_export.embedding import Embedding, embed
    from edge_cl_export.sources import load_factory

    backbone = load_factory(f"{NET}:{factory}", size=pictures.shape[1:3], **preparation)
    return embed(Embedding(backbone.module, backbone.preparation).eval(), pictures)


def cosines(a, b):
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


@pytest.mark.parametrize(("runtime", "precision"), FORMATS)
def test_every_format_gives_the_features_of_torch(exported, runtime, precision):
    encoder = open_encoder(open_bundle(exported.path), runtime=runtime, precision=precision)
    pictures, _ = blobs(12, seed=5, size=32)
    found = cosines(encoder.encode(pictures), torch_features(pictures))
    assert found.min() > (0.999999 if precision == "fp32" else 0.99)


@pytest.mark.parametrize(("runtime", "precision"), FORMATS)
def test_a_batch_gives_what_each_picture_gives(exported, runtime, precision):
    encoder = open_encoder(
        open_bundle(exported.path), runtime=runtime, precision=precision, threads=1
    )
    pictures, _ = blobs(3, seed=6, size=32)
    alone = np.concatenate([encoder.encode(p[None]) for p in pictures])
    np.testing.assert_allclose(encoder.encode(pictures), alone, rtol=1e-5, atol=1e-5)


def test_the_parity_vectors_are_those_of_torch(exported):
    parity = load_parity(open_bundle(exported.path))
    np.testing.assert_allclose(parity.features, torch_features(parity.inputs), rtol=1e-5, atol=1e-5)


def test_the_bundle_says_what_it_holds(exported):
    bundle = open_bundle(exported.path)
    names = [spec.recipe for spec in bundle.manifest.encoders]
    assert names == [
        "onnx-fp32",
        "onnx-int8-qdq-u8s8-perchannel-percentile99.99-gptq",
        "litert-fp32",
        "litert-int8-int-s8s8-perchannel-minmax-gptq",
    ]
    assert bundle.manifest.input.shape == (32, 32, 3)
    assert bundle.manifest.embedding.d == 32
    report = json.loads(bundle.files["report.json"])
    assert set(report["encoders"]) == {spec.member for spec in bundle.manifest.encoders}
    assert report["encoders"]["encoder-int8.onnx"]["ridge"]["tested"] > 0
    card = bundle.files["MODEL_CARD.md"].decode()
    assert "edge-cl export --model tiny_net.py:make" in card
    assert all(name in card for name in names)


def test_int8_files_are_smaller_and_the_grid_holds_the_features(exported):
    bundle = open_bundle(exported.path)
    parity = load_parity(bundle)
    assert np.abs(parity.features).max() < 2047 * bundle.manifest.embedding.scale
    assert np.log2(bundle.manifest.embedding.scale) % 1 == 0
    assert exported.latency_ms.keys() == exported.encoder_bytes.keys()


def test_every_convolution_of_onnx_int8_becomes_an_integer_one(exported, tmp_path):
    import onnx
    import onnxruntime as ort

    model = open_bundle(exported.path).files["encoder-int8.onnx"]
    first = onnx.load_from_string(model).graph.node[0]
    assert (first.op_type, list(first.input)) == ("Transpose", ["image"])  # bytes, not floats
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    kinds = Counter(n.op_type for n in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert kinds["QLinearConv"] == 4
    assert not kinds["Conv"] + kinds["Cast"] + kinds["FusedConv"]


def test_no_trace_of_this_machine_is_left_in_the_file(exported):
    model = open_bundle(exported.path).files["encoder-int8.onnx"]
    assert b"site-packages" not in model
    assert b"tiny_net" not in model


def test_a_network_that_pools_itself_and_a_mean_a_channel_work_too(export_tiny, tmp_path):
    imagenet = {"mean": None, "std": None}
    result = export_tiny(
        tmp_path / "pooled.edgecl",
        "make_pooled",
        formats=["onnx-int8", "onnx-fp32"],
        **imagenet,
    )
    bundle = open_bundle(result.path)
    assert bundle.manifest.embedding.signed
    pictures, _ = blobs(8, seed=7, size=32)
    encoder = open_encoder(bundle, precision="int8")
    expected = torch_features(pictures, "make_pooled", imagenet)
    assert cosines(encoder.encode(pictures), expected).min() > 0.99


def test_a_network_for_one_picture_at_a_time_works_too(export_tiny, tmp_path):
    result = export_tiny(tmp_path / "one.edgecl", "make_one_at_a_time", formats=["onnx-int8"])
    pictures, _ = blobs(3, seed=8, size=32)
    assert open_encoder(open_bundle(result.path)).encode(pictures).shape == (3, 4)
