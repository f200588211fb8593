"""What the exported network computes: layer, pooling, projection, norm; and what it refuses."""

import numpy as np
import onnx
import pytest
import torch
from export_samples import PIXELS, blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from tiny_net import make, make_one_at_a_time, make_pooled, make_two_outputs, make_untraceable
from torch import nn
from torch.nn import functional

from edge_cl.errors import EdgeCLError, ExportError, InputError
from edge_cl_export.graph.embedding import EPS, Embedding, Preparation, embed
from edge_cl_export.graph.layers import layers
from edge_cl_export.graph.projection import fit
from edge_cl_export.graph.to_onnx import to_onnx
from edge_cl_export.graph.trace import trace

SIZE = (32, 32)
PREPARATION = Preparation(size=SIZE, **PIXELS)


class Net(nn.Module):
    """A network whose forward pass is a function."""

    def __init__(self, forward):
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)
        self.fit64 = nn.Linear(8 * 62 * 62, 4)
        self.function = forward

    def forward(self, x):
        return self.function(self, x)


def tokens(net, x):
    return net.conv(x).flatten(2).transpose(1, 2)


def of_the_data(net, x):
    y = net.conv(x)
    return y if float(y.sum()) > 0 else -y


def pictures(n=4):
    return blobs(n, seed=11, size=32)[0]


def normalised(images):
    return torch.from_numpy((images.astype(np.float32) - 127.0) / 128.0).permute(0, 3, 1, 2)


def run(module, images):
    with torch.no_grad():
        return module.eval()(normalised(images)).numpy()


def features(net, images=None, **options):
    return embed(
        Embedding(net.eval(), PREPARATION, **options), pictures() if images is None else images
    )


def traced(net, **options):
    return trace(Embedding(net.eval(), PREPARATION, **options), SIZE)


# pooling and norm


@pytest.mark.parametrize("make_map", [make, lambda: Net(tokens)], ids=["map", "tokens"])
@pytest.mark.parametrize("pool", ["mean", "max", "none"])
def test_pooling_is_what_numpy_does_over_positions(make_map, pool):
    net = make_map()
    x = run(net, pictures())
    axes = (2, 3) if x.ndim == 4 else (1,)
    expected = {"mean": x.mean(axes), "max": x.max(axes), "none": x.reshape(len(x), -1)}[pool]
    np.testing.assert_allclose(features(net, pool=pool), expected, rtol=1e-5, atol=1e-6)


def test_the_token_is_the_first_one():
    net = Net(tokens)
    np.testing.assert_array_equal(features(net, pool="token"), run(net, pictures())[:, 0])


def test_l2_gives_the_direction_and_leaves_nothing_undefined():
    net = make_pooled()
    x = features(net)
    y = features(net, l2=True)
    np.testing.assert_allclose(y, x / np.linalg.norm(x, axis=1, keepdims=True), rtol=1e-5)
    with torch.no_grad():
        for weight in net.out.parameters():
            weight.zero_()
    assert not features(net, l2=True).any()
    with torch.no_grad():
        net.out.bias.fill_(EPS / 1000)
    np.testing.assert_allclose(features(net, l2=True), 1e-3, rtol=1e-5)


# projection


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(1, 9), st.integers(0, 99), st.floats(0.1, 1e3), st.data())
def test_the_projection_is_sklearns_pca(n, d, seed, scale, data):
    rng = np.random.default_rng(seed)
    x = (scale * rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 5).astype(np.float32)
    k = data.draw(st.integers(1, min(n - 1, d)))
    ours, oracle = fit(x, k), PCA(k, svd_solver="full").fit(x.astype(np.float64))
    np.testing.assert_allclose(ours.explained, oracle.explained_variance_ratio_, atol=1e-9)
    np.testing.assert_allclose(ours.mean, oracle.mean_, rtol=1e-9)
    np.testing.assert_allclose(ours.weight @ ours.weight.T, np.eye(k), atol=1e-9)
    y = x @ ours.weight.T + ours.bias
    np.testing.assert_allclose(np.abs(y), np.abs(oracle.transform(x)), atol=2e-5 * np.abs(x).max())
    largest = np.abs(ours.weight).argmax(axis=1)
    assert (ours.weight[np.arange(k), largest] > 0).all()


def test_all_dimensions_keep_all_distances():
    x = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32)
    all_of_them = fit(x, 7)
    y = x @ all_of_them.weight.T
    np.testing.assert_allclose(
        np.linalg.norm(y[:, None] - y, axis=2), np.linalg.norm(x[:, None] - x, axis=2), atol=1e-5
    )
    assert all_of_them.explained.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("dims", [0, 8, 6])
def test_a_projection_to_more_than_there_is_is_refused(dims):
    x = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)
    with pytest.raises(InputError, match=r"expected 1 to 5 dimensions, got "):
        fit(x, dims)
    with pytest.raises(InputError, match="same features"):
        fit(np.ones((6, 7), np.float32), 2)


def test_the_projection_is_one_affine_map_behind_the_pooling():
    net, seen = make(), blobs(64, seed=2, size=32)[0]
    plain = features(net, seen)
    projection = fit(plain, 6)
    oracle = PCA(6, svd_solver="full").fit(plain.astype(np.float64)).transform(plain)
    projected = features(net, seen, projection=projection)
    assert projected.shape == (64, 6)
    np.testing.assert_allclose(np.abs(projected), np.abs(oracle), atol=1e-4)
    short = features(net, seen, projection=projection, l2=True)
    np.testing.assert_allclose(
        short, projected / np.linalg.norm(projected, axis=1, keepdims=True), atol=1e-5
    )


def test_the_trace_says_which_layer_is_the_projection():
    net = make_pooled()
    assert traced(net).projection is None
    projection = fit(features(net, blobs(32, seed=2, size=32)[0]), 5)
    found = traced(net, projection=projection)
    linear = [n for n in found.graph.graph.nodes if n.target is torch.ops.aten.linear.default]
    assert len(linear) == 2
    assert found.projection == linear[-1].name
    assert found.d == 5


def test_a_projection_of_other_features_is_refused():
    projection = fit(np.random.default_rng(0).normal(size=(9, 8)).astype(np.float32), 2)
    with pytest.raises(InputError, match="for 8 features, the network has 32"):
        features(make(), projection=projection)


def test_onnx_and_litert_give_what_torch_gives():
    import onnxruntime as ort
    from ai_edge_litert.interpreter import Interpreter

    from edge_cl_export.graph.to_litert import to_litert

    net, images = make(), blobs(24, seed=4, size=32)[0]
    options = {"layer": "3.norm", "pool": "max", "l2": True}
    plain = features(net, images, layer="3.norm", pool="max")
    options["projection"] = fit(plain, 5)
    expected = features(net, images, **options)
    made = traced(net, **options)
    model = to_onnx(made.graph, made)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"image": images})[0], expected, atol=1e-5)
    interpreter = Interpreter(model_content=to_litert(made.graph, SIZE))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images[:1])
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, expected[:1], atol=1e-5)
    # What comes after the layer is not in the file
    weights = {t.name: onnx.numpy_helper.to_array(t).size for t in model.graph.initializer}
    kept = sum(p.numel() for p in net[:1].parameters()) + net[3].deep.weight.numel()
    assert sum(weights.values()) < kept + 16 + 16 + 5 * 17 + 16
    assert [n.op_type for n in model.graph.node].count("Conv") == 2


# layers


def test_a_layer_gives_what_the_network_up_to_it_gives():
    net = make()
    for stop in (1, 4, 7):
        np.testing.assert_allclose(
            features(net, layer=str(stop - 1)),
            run(net[:stop], pictures()).mean((2, 3)),
            rtol=1e-5,
            atol=1e-6,
        )


def test_what_comes_after_a_layer_may_be_what_it_likes():
    for net in (Net(of_the_data), make_two_outputs(), Net(lambda s, x: s.fit64(s.conv(x)))):
        made = traced(net, layer="conv")
        with torch.no_grad():
            found = made.graph(torch.from_numpy(pictures())).numpy()
            expected = net.conv(normalised(pictures())).mean((2, 3)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_batch_norms_before_a_layer_are_folded():
    kinds = [n.target for n in traced(make(), layer="3").graph.graph.nodes]
    assert torch.ops.aten.batch_norm.default not in kinds


WRONG_LAYERS = {
    "unknown": (make, "3.norms", InputError, r"no layer '3\.norms'", "did you mean 3.norm"),
    "nothing like it": (make, "zzzz", InputError, "no layer 'zzzz'", "--layers"),
    "twice": (lambda: Net(lambda s, x: s.conv(x) + s.conv(-x)), "conv", ExportError, "2 times", ""),
    "never": (lambda: Net(lambda s, x: s.conv(x)), "fit64", ExportError, "does not run", ""),
    "tuple": (
        lambda: nn.Sequential(make_two_outputs(), Net(lambda s, x: x[0])),
        "0",
        ExportError,
        r"2 outputs \(\(1, 4, 30, 30\), \(1, 4\)\)",
        "inside",
    ),
    "fails before": (
        lambda: nn.Sequential(Net(lambda s, x: s.fit64(x)), nn.Conv2d(3, 4, 3)),
        "1",
        ExportError,
        "fails before its layer '1': RuntimeError",
        "--input-size",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_LAYERS.values(), ids=WRONG_LAYERS.keys())
def test_a_layer_that_cannot_be_taken_is_one_line(wrong):
    factory, layer, error, message, hint = wrong
    with pytest.raises(error, match=message) as caught:
        Embedding(factory(), PREPARATION, layer=layer)
    assert "\n" not in str(caught.value)
    assert hint in caught.value.hint


def test_the_list_of_layers_says_what_each_gives():
    net = make()
    net.train()
    net[3].norm.eval()
    before = {name: part.training for name, part in net.named_modules()}
    statistics = net[1].running_mean.clone()
    rows = {row.name: row for row in layers(net, PREPARATION)}
    assert list(rows) == ["0", "1", "2", "3.deep", "3.norm", "3.wide", "3", "4", "5", "6"]
    assert (rows["0"].type, rows["0"].shape, rows["0"].parameters) == (
        "Conv2d",
        (16, 16, 16),
        16 * 3 * 9,
    )
    assert (rows["3"].type, rows["3"].shape, rows["3"].parameters) == (
        "Block",
        (16, 16, 16),
        16 * 9 + 32 + 16 * 17,
    )
    assert rows["6"].shape == (32, 7, 7)
    assert {name: part.training for name, part in net.named_modules()} == before
    assert torch.equal(net[1].running_mean, statistics)
    assert not any(part._forward_hooks for part in net.modules())


def test_a_layer_that_cannot_be_taken_is_listed_without_a_shape():
    rows = {row.name: row for row in layers(nn.Sequential(make_two_outputs()), PREPARATION)}
    assert rows["0"].shape is None
    assert rows["0.conv"].shape == (4, 30, 30)
    twice = layers(Net(lambda s, x: s.conv(x) + s.conv(-x)), PREPARATION)
    assert [(row.name, row.shape) for row in twice] == [("conv", None)]


# what cannot be exported


def dropped(net, x):
    return functional.dropout(net.conv(x), 0.5)


LIMITS = {
    "control flow": (make_untraceable, r"decides by .* tiny_net\.py:\d+ \(return ", "torch.where"),
    "a number of the data": (
        lambda: Net(lambda s, x: s.conv(x)[:, : int(x.abs().max()) + 1]),
        "decides by the values of its data",
        "--layer",
    ),
    "selection": (
        lambda: Net(lambda s, x: s.conv(x)[s.conv(x) > 0].reshape(1, -1)),
        "number of features depends on the picture",
        "condition",
    ),
    "out of torch": (
        lambda: Net(lambda s, x: torch.from_numpy(s.conv(x).numpy() * 2)),
        r"cannot be traced .*test_embedding\.py:\d+",
        "--layer",
    ),
    "two outputs": (make_two_outputs, r"2 outputs \(\(1, 4, 30, 30\), \(1, 4\)\)", "--layer"),
    "a dict": (lambda: Net(lambda s, x: {"a": s.conv(x)}), "1 outputs", "--layer"),
    "nothing": (lambda: Net(lambda s, x: None), "returns a NoneType", "--layer"),
    "five axes": (lambda: Net(lambda s, x: s.conv(x)[:, None]), r"shape \(1, 1, 8", "--layer"),
    "double": (lambda: Net(lambda s, x: s.conv(x).double()), "float64, expected", ""),
    "input size": (
        lambda: Net(lambda s, x: s.fit64(s.conv(x).flatten(1))),
        r"fails for pictures of 32x32 at .*: RuntimeError: mat1 and mat2",
        "--input-size 64",
    ),
    "its own error": (lambda: Net(lambda s, x: {}["no"]), "KeyError: 'no'", ""),
    "no weights": (lambda: Net(lambda s, x: x.relu()), "no convolution", "--layer"),
    "dropout": (lambda: Net(dropped), r"aten\.dropout\.default in Net drops", "training"),
    "noise": (
        lambda: Net(lambda s, x: s.conv(x) + torch.randn(8, 1, 1)),
        r"aten\.randn\.default in Net makes features differ",
        "--layer",
    ),
    "batch norm by the batch": (
        lambda: Net(lambda s, x: s.norm(s.conv(x))),
        "batch norm in norm normalises by the batch",
        "track_running_stats",
    ),
    "half": (lambda: make().half(), r"Conv2d 0\.weight is float16", ".float()"),
    "elsewhere": (lambda: make().to("meta"), r"Conv2d 0\.weight is on the device meta", "cpu"),
    "lazy": (lambda: nn.Sequential(nn.LazyConv2d(4, 3)), "LazyConv2d 0.weight is of a lazy", "run"),
    "nothing to pool": (make_pooled, "nothing to pool by 'max'", "none"),
}


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS.keys())
def test_what_cannot_be_traced_is_one_line_with_a_way_out(limit):
    factory, message, hint = limit
    options = {"pool": "max"} if "pool" in message else {}
    with pytest.raises(ExportError, match=message) as caught:
        traced(factory(), **options)
    assert "\n" not in str(caught.value) + caught.value.hint
    assert hint in caught.value.hint


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_refused():
    with pytest.raises(ExportError, match="is TorchScript"):
        Embedding(torch.jit.script(nn.Conv2d(3, 4, 3)), PREPARATION)


def test_pooling_that_does_not_fit_is_refused():
    for pool, message in (("token", "no tokens"), ("average", "no pooling is called 'average'")):
        with pytest.raises(EdgeCLError, match=message):
            features(make(), pool=pool)


def test_dropout_that_is_off_and_attention_pass():
    def attends(net, x):
        q = tokens(net, functional.dropout(x, training=net.training))
        return functional.scaled_dot_product_attention(q, q, q)

    assert traced(Net(attends)).d == 8


def test_a_network_for_one_picture_is_traced_for_one():
    assert not traced(make_one_at_a_time()).any_batch
    assert traced(make()).any_batch


# preparation

UNITS = {
    "of 0..1": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), False),
    "half of 0..1": ((0.5,) * 3, (1.0,) * 3, False),
    "raw pixels": ((0.0,) * 3, (1.0,) * 3, True),
    "means alone": ((123.68, 116.78, 103.94), (1.0,) * 3, True),
    "ImageNet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), True),
}


@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS.keys())
def test_mean_and_std_are_in_pixel_units(units):
    mean, std, right = units
    if right:
        assert Preparation(size=SIZE, mean=mean, std=std).spec.shape == (32, 32, 3)
    else:
        with pytest.raises(InputError, match="pixel units"):
            Preparation(size=SIZE, mean=mean, std=std)
