"""Sensitivity of layers by definition, and the frontier against brute force."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from export_samples import NET, PIXELS, blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edge_cl.errors import InputError, StorageError
from edge_cl_export.graph.embedding import Embedding, embed
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.graph.second_moments import layer_moments, weighted_layers
from edge_cl_export.graph.trace import trace, weight_of
from edge_cl_export.remedy.frontier import frontier, halvings
from edge_cl_export.remedy.frontier_picture import draw_frontier
from edge_cl_export.remedy.rounding import round_weights
from edge_cl_export.remedy.sensitivity import Sensitivity, divergence, sensitivities
from edge_cl_export.sources import load_factory

PICTURES, _ = blobs(12, size=32)


def graph_of(net):
    module = Embedding(net.eval(), Preparation(size=(32, 32), **PIXELS)).eval()
    return trace(module, (32, 32)).graph


@pytest.fixture(scope="module")
def graph():
    return graph_of(load_factory(f"{NET}:make_pooled", size=(32, 32), **PIXELS).module)


def kl_by_definition(f, g):
    m = f.mean(0)

    def cos(a, b):
        return (a - m) @ (b - m) / np.linalg.norm(a - m) / np.linalg.norm(b - m)

    n = len(f)
    spread = np.std([cos(f[i], f[j]) for i in range(n) for j in range(n) if i != j])
    total = 0.0
    for i in range(n):
        others = [j for j in range(n) if j != i]
        p = np.exp([cos(f[i], f[j]) / spread for j in others])
        q = np.exp([cos(g[i], f[j]) / spread for j in others])
        total += np.sum(p / p.sum() * np.log(p / p.sum() / (q / q.sum())))
    return total / n


def test_divergence_is_the_mean_kl_by_definition():
    rng = np.random.default_rng(0)
    f = rng.normal(size=(9, 5)) + 3
    g = f + 0.1 * rng.normal(size=f.shape)
    assert divergence(f, g) == pytest.approx(kl_by_definition(f, g), rel=1e-9)
    assert divergence(f, f) == 0.0
    assert divergence(1e3 * f, 1e3 * g) == pytest.approx(divergence(f, g), rel=1e-9)


def with_layer_in_int8(graph, name, pictures):
    """Return the features with one layer in int8, by running everything and cutting in."""
    weights = {node.name: w for node, w in weighted_layers(graph)}

    class Cut(torch.fx.Interpreter):
        def run_node(self, n):
            if n.name != name:
                return super().run_node(n)
            (x, w, *rest), _ = self.fetch_args_kwargs_from_env(n)
            low, high = min(x.min().item(), 0), max(x.max().item(), 0)
            step = (high - low) / 255
            zero = round(-low / step)
            x = (torch.clamp(torch.round(x / step) + zero, 0, 255) - zero) * step
            w = weights[name].double()
            scale = w.abs().flatten(1).amax(1).reshape(-1, *[1] * (w.ndim - 1)) / 127
            return n.target(x, (torch.round(w / scale) * scale).float(), *rest)

    with torch.no_grad():
        return Cut(graph).run(torch.from_numpy(pictures)).double().numpy()


def test_each_layer_is_the_only_one_in_int8(graph):
    found = sensitivities(graph, PICTURES)
    layers = [node.name for node, _ in weighted_layers(graph)]
    assert [s.layer for s in found] == layers
    features = embed(graph, PICTURES).astype(np.float64)
    for s, (_, weight) in zip(found, weighted_layers(graph), strict=True):
        changed = with_layer_in_int8(graph, s.layer, PICTURES)
        expected = kl_by_definition(features, changed)
        assert s.omega == pytest.approx(expected, rel=1e-3, abs=1e-9)
        assert s.weights == weight.numel()
        assert s.omega > 0


def test_the_layer_with_a_huge_weight_in_every_row_is_the_worst():
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Conv2d(c, 8, 3) for c in (3, 8, 8)))
    with torch.no_grad():  # one weight a row on a channel that is 0: the others lose their bits
        net[0].weight[0], net[0].bias[0] = 0.0, 0.0
        net[1].weight[:, 0, 0, 0] = 40.0
    found = {s.layer: s.omega for s in sensitivities(graph_of(net), PICTURES)}
    assert max(found, key=found.get) == "conv2d_1"
    assert found["conv2d_1"] > 10 * found["conv2d_2"]


def test_weights_already_rounded_stand_for_the_layer(graph):
    rounded = round_weights(graph, layer_moments(graph, [PICTURES]))
    plain = sensitivities(graph, PICTURES)
    better = sensitivities(graph, PICTURES, rounded=rounded)
    assert [s.layer for s in better] == [s.layer for s in plain]
    assert sum(s.omega for s in better) < sum(s.omega for s in plain)


class Overwrites(nn.Module):
    """One branch writes into what the other reads."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(n, 4, 3, padding=1) for n in (3, 4, 4))

    def forward(self, x):
        y = self.a(x)
        z = self.b(y)
        return self.c(y.relu_()) + z


def test_operators_that_write_into_their_input_do_no_harm():
    graph = graph_of(Overwrites())
    assert any("relu_" in str(n.target) for n in graph.graph.nodes)
    features = embed(graph, PICTURES).astype(np.float64)
    for s in sensitivities(graph, PICTURES):
        changed = with_layer_in_int8(graph, s.layer, PICTURES)
        assert s.omega == pytest.approx(kl_by_definition(features, changed), rel=1e-3, abs=1e-9)


def test_the_graph_stays_and_progress_is_told(graph):
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    told = []
    one = sensitivities(graph, PICTURES, progress=lambda what, share: told.append(share))
    assert one == sensitivities(graph, PICTURES)
    assert told == sorted(told) and told[0] == 0.0 and told[-1] < 1.0
    assert len(told) == len(one)
    for name, value in graph.state_dict().items():
        assert torch.equal(value, before[name])
    for node, weight in weighted_layers(graph):
        assert weight is weight_of(graph, node.args[1])


def test_too_few_pictures_or_all_the_same_are_one_line(graph):
    with pytest.raises(InputError, match="expected at least 4 pictures, got 3"):
        sensitivities(graph, PICTURES[:3])
    with pytest.raises(InputError, match="the same"):
        sensitivities(graph, np.repeat(PICTURES[:1], 5, axis=0))


some_layers = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 64)), min_size=0, max_size=9
).map(
    lambda rows: [
        Sensitivity(layer=f"conv2d_{i}", omega=omega / 64, weights=n)
        for i, (n, omega) in enumerate(rows)
    ]
)


@settings(deadline=None)
@given(some_layers, st.sampled_from([2, 4]))
def test_the_frontier_is_that_of_brute_force(layers, float_bytes):
    every = []
    for kept in product([False, True], repeat=len(layers)):
        size = sum(s.weights * (float_bytes if k else 1) for s, k in zip(layers, kept, strict=True))
        every.append((size, sum(s.omega for s, k in zip(layers, kept, strict=True) if not k)))
    best = {
        (size, omega)
        for size, omega in every
        if not any((a <= size and b <= omega) and (a, b) != (size, omega) for a, b in every)
    }
    found = frontier(layers, float_bytes=float_bytes)
    assert {(c.bytes, c.omega) for c in found} == best
    assert len(found) == len(best)
    assert found[0].float_layers == frozenset() or any(s.omega == 0 for s in layers)
    for c in found:
        inside = [s for s in layers if s.layer in c.float_layers]
        assert len(inside) == len(c.float_layers)
        assert c.bytes == sum(s.weights * (float_bytes if s in inside else 1) for s in layers)
        assert c.omega == sum(s.omega for s in layers if s not in inside)
    assert [c.bytes for c in found] == sorted(c.bytes for c in found)
    assert [c.omega for c in found] == sorted((c.omega for c in found), reverse=True)


def many(n=200):
    rng = np.random.default_rng(0)
    return [
        Sensitivity(layer=f"conv2d_{i}", omega=float(rng.exponential()), weights=16 * int(w))
        for i, w in enumerate(rng.integers(1, 500, n))
    ]


def test_halvings_are_few_and_fall_by_half():
    choices = frontier(many(60))
    few = halvings(choices)
    assert few[0] == choices[0]
    assert len(few) < 30 < len(choices)
    for a, b in pairwise(few):
        assert b.omega <= a.omega / 2
        assert all(c.omega > a.omega / 2 for c in choices if a.bytes < c.bytes < b.bytes)
    assert halvings(()) == ()
    assert few[-1].omega == 0.0


def test_a_weight_in_float_has_at_least_two_bytes():
    with pytest.raises(InputError, match="2 bytes"):
        frontier(many(3), float_bytes=1)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_picture_has_the_same_bytes(tmp_path, suffix):
    layers = many(20)
    choices = frontier(layers)
    few = halvings(choices)
    for name in ("a", "b"):
        draw_frontier(layers, choices, few[2], tmp_path / f"{name}{suffix}", tried=few[:3])
    first = (tmp_path / f"a{suffix}").read_bytes()
    assert first == (tmp_path / f"b{suffix}").read_bytes()
    assert len(first) > 5000
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path):
    layers = many(3)
    choices = frontier(layers)
    with pytest.raises(InputError, match="gif"):
        draw_frontier(layers, choices, choices[0], tmp_path / "a.gif")
    with pytest.raises(StorageError, match="cannot write"):
        draw_frontier(layers, choices, choices[0], tmp_path / "missing" / "a.png")
    with pytest.raises(InputError, match="at least one"):
        draw_frontier([], [], choices[0], tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
