"""Half precision: half the size, the same features, the ends as they were."""

import numpy as np
import onnx
import pytest
from export_samples import NET, blobs
from onnx import TensorProto, numpy_helper

from edge_cl.bundle import EncoderSpec
from edge_cl.encoders.litert_runner import LiteRTRunner
from edge_cl.encoders.onnx_runner import OnnxRunner
from edge_cl.errors import ExportError

IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def spec(member, precision="fp16"):
    return EncoderSpec(
        member=member,
        runtime="onnx" if member.endswith("onnx") else "litert",
        precision=precision,
        recipe="",
        input_name="image",
        output_name="embedding",
    )


@pytest.fixture(scope="module")
def network():
    """A traced tiny network with a mean a channel, its torch features of some pictures."""
    from edge_cl_export import load_factory
    from edge_cl_export.graph.embedding import Embedding, embed
    from edge_cl_export.graph.trace import trace

    mean, std = IMAGENET
    backbone = load_factory(f"{NET}:make_pooled", size=(32, 32), mean=mean, std=std)
    module = Embedding(backbone.module, backbone.preparation).eval()
    pictures, _ = blobs(6, seed=2, size=32)
    return trace(module, (32, 32)), pictures, embed(module, pictures)


@pytest.fixture(scope="module")
def float_onnx(network):
    from edge_cl_export.graph.to_onnx import to_onnx

    return to_onnx(network[0].graph, network[0])


@pytest.fixture(scope="module")
def half(float_onnx):
    from edge_cl_export.quantise.half_precision import half_onnx

    return half_onnx(float_onnx)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0.01, atol=0.003 * np.abs(expected).max())


def test_onnx_gives_the_features_of_torch(half, network):
    _, pictures, expected = network
    found = OnnxRunner(half.SerializeToString(), spec("a.onnx"), 1).run(pictures)
    assert found.dtype == np.float32
    close(found, expected)


def test_onnx_keeps_its_ends_and_halves_every_weight(half, float_onnx):
    before, after = float_onnx.graph, half.graph
    for ends in ("input", "output"):
        assert [v.SerializeToString() for v in getattr(before, ends)] == [
            v.SerializeToString() for v in getattr(after, ends)
        ]
    kinds = {t.name: t.data_type for t in after.initializer}
    layers = [n for n in after.node if n.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(layers) == 5
    assert {kinds[n.input[1]] for n in layers} == {TensorProto.FLOAT16}


def test_onnx_normalises_in_float32(half):
    """A mean of 123.675 is 123.6875 in float16, a gain of 1/58.395 is off by as much."""
    constants = {t.name: numpy_helper.to_array(t) for t in half.graph.initializer}
    node = next(n for n in half.graph.node if n.op_type == "Sub")
    mean = next(constants[name] for name in node.input if name in constants)
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean.ravel(), np.float32(IMAGENET[0]))


def read_as(model, *operators):
    """Types of what some kinds of operators read that is computed."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    nodes = [node for node in graph.node if node.op_type in operators]
    assert {node.op_type for node in nodes} == set(operators)
    return {kinds[name] for node in nodes for name in node.input if name in kinds}


def test_onnx_pools_in_float32(half):
    """Here a layer stands behind the pooling: it is in the middle of what is half."""
    assert read_as(half, "ReduceMean") == {TensorProto.FLOAT}
    assert read_as(half, "Conv", "Gemm") == {TensorProto.FLOAT16}
    assert half.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_the_float_model_is_left_alone_and_the_same_bytes_come_again(float_onnx, half):
    from edge_cl_export.quantise.half_precision import half_onnx

    before = float_onnx.SerializeToString(deterministic=True)
    again = half_onnx(float_onnx).SerializeToString(deterministic=True)
    assert again == half.SerializeToString(deterministic=True)
    assert float_onnx.SerializeToString(deterministic=True) == before


@pytest.mark.slow  # the converter takes seconds
def test_litert_gives_the_features_of_torch_from_half_the_weights(network):
    from edge_cl.tflite_file import check_tflite
    from edge_cl_export.graph.to_litert import to_litert
    from edge_cl_export.quantise.flatbuffer import read_flat, type_of
    from edge_cl_export.quantise.half_precision import half_litert

    traced, pictures, expected = network
    whole = to_litert(traced.graph, (32, 32))
    made = half_litert(whole)
    check_tflite(made, "made")
    close(LiteRTRunner(made, spec("a.tflite"), 1).run(pictures), expected)
    kinds = [type_of(t) for t in read_flat(made).subgraphs[0].tensors]
    assert kinds.count("FLOAT16") == 5
    assert half_litert(whole) == made


def test_a_weight_beyond_float16_is_named(float_onnx):
    from edge_cl_export.quantise.half_precision import half_onnx

    large = onnx.ModelProto()
    large.CopyFrom(float_onnx)
    name = next(n for n in large.graph.node if n.op_type == "Conv").input[1]
    tensor = next(t for t in large.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = 70000.0
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    with pytest.raises(ExportError, match="7e"):
        half_onnx(large)


@pytest.mark.parametrize("projected", [False, True])
def test_embeddings_have_length_one_where_their_squares_have_no_float16(projected):
    """Features of length 1,000: their squares are beyond 65,504."""
    from edge_cl_export import load_factory
    from edge_cl_export.graph.embedding import Embedding, embed
    from edge_cl_export.graph.projection import fit
    from edge_cl_export.graph.to_onnx import to_onnx
    from edge_cl_export.graph.trace import trace
    from edge_cl_export.quantise.half_precision import half_onnx

    backbone = load_factory(f"{NET}:make", size=(32, 32), mean=(127.0,) * 3, std=(128.0,) * 3)
    pictures, _ = blobs(16, seed=2, size=32)
    small = embed(Embedding(backbone.module, backbone.preparation).eval(), pictures)
    gain = 1000.0 / np.linalg.norm(small, axis=1).mean()
    last = backbone.module[5]
    last.weight.data *= gain
    last.bias.data *= gain
    features = embed(Embedding(backbone.module, backbone.preparation).eval(), pictures)
    assert (features**2).sum(1).min() > 65504
    axes = fit(features, 4) if projected else None
    module = Embedding(backbone.module, backbone.preparation, l2=True, projection=axes).eval()
    traced = trace(module, (32, 32))
    made = half_onnx(to_onnx(traced.graph, traced))
    # A CPU that has no float16 computes in float32 whatever the file says: so look into the file
    after = ("ReduceMean", "ReduceSum", "Sqrt", "Div")
    assert read_as(made, *after) == {TensorProto.FLOAT}
    found = OnnxRunner(made.SerializeToString(), spec("a.onnx"), 1).run(pictures)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found, embed(module, pictures), rtol=0, atol=0.01)
