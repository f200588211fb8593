"""Every format of one network agrees with torch, through the runtime's own encoders."""

import json
from collections import Counter

import numpy as np
import pytest
from export_samples import NET, PIXELS, blobs

from edge_cl.bundle import load_parity, open_bundle
from edge_cl.encoders import open_encoder
from edge_cl.errors import InputError
from edge_cl_export.proof.fidelity import Gate

FORMATS = [(r, p) for r in ("onnx", "litert") for p in ("fp32", "fp16", "int8")]


def torch_features(pictures, factory="make", preparation=PIXELS):
    from edge_cl_export.graph.embedding import Embedding, embed
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
        "onnx-fp16",
        "onnx-int8-qdq-u8s8-perchannel-percentile99.99-gptq",
        "litert-fp32",
        "litert-fp16",
        "litert-int8-int-s8s8-perchannel-percentile99.99-gptq",
    ]
    assert bundle.manifest.input.shape == (32, 32, 3)
    assert bundle.manifest.embedding.d == 32
    report = json.loads(bundle.files["report.json"])
    assert set(report["encoders"]) == {spec.member for spec in bundle.manifest.encoders}
    assert report["encoders"]["encoder-int8.onnx"]["ridge"]["tested"] > 0
    card = bundle.files["MODEL_CARD.md"].decode()
    assert "edge-cl export tiny_net.py:make" in card
    assert all(name in card for name in names)


def test_int8_files_are_smaller_and_the_grid_holds_the_features(exported):
    bundle = open_bundle(exported.path)
    parity = load_parity(bundle)
    assert np.abs(parity.features).max() < 2047 * bundle.manifest.embedding.scale
    assert np.log2(bundle.manifest.embedding.scale) % 1 == 0
    assert exported.latency.keys() == exported.encoder_bytes.keys()


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
        imagenet,
        formats=["onnx-int8", "onnx-fp32"],
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


def test_layer_pool_length_and_projection_are_part_of_every_file(export_tiny, tmp_path):
    wanted = {"layer": "3", "pool": "max", "l2": True, "project": 5}
    result = export_tiny(
        tmp_path / "cut.edgecl", formats=["onnx-fp32", "onnx-int8", "litert-int8"], **wanted
    )
    bundle = open_bundle(result.path)
    pictures, _ = blobs(6, seed=9, size=32)
    for spec in bundle.manifest.encoders:
        encoder = open_encoder(bundle, runtime=spec.runtime, precision=spec.precision)
        features = encoder.encode(pictures)
        assert features.shape == (6, 5)
        np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0, atol=1e-5)
    report = json.loads(bundle.files["report.json"])
    assert 0 < report["network"]["projection"]["explained"] <= 1
    assert "--layer 3 --pool max --project 5" in bundle.files["MODEL_CARD.md"].decode()


def test_a_recipe_by_name_makes_that_file_alone(export_tiny, tmp_path):
    name = "onnx-int8-qdq-s8s8-perchannel-mse-cle-corrected-float1"
    result = export_tiny(tmp_path / "one.edgecl", recipe=name)
    assert [spec.recipe for spec in result.encoders] == [name]
    report = json.loads(open_bundle(result.path).files["report.json"])
    assert len(report["encoders"]["encoder-int8-s8s8.onnx"]["float_layers"]) == 1


def test_a_recipe_that_counts_layers_the_network_has_not_is_refused(export_tiny, tmp_path):
    with pytest.raises(InputError, match="counted from 0"):
        export_tiny(
            tmp_path / "x.edgecl",
            recipe="onnx-int8-qdq-u8s8-perchannel-minmax-nearest-float99",
        )


def test_remedies_are_climbed_and_reported_and_a_missed_gate_can_be_accepted(export_tiny, tmp_path):
    gate = Gate(cosine_mean=1.0, cosine_worst=1.0)
    result = export_tiny(
        tmp_path / "x.edgecl",
        formats=["onnx-int8"],
        recipe="plain",
        gate=gate,
        accepted="a test of the remedies",
    )
    rungs = result.rungs["encoder-int8.onnx"]
    assert [rung.remedy for rung in rungs][:2] == ["as it is", "ranges of 99.99 % of the values"]
    assert any("in float" in rung.remedy for rung in rungs)
    best = max(rung.cosine_mean for rung in rungs)
    assert result.fidelity["encoder-int8.onnx"].cosine_mean == pytest.approx(best)
    assert result.misses["encoder-int8.onnx"]
    bundle = open_bundle(result.path)
    assert bundle.manifest.accepted == "a test of the remedies"
    assert "a test of the remedies" in bundle.files["MODEL_CARD.md"].decode()


def test_where_the_gate_held_nothing_was_accepted(exported):
    assert not open_bundle(exported.path).manifest.accepted


def test_the_report_says_where_the_error_arises_and_what_runs_in_integers(exported):
    report = json.loads(open_bundle(exported.path).files["report.json"])
    for member in ("encoder-int8.onnx", "encoder-int8.tflite"):
        said = report["encoders"][member]
        assert said["integer_layers"] == 4
        assert said["float_layers"] == []
        assert [stage["kind"] for stage in said["stages"]][-2:] == ["embedding", "grid"]
        assert said["operators"]


def test_the_parity_vectors_hold_what_every_file_gave(exported):
    bundle = open_bundle(exported.path)
    parity = load_parity(bundle)
    for spec in bundle.manifest.encoders:
        encoder = open_encoder(bundle, runtime=spec.runtime, precision=spec.precision, threads=1)
        np.testing.assert_array_equal(parity.deployed[spec.member], encoder.encode(parity.inputs))


def test_the_frontier_is_drawn_where_it_is_asked_for(export_tiny, tmp_path):
    picture = tmp_path / "frontier.png"
    export_tiny(tmp_path / "x.edgecl", formats=["onnx-int8"], frontier=picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
