"""Integers: in every layer that should have them, throughout where asked, and nowhere else."""

import numpy as np
import pytest
import torch
from export_samples import NET, PIXELS, blobs

from edge_cl.bundle import EncoderSpec
from edge_cl.encoders.litert_runner import LiteRTRunner, operators_run
from edge_cl.encoders.onnx_runner import OnnxRunner
from edge_cl.encoders.onnx_runner import operators_run as onnx_operators_run
from edge_cl.errors import ExportError
from edge_cl.tflite_file import check_tflite

SHARED = (PIXELS["mean"], PIXELS["std"])
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
LAYERS = 5  # of `make_pooled`


def spec(member):
    return EncoderSpec(
        member=member,
        runtime="onnx" if member.endswith("onnx") else "litert",
        precision="int8",
        recipe="",
        input_name="image",
        output_name="embedding",
    )


def pictures(n=8, seed=4):
    return blobs(n, seed=seed, size=32)[0]


def batches():
    made = pictures(16, seed=1)
    return (made[i : i + 2] for i in range(0, 16, 2))


class Network:
    """A tiny network, traced, its float files and what torch makes of some pictures."""

    def __init__(self, factory, mean, std, wrapped=lambda module: module, **embedding):
        from edge_cl_export import load_factory
        from edge_cl_export.graph.embedding import Embedding, embed
        from edge_cl_export.graph.second_moments import weighted_layers
        from edge_cl_export.graph.to_litert import to_litert
        from edge_cl_export.graph.to_onnx import to_onnx
        from edge_cl_export.graph.trace import trace

        backbone = load_factory(f"{NET}:{factory}", size=(32, 32), mean=mean, std=std)
        module = Embedding(wrapped(backbone.module), backbone.preparation, **embedding).eval()
        self.traced = trace(module, (32, 32))
        self.graph = self.traced.graph
        self.layers = [node.name for node, _ in weighted_layers(self.graph)]
        self.step = backbone.preparation.uint8_step
        self.onnx = to_onnx(self.graph, self.traced)
        self.litert = to_litert(self.graph, (32, 32))
        self.expected = embed(module, pictures())


@pytest.fixture(scope="module")
def shared():
    return Network("make_pooled", *SHARED)


@pytest.fixture(scope="module")
def imagenet():
    return Network("make", *IMAGENET)


@pytest.fixture(scope="module")
def full(shared):
    from edge_cl_export.quantise.litert_int8 import quantize_litert

    return quantize_litert(shared.litert, batches, integer_io=True)


def quantized_onnx(network, types="u8s8", **options):
    from edge_cl_export.quantise.clipping import chosen_ranges
    from edge_cl_export.quantise.onnx_int8 import quantize_onnx
    from edge_cl_export.quantise.onnx_ranges import watch_activations
    from edge_cl_export.recipe import parse_recipe

    recipe = parse_recipe(f"onnx-int8-qdq-{types}-perchannel-minmax-nearest")
    ranges = chosen_ranges(watch_activations(network.onnx, batches()), "minmax")
    return quantize_onnx(network.onnx, ranges, recipe, network.step, **options).SerializeToString()


def cosines(a, b):
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def operators(blob):
    """Kind and tensor types of every operator."""
    from edge_cl_export.quantise.flatbuffer import kind_of, read_flat, type_of

    model = read_flat(blob)
    tensors = model.subgraphs[0].tensors
    return [
        (kind_of(model, op), {type_of(tensors[i]) for i in (*op.inputs, *op.outputs) if i >= 0})
        for op in model.subgraphs[0].operators
    ]


def test_integers_throughout_means_no_float_operator(full):
    listed = operators(full)
    kinds = [kind for kind, _ in listed]
    assert {kind for kind, _ in listed} == {
        "ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN", "PAD", "TRANSPOSE",
    }  # fmt: skip
    assert kinds.count("CONV_2D") + kinds.count("DEPTHWISE_CONV_2D") == LAYERS - 1
    assert set().union(*(types for _, types in listed)) <= {"INT8", "INT32"}
    check_tflite(full, "full")


def test_the_ends_are_bytes_too(full):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=full)
    ends = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert [end["dtype"] for end in ends] == [np.int8, np.int8]
    scale, zero = ends[0]["quantization"]
    assert zero == 127 - 128
    # up to the factor that the converter has moved into the first layer
    assert np.log2(scale) == pytest.approx(round(np.log2(scale)))


def test_features_in_bytes_are_those_of_torch(full, shared):
    found = LiteRTRunner(full, spec("a.tflite"), 1).run(pictures())
    assert found.dtype == np.float32
    assert cosines(found, shared.expected).min() > 0.998  # one lies outside the ranges seen
    norms = np.linalg.norm(found, axis=1) / np.linalg.norm(shared.expected, axis=1)
    assert np.abs(norms - 1).max() < 0.05  # a wrong scale has a perfect cosine


def test_a_mean_a_channel_becomes_one_integer_layer(imagenet):
    """The oracle: pixels normalised by hand into the float network behind the new layer."""
    from edge_cl_export.quantise.integer_io import pixel_input
    from edge_cl_export.quantise.litert_int8 import quantize_litert

    made = quantize_litert(imagenet.litert, batches, integer_io=True)
    kinds = [kind for kind, _ in operators(made)]
    assert kinds[0] == "DEPTHWISE_CONV_2D"
    assert kinds.count("DEPTHWISE_CONV_2D") == 2
    assert set().union(*(types for _, types in operators(made))) <= {"INT8", "INT32"}
    found = LiteRTRunner(made, spec("a.tflite"), 1).run(pictures())
    assert cosines(found, imagenet.expected).min() > 0.999

    pixels = pixel_input(imagenet.litert)
    assert (pixels.zero, pixels.range) == (0, (0.0, 255.0))
    runner = LiteRTRunner(pixels.model, spec("a.tflite"), 1)
    plain = runner.run(pictures().astype(np.float32))
    np.testing.assert_allclose(plain, imagenet.expected, rtol=1e-4, atol=1e-5)


def test_a_shared_whole_mean_costs_nothing_and_is_exact(shared):
    from edge_cl_export.quantise.integer_io import pixel_input

    pixels = pixel_input(shared.litert)
    low, high = pixels.range
    assert pixels.zero == 127
    assert low / high == pytest.approx(-127 / 128)
    x = low + (high - low) / 255 * pictures().astype(np.float32)
    runner = LiteRTRunner(pixels.model, spec("a.tflite"), 1)
    np.testing.assert_allclose(
        runner.run(x.astype(np.float32)), shared.expected, rtol=1e-4, atol=1e-4
    )


def test_what_is_not_normalised_or_already_quantised_is_refused(full):
    from edge_cl_export.quantise.integer_io import pixel_input

    with pytest.raises(ExportError, match="normalisation of uint8"):
        pixel_input(full)


def test_an_operator_that_is_left_in_float_is_named(shared):
    from edge_cl_export.quantise.integer_io import require_all_integer
    from edge_cl_export.quantise.litert_int8 import quantize_litert

    with pytest.raises(ExportError, match="CAST"):
        require_all_integer(quantize_litert(shared.litert, batches))


@pytest.mark.parametrize("runtime", ["onnx", "litert"])
def test_every_layer_is_integer_unless_it_is_asked_to_stay(shared, runtime):
    from edge_cl_export.graph.graph_order import in_litert, in_onnx
    from edge_cl_export.quantise.integer_share import integer_share
    from edge_cl_export.quantise.litert_int8 import quantize_litert

    kept = [shared.layers[0], shared.layers[3]]
    if runtime == "onnx":
        names = in_onnx(shared.graph, shared.onnx, kept)
        whole, mixed = quantized_onnx(shared), quantized_onnx(shared, float_layers=names)
        runner = OnnxRunner(mixed, spec("a.onnx"), 1)
    else:
        names = in_litert(shared.graph, shared.litert, kept)
        whole = quantize_litert(shared.litert, batches)
        mixed = quantize_litert(shared.litert, batches, float_layers=names)
        runner = LiteRTRunner(mixed, spec("a.tflite"), 1)
        check_tflite(mixed, "mixed")
    assert integer_share(whole).share == 1.0
    assert len(integer_share(whole).integer) == LAYERS
    assert set(integer_share(mixed).floating) == names
    assert integer_share(mixed).share == pytest.approx(1 - 2 / LAYERS)
    assert cosines(runner.run(pictures()), shared.expected).min() > 0.998


def test_layers_in_float_run_in_float_and_the_others_do_not(shared):
    from edge_cl_export.graph.graph_order import in_onnx

    kept = in_onnx(shared.graph, shared.onnx, shared.layers[1:3])
    (kinds,) = onnx_operators_run(
        quantized_onnx(shared, float_layers=kept), spec("a.onnx"), pictures(1)
    ).values()
    assert kinds["QLinearConv"] == 2 and kinds["QGemm"] == 1
    assert kinds.get("Conv", 0) + kinds.get("FusedConv", 0) == 2


@pytest.mark.parametrize("runtime", ["onnx", "litert"])
def test_a_layer_that_was_silently_left_in_float_is_an_error(shared, runtime):
    from edge_cl_export.quantise.integer_share import require_integer

    whole = shared.onnx.SerializeToString() if runtime == "onnx" else shared.litert
    with pytest.raises(ExportError, match=f"{LAYERS} of {LAYERS} layers"):
        require_integer(whole, frozenset(), "here")
    with pytest.raises(ExportError, match="should be in float, and is not"):
        require_integer(quantized_onnx(shared), {"node_conv2d"}, "here")


@pytest.mark.parametrize("runtime", ["onnx", "litert"])
def test_a_layer_is_found_by_its_weights_whatever_the_order(shared, runtime):
    """The oracle: weights read by hand from both sides."""
    from edge_cl_export.graph.graph_order import litert_layers, onnx_layers

    if runtime == "onnx":
        turned = type(shared.onnx)()
        turned.CopyFrom(shared.onnx)
        nodes = list(turned.graph.node)[::-1]
        del turned.graph.node[:]
        turned.graph.node.extend(nodes)
        found = onnx_layers(shared.graph, turned)
        assert found == onnx_layers(shared.graph, shared.onnx)
    else:
        found = litert_layers(shared.graph, shared.litert)
    assert list(found) == shared.layers
    assert len(set(found.values())) == LAYERS


def test_a_layer_without_weights_cannot_stay_in_float(shared):
    from edge_cl_export.graph.graph_order import in_onnx

    with pytest.raises(ExportError, match="relu6"):
        in_onnx(shared.graph, shared.onnx, ["relu6"])


def test_integers_throughout_and_layers_in_float_contradict_each_other(shared):
    from edge_cl_export.quantise.litert_int8 import quantize_litert

    with pytest.raises(ExportError, match="1 layers"):
        quantize_litert(shared.litert, batches, integer_io=True, float_layers={"x"})


def test_symmetric_types_have_no_zero_point(shared):
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(quantized_onnx(shared, "s8s8"))
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    zeros = [constants[n.input[2]] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    assert zeros and all(z.dtype == np.int8 and not z.any() for z in zeros)
    runner = OnnxRunner(model.SerializeToString(), spec("a.onnx"), 1)
    assert cosines(runner.run(pictures()), shared.expected).min() > 0.995


def test_the_same_bytes_come_again(full, shared):
    from edge_cl_export.quantise.litert_int8 import quantize_litert

    assert quantize_litert(shared.litert, batches, integer_io=True) == full


def test_nothing_of_a_network_of_integers_is_left_to_slow_kernels(full):
    assert set(operators_run(full, spec("a.tflite"))) == {"XNNPACK"}


def test_ranges_that_were_measured_elsewhere_are_taken(shared):
    from edge_cl_export.quantise.clipping import chosen_ranges
    from edge_cl_export.quantise.litert_int8 import quantize_litert
    from edge_cl_export.quantise.litert_ranges import watch_litert

    seen = watch_litert(shared.litert, batches())
    same = quantize_litert(shared.litert, chosen_ranges(seen, "minmax"))
    assert same == quantize_litert(shared.litert, batches)
    wide = {
        name: (10 * low, 10 * high) for name, (low, high) in chosen_ranges(seen, "minmax").items()
    }
    assert quantize_litert(shared.litert, wide) != same


# -- what stays in float -----------------------------------------------------


@pytest.fixture(scope="module")
def projected():
    """A network with a projection and embeddings of length one."""
    from edge_cl_export.graph.projection import fit

    axes = fit(np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32), 6)
    return Network("make", *SHARED, l2=True, projection=axes)


@pytest.mark.parametrize("format_", ["u8s8", "s8s8", "litert"])
def test_pooling_projection_and_length_stay_float(projected, format_):
    import onnx

    from edge_cl_export.graph.graph_order import in_litert, in_onnx
    from edge_cl_export.quantise.integer_share import integer_share
    from edge_cl_export.quantise.litert_int8 import quantize_litert

    kept = [projected.traced.projection]
    if format_ == "litert":
        names = in_litert(projected.graph, projected.litert, kept)
        made = quantize_litert(projected.litert, batches, float_layers=names)
        runner = LiteRTRunner(made, spec("a.tflite"), 1)
        listed = operators(made)
        pooling = next(k for k, (kind, _) in enumerate(listed) if kind == "MEAN")
        assert not set().union(*(types for _, types in listed[pooling:])) & {"INT8", "UINT8"}
    else:
        names = in_onnx(projected.graph, projected.onnx, kept)
        made = quantized_onnx(projected, format_, float_layers=names)
        runner = OnnxRunner(made, spec("a.onnx"), 1)
        kinds = [node.op_type for node in onnx.load_from_string(made).graph.node]
        assert not {"QuantizeLinear", "DequantizeLinear"} & set(kinds[kinds.index("ReduceMean") :])
    assert integer_share(made).floating == tuple(names)
    found = runner.run(pictures())
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=0, atol=1e-5)
    assert cosines(found, projected.expected).min() > 0.995


class NormalisesAgain(torch.nn.Module):
    """A network that was exported with a normalisation of its own."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module((x - 0.3) * 1.7)


def test_what_a_network_does_before_its_first_layer_is_not_lost():
    import onnx

    twice = Network("make", *SHARED, wrapped=NormalisesAgain)
    made = quantized_onnx(twice)
    found = OnnxRunner(made, spec("a.onnx"), 1).run(pictures())
    assert cosines(found, twice.expected).min() > 0.998
    kinds = [node.op_type for node in onnx.load_from_string(made).graph.node]
    assert kinds.count("Cast") == 1 and kinds.count("Sub") == 2


class Transformer(torch.nn.Module):
    """Patches, a class token, a block of attention and a perceptron: what a ViT is made of."""

    def __init__(self, _):
        super().__init__()
        torch.manual_seed(3)
        self.patches = torch.nn.Conv2d(3, 32, 8, stride=8)
        self.token = torch.nn.Parameter(torch.randn(1, 1, 32))
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(32) for _ in range(3))
        self.qkv, self.out = torch.nn.Linear(32, 96), torch.nn.Linear(32, 32)
        self.wide, self.back = torch.nn.Linear(32, 64), torch.nn.Linear(64, 32)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1)
        qkv = self.qkv(self.norms[0](x)).reshape(x.shape[0], 17, 3, 2, 16).permute(2, 0, 3, 1, 4)
        y = torch.nn.functional.scaled_dot_product_attention(*qkv.unbind(0))
        x = x + self.out(y.transpose(1, 2).reshape(x.shape))
        x = x + self.back(torch.nn.functional.gelu(self.wide(self.norms[1](x))))
        return self.norms[2](x)


@pytest.fixture(scope="module")
def transformer():
    return Network("make", *SHARED, wrapped=Transformer)


@pytest.mark.parametrize("types", ["u8s8", "s8s8"])
def test_the_layers_of_a_transformer_are_integer_and_its_attention_is_not(transformer, types):
    from edge_cl_export.quantise.integer_share import integer_share

    made = quantized_onnx(transformer, types)
    assert integer_share(made).share == 1.0 and len(integer_share(made).integer) == 5
    (kinds,) = onnx_operators_run(made, spec("a.onnx"), pictures(1)).values()
    assert not [kind for kind in kinds if kind.startswith("QLinear") and kind != "QLinearConv"]
    assert kinds["MatMulIntegerToFloat"] == 4 and kinds["Softmax"] == 1
    found = OnnxRunner(made, spec("a.onnx"), 1).run(pictures())
    assert cosines(found, transformer.expected).min() > 0.998


def test_a_transformer_in_litert_too(transformer):
    from edge_cl_export.quantise.integer_share import integer_share
    from edge_cl_export.quantise.litert_int8 import quantize_litert

    made = quantize_litert(transformer.litert, batches)
    assert integer_share(made).share == 1.0 and len(integer_share(made).integer) == 5
    attention = [types for kind, types in operators(made) if kind in ("BATCH_MATMUL", "SOFTMAX")]
    assert len(attention) == 3 and set().union(*attention) == {"FLOAT32"}
    found = LiteRTRunner(made, spec("a.tflite"), 1).run(pictures())
    assert cosines(found, transformer.expected).min() > 0.998
    with pytest.raises(ExportError, match="CONCATENATION with a constant"):
        quantize_litert(transformer.litert, batches, integer_io=True)


class Odds(torch.nn.Module):
    """A hard swish, and a map of constants beside the channels."""

    def __init__(self, module):
        super().__init__()
        self.module = module
        torch.manual_seed(5)
        self.behind, self.last = torch.nn.Conv2d(32, 8, 1), torch.nn.Conv2d(9, 8, 1)
        self.places = torch.nn.Parameter(torch.linspace(-1, 1, 49).reshape(1, 1, 7, 7))

    def forward(self, x):
        y = self.behind(torch.nn.functional.hardswish(self.module(x)))
        return self.last(torch.cat([self.places.expand(x.shape[0], -1, -1, -1), y], dim=1))


def test_what_the_quantiser_or_the_fast_kernels_refuse_is_float():
    from edge_cl_export.quantise.integer_share import integer_share
    from edge_cl_export.quantise.litert_int8 import quantize_litert

    network = Network("make", *SHARED, wrapped=Odds)
    made = quantize_litert(network.litert, batches)
    assert integer_share(made).share == 1.0
    assert "HARD_SWISH" in operators_run(made, spec("a.tflite"))["XNNPACK"]
    assert ("CONCATENATION", {"FLOAT32"}) in operators(made)
    found = LiteRTRunner(made, spec("a.tflite"), 1).run(pictures())
    assert cosines(found, network.expected).min() > 0.998
