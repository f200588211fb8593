"""Laws of rounding by second moments, and of folding batch norms."""

import numpy as np
import pytest
import torch
from export_samples import NET, PIXELS, blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edge_cl_export.graph.embedding import Embedding, embed
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.graph.second_moments import LayerMoments, layer_moments, weighted_layers
from edge_cl_export.graph.trace import trace, weight_of
from edge_cl_export.remedy.bias_correction import correct_biases
from edge_cl_export.remedy.rounding import LEVELS, round_nearest, round_row_weights, round_weights
from edge_cl_export.sources import load_factory


def correlated(rng, f):
    a = rng.normal(size=(f, f)) @ np.diag(np.geomspace(1, 30, f))
    return a @ a.T


def output_error(w, q, covariance):
    return np.einsum("rf,fg,rg->", q - w, covariance, q - w)


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 8), st.integers(1, 24))
def test_weights_lie_on_one_int8_grid_a_row_whose_largest_is_kept(seed, rows, f):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(rows, f))
    q = round_row_weights(w, correlated(rng, f))
    scale = np.abs(w).max(axis=1, keepdims=True) / LEVELS
    np.testing.assert_allclose(q / scale, np.rint(q / scale), atol=1e-9)
    np.testing.assert_allclose(np.abs(q).max(axis=1), np.abs(w).max(axis=1))


def test_the_output_keeps_its_value_better_than_with_nearest_rounding():
    rng = np.random.default_rng(0)
    w, covariance = rng.normal(size=(32, 48)), correlated(rng, 48)
    nearest = output_error(w, round_row_weights(w, None), covariance)
    assert output_error(w, round_row_weights(w, covariance), covariance) < 0.5 * nearest


def test_a_constant_input_and_a_row_of_zeros_are_no_trouble():
    w = np.array([[0.0, 0.0], [1.0, -0.3]])
    for covariance in (np.zeros((2, 2)), np.eye(2), None):
        q = round_row_weights(w, covariance)
        assert np.isfinite(q).all()
        assert not q[0].any()


@pytest.fixture(scope="module")
def traced():
    backbone = load_factory(f"{NET}:make", size=(32, 32), **PIXELS)
    module = Embedding(backbone.module, backbone.preparation).eval()
    return module, trace(module, (32, 32))


def test_folding_batch_norms_changes_nothing(traced):
    module, folded = traced
    pictures, _ = blobs(6, size=32)
    np.testing.assert_allclose(
        embed(folded.graph, pictures), embed(module, pictures), rtol=1e-4, atol=1e-5
    )
    assert not any("batch_norm" in str(node.target) for node in folded.graph.graph.nodes)
    assert folded.any_batch
    assert folded.d == 32


def test_moments_are_those_of_the_patches_by_definition():
    torch.manual_seed(0)
    graph = torch.fx.GraphModule(nn.Module(), torch.fx.Graph())
    graph.register_buffer("w", torch.randn(6, 2, 3, 3))
    x = graph.graph.placeholder("x")
    as_float = graph.graph.call_function(torch.ops.aten.to.dtype, (x, torch.float32))
    w = graph.graph.get_attr("w")
    conv = torch.ops.aten.conv2d.default
    node = graph.graph.call_function(conv, (as_float, w, None, [2, 2], [1, 1], [1, 1], 2))
    graph.graph.output(node)
    graph.recompile()
    pictures = np.random.default_rng(0).integers(0, 255, (5, 4, 9, 9), dtype=np.uint8)
    found = layer_moments(graph, [pictures[:2], pictures[2:]])[node.name]
    padded = np.pad(pictures.astype(float), ((0, 0), (0, 0), (1, 1), (1, 1)))
    for group in range(2):
        patches = np.stack(
            [
                padded[n, 2 * group : 2 * group + 2, i : i + 3, j : j + 3].ravel()
                for n in range(5)
                for i in range(0, 9, 2)
                for j in range(0, 9, 2)
            ]
        )
        np.testing.assert_allclose(found.mean[group], patches.mean(0), rtol=1e-5)
        np.testing.assert_allclose(
            found.second[group], patches.T @ patches / len(patches), rtol=1e-4
        )


def layer_inputs(graph, name, pictures):
    """Return what layer `name` of `graph` is given."""
    seen = {}

    class Look(torch.fx.Interpreter):
        def run_node(self, n):
            if n.name == name:
                seen["x"] = self.fetch_args_kwargs_from_env(n)[0][0]
            return super().run_node(n)

    with torch.no_grad():
        Look(graph).run(torch.from_numpy(pictures))
    return seen["x"]


@pytest.mark.parametrize("rounding", [round_nearest, round_weights])
def test_the_mean_of_each_layer_is_that_of_the_float_layer(traced, rounding):
    _, folded = traced
    pictures, _ = blobs(12, size=32)
    graph = folded.graph
    rounded = rounding(graph, layer_moments(graph, [pictures[:6], pictures[6:]]))
    nodes = {n.name: n for n in rounded.graph.nodes}
    left, uncorrected = [], []
    for node, weight in weighted_layers(graph):
        x = layer_inputs(graph, node.name, pictures).double()
        bias = weight_of(graph, node.args[2]).double()
        q, corrected = (weight_of(rounded, a).double() for a in nodes[node.name].args[1:3])
        given, wanted, plain = (
            node.target(x, w, b, *node.args[3:]).mean((0, 2, 3))
            for w, b in ((q, corrected), (weight.double(), bias), (q, bias))
        )
        left.append((given - wanted).abs().max().item())
        uncorrected.append((plain - wanted).abs().max().item())
    assert max(left) < 2e-6
    assert min(uncorrected) > 2e-5


def test_only_what_varies_counts_the_mean_is_the_bias_s_business():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 24, 1), nn.Conv2d(24, 32, 1)
    module = Embedding(nn.Sequential(*conv).eval(), Preparation(size=(32, 32), **PIXELS)).eval()
    graph = trace(module, (32, 32)).graph
    rng = np.random.default_rng(0)
    covariance, mean = correlated(rng, 24) / 100, rng.normal(size=24) * 100
    second = covariance + np.outer(mean, mean)
    w = conv[1].weight.detach().double().numpy().reshape(32, 24)
    moments = {"conv2d_1": LayerMoments(mean=mean[None], second=second[None])}
    rounded = round_weights(graph, moments)
    layer = next(n for n in rounded.graph.nodes if n.name == "conv2d_1")
    q = weight_of(rounded, layer.args[1]).double().numpy().reshape(32, 24)
    uncentred = output_error(w, round_row_weights(w, second), covariance)
    assert output_error(w, q, covariance) < 0.8 * uncentred


def test_a_layer_without_bias_gets_one_and_unknown_layers_stay():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 5, 1, bias=False))
    module = Embedding(net.eval(), Preparation(size=(32, 32), **PIXELS)).eval()
    graph = trace(module, (32, 32)).graph
    pictures, _ = blobs(4, size=32)
    moments = {"conv2d": layer_moments(graph, [pictures])["conv2d"]}
    rounded = round_nearest(graph, moments)
    first, second = [n for n in rounded.graph.nodes if n.target is torch.ops.aten.conv2d.default]
    assert weight_of(rounded, first.args[2]).abs().max() > 0
    assert len(second.args) < 3 or second.args[2] is None
    again = correct_biases(graph, rounded, {})
    np.testing.assert_array_equal(embed(again, pictures), embed(rounded, pictures))


def test_rounded_weights_stay_close_and_the_original_is_untouched(traced):
    _, folded = traced
    pictures, _ = blobs(24, size=32)
    before = embed(folded.graph, pictures)
    rounded = round_weights(folded.graph, layer_moments(folded.graph, [pictures[:12]]))
    np.testing.assert_array_equal(embed(folded.graph, pictures), before)
    after = embed(rounded, pictures)
    assert 0 < np.abs(after - before).max() < 0.1
    np.testing.assert_allclose(after.mean(0), before.mean(0), atol=0.01)  # bias correction
    for _, weight in weighted_layers(rounded):
        rows = weight.detach().double().numpy().reshape(len(weight), -1)
        steps = rows / (np.abs(rows).max(axis=1, keepdims=True) / LEVELS)
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
