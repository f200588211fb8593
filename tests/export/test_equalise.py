"""Laws of cross-layer equalisation: the function stays, the channels become alike."""

import numpy as np
import pytest
import torch
from export_samples import PIXELS, blobs
from torch import nn

from edge_cl_export.graph.embedding import Embedding, embed
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.graph.trace import trace, weight_of
from edge_cl_export.remedy.equalise import FARTHEST, equalise

PICTURES, _ = blobs(16, size=32)
UNSEEN = np.random.default_rng(5).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)


def uneven(*parts):
    """Return a network of `parts` whose first layer's channels differ by a factor of forty."""
    torch.manual_seed(0)
    net = nn.Sequential(*parts)
    with torch.no_grad():
        rows = torch.logspace(-1, 0.6, net[0].out_channels)
        net[0].weight *= rows[:, None, None, None]
        net[0].bias.copy_(rows * 0.1)
    return net


def graph_of(net):
    module = Embedding(net.eval(), Preparation(size=(32, 32), **PIXELS)).eval()
    return trace(module, (32, 32)).graph


def node_of(graph, name):
    return next(n for n in graph.graph.nodes if n.name == name)


def weights(graph, name):
    return weight_of(graph, node_of(graph, name).args[1]).detach().double().numpy()


def outputs(graph, name, pictures):
    """Return what a layer gives, from a graph that ends there."""
    seen = {}

    class Look(torch.fx.Interpreter):
        def run_node(self, n):
            out = super().run_node(n)
            if n.name == name:
                seen[name] = out
            return out

    with torch.no_grad():
        Look(graph).run(torch.from_numpy(pictures))
    return seen[name].numpy()


CASES = {
    "relu": lambda: uneven(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3)),
    "in place": lambda: uneven(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 6, 3)),
    "leaky": lambda: uneven(nn.Conv2d(3, 8, 3), nn.LeakyReLU(0.1), nn.Conv2d(8, 6, 3)),
    "nothing between": lambda: uneven(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1)),
    "groups": lambda: uneven(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2)),
    "depthwise": lambda: uneven(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1, groups=8), nn.Conv2d(16, 6, 1)
    ),
    "pooled": lambda: uneven(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.ZeroPad2d(1), nn.Conv2d(8, 6, 3)
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_float_function_stays_on_any_picture(case):
    graph = graph_of(CASES[case]())
    equal, done = equalise(graph, [PICTURES[:8], PICTURES[8:]])
    assert done.pairs
    assert not done.left_alone
    for pictures in (PICTURES, UNSEEN):
        expected = embed(graph, pictures)
        np.testing.assert_allclose(embed(equal, pictures), expected, rtol=2e-4, atol=2e-6)
    assert not np.array_equal(weights(equal, "conv2d"), weights(graph, "conv2d"))


def test_activation_and_column_of_a_channel_become_equal():
    graph = graph_of(CASES["relu"]())
    equal, done = equalise(graph, [PICTURES])
    reach = outputs(equal, "conv2d", PICTURES).max(axis=(0, 2, 3))
    # a column counts in units of its row's largest weight before the change
    rows = np.abs(weights(graph, "conv2d_1")).max(axis=(1, 2, 3), keepdims=True)
    columns = np.abs(weights(equal, "conv2d_1") / rows).max(axis=(0, 2, 3))
    ratio = reach / columns
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    before = outputs(graph, "conv2d", PICTURES).max(axis=(0, 2, 3))
    assert before.max() / before.min() > 10
    assert reach.max() / reach.min() < 0.5 * before.max() / before.min()
    np.testing.assert_allclose(reach.max(), before.max(), rtol=1e-5)
    assert done.pairs[0].spread_after < done.pairs[0].spread_before


def test_channels_in_front_of_a_depthwise_layer_become_equal_altogether():
    graph = graph_of(CASES["depthwise"]())
    equal, done = equalise(graph, [PICTURES])
    before = outputs(graph, "conv2d", PICTURES).max(axis=(0, 2, 3))
    after = outputs(equal, "conv2d", PICTURES).max(axis=(0, 2, 3))
    far = before < before.max() / FARTHEST
    assert far.any() and not far.all()
    np.testing.assert_allclose(after[~far], before.max(), rtol=1e-4)
    np.testing.assert_allclose(after[far], before[far] * FARTHEST, rtol=1e-4)
    assert [(p.first, p.second) for p in done.pairs] == [
        ("conv2d", "conv2d_1"),
        ("conv2d_1", "conv2d_2"),
    ]


@pytest.mark.parametrize(
    ("between", "name"),
    [
        (nn.ReLU6, "hardtanh"),
        (nn.Hardswish, "hardswish"),
        (nn.GELU, "gelu"),
        (nn.SiLU, "silu"),
    ],
)
def test_what_cannot_be_scaled_through_is_left_alone_and_named(between, name):
    graph = graph_of(uneven(nn.Conv2d(3, 8, 3), between(), nn.Conv2d(8, 6, 3)))
    equal, done = equalise(graph, [PICTURES])
    assert done.pairs == ()
    assert done.left_alone == (("conv2d", "conv2d_1", name),)
    np.testing.assert_array_equal(embed(equal, UNSEEN), embed(graph, UNSEEN))


class Branches(nn.Module):
    """The first layer's output is used twice, so nothing may be divided out of it."""

    def __init__(self, activation):
        super().__init__()
        self.activation = activation
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x):
        y = self.activation(self.first(x))
        return y + self.second(y)


class Flat(nn.Module):
    """A convolution, its mean over positions, two linear layers."""

    def __init__(self):
        super().__init__()
        self.conv, self.a, self.b = nn.Conv2d(3, 8, 3), nn.Linear(8, 7), nn.Linear(7, 5)

    def forward(self, x):
        return self.b(torch.relu(self.a(torch.relu(self.conv(x)).mean((2, 3)))))


class Widths(nn.Module):
    """A linear layer over the last axis, which is no channel of the convolution."""

    def __init__(self):
        super().__init__()
        self.conv, self.across = nn.Conv2d(3, 32, 1), nn.Linear(32, 4)

    def forward(self, x):
        return self.across(torch.relu(self.conv(x)))


def test_pairs_are_only_where_channel_meets_channel():
    for net, expected in (
        (Branches(nn.ReLU()), 0),
        (Branches(nn.Identity()), 0),
        (Flat(), 2),
        (Widths(), 0),
    ):
        graph = graph_of(net)
        equal, done = equalise(graph, [PICTURES])
        assert len(done.pairs) == expected
        np.testing.assert_allclose(embed(equal, UNSEEN), embed(graph, UNSEEN), rtol=2e-4, atol=2e-6)


def test_channels_that_are_never_active_stay():
    net = uneven(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    with torch.no_grad():
        net[0].bias[1], net[2].weight[:, 2] = -1e3, 0.0
    graph = graph_of(net)
    equal, _ = equalise(graph, [PICTURES])
    for channel in (1, 2):
        np.testing.assert_array_equal(
            weights(equal, "conv2d")[channel], weights(graph, "conv2d")[channel]
        )
    assert np.isfinite(embed(equal, UNSEEN)).all()


def test_the_graph_given_is_untouched_and_the_same_comes_out_twice():
    graph = graph_of(CASES["depthwise"]())
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    one, _ = equalise(graph, [PICTURES])
    two, _ = equalise(graph, [PICTURES])
    for name, value in graph.state_dict().items():
        assert torch.equal(value, before[name])
    for name in ("conv2d", "conv2d_1", "conv2d_2"):
        np.testing.assert_array_equal(weights(one, name), weights(two, name))
