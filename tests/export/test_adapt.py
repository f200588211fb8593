"""First Session Adaptation: what is merged is what was trained, and unseen sessions decide."""

import copy
import json
import math
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import tiny_net
import torch
from export_samples import PIXELS
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_net import ClosedGate
from torch import nn

from edge_cl.errors import ExportError, FidelityError, InputError
from edge_cl_export.adapt import adapt, gain, sides
from edge_cl_export.adapt.film import Film
from edge_cl_export.adapt.first_session import train
from edge_cl_export.adapt.repeatable import repeatable
from edge_cl_export.graph.embedding import Embedding, embed
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.pictures.calibration import Pictures

PREPARATION = Preparation(size=(32, 32), **PIXELS)
CLASSES, SESSIONS = 3, 4


def stripes(per=20, seed=0, shuffled=False):
    """Classes are faint stripes, lying, standing or none; steep blocks lie about; light varies."""
    rng = np.random.default_rng(seed)
    n = CLASSES * SESSIONS * per
    labels = np.arange(n) % CLASSES
    groups = np.arange(n) // CLASSES % SESSIONS
    wave = np.where(np.arange(32) // 2 % 2, 25.0, -25.0)
    lying, standing = np.repeat(wave[:, None], 32, 1), np.repeat(wave[None], 32, 0)
    images = np.stack([lying, standing, 0 * lying])[labels] + rng.normal(0, 15, (n, 32, 32))
    images += 115 + 8 * groups[:, None, None]
    for image in images:
        for _ in range(rng.integers(1, 7)):
            top, left, high, wide = rng.integers([0, 0, 3, 3], [30, 30, 12, 12])
            image[top : top + high, left : left + wide] += rng.choice([-110, 110])
    images = np.repeat(np.clip(images, 0, 255).astype(np.uint8)[..., None], 3, axis=3)
    if shuffled:
        labels = rng.permutation(labels)
    names = tuple(f"picture {i}" for i in range(n))
    return Pictures(names, labels, lambda i: images[i], groups)


def learned(mode, pictures=None, **options):
    rate = {"film": 5e-3, "body": 4e-3}[mode]
    options = {"rate": rate, "epochs": 16, **options}
    return adapt(ClosedGate(), PREPARATION, pictures or stripes(), mode=mode, **options)


@pytest.fixture(scope="module", params=["film", "body"])
def adapted(request):
    return request.param, learned(request.param)


# --- film ------------------------------------------------------------------------------------


class Alone(nn.Module):
    """One layer, on as many channels as it wants."""

    def __init__(self, layer, channels, flat=False):
        super().__init__()
        self.widen = nn.Conv2d(3, channels, 1)
        self.layer = layer
        self.flat = flat

    def forward(self, x):
        y = self.widen(x)
        return self.layer(y.mean((2, 3)) if self.flat else y)


def normed(channels):
    norm = nn.BatchNorm2d(channels)
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.2, 2)
    norm.weight.data.uniform_(0.5, 2)
    norm.bias.data.uniform_(-1, 1)
    return norm


LAYERS = {
    "convolution": lambda: Alone(nn.Conv2d(4, 6, 3), 4),
    "convolution without bias": lambda: Alone(nn.Conv2d(4, 6, 3, bias=False), 4),
    "grouped": lambda: Alone(nn.Conv2d(4, 6, 3, groups=2, padding=1), 4),
    "depthwise": lambda: Alone(nn.Conv2d(4, 8, 3, groups=4, bias=False), 4),
    "batch norm": lambda: Alone(normed(4), 4),
    "batch norm without scale": lambda: Alone(nn.BatchNorm2d(4, affine=False), 4),
    "group norm": lambda: Alone(nn.GroupNorm(2, 4), 4),
    "linear": lambda: Alone(nn.Linear(4, 6), 4, flat=True),
    "linear without bias": lambda: Alone(nn.Linear(4, 6, bias=False), 4, flat=True),
    "layer norm": lambda: Alone(nn.LayerNorm(4), 4, flat=True),
}


def moved(film, seed=0):
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in film.layers:
            gamma, beta = film.of(layer)
            gamma.copy_(torch.rand(gamma.shape, generator=rng) * 2 - 0.5)
            beta.copy_(torch.randn(beta.shape, generator=rng))


def films_of(network, x, seed=0):
    """Return the network with γ and β merged, and those by layer."""
    merged = copy.deepcopy(network).eval().requires_grad_(False)
    film = Film(merged, x[:1])
    moved(film, seed)
    by_layer = {name: [t.detach().clone() for t in film.of(name)] for name in film.layers}
    film.merge()
    return merged, by_layer


def on_outputs(network, by_layer):
    """The definition: γ y + β on what each layer returns, its weights as they are."""
    network = copy.deepcopy(network).eval()

    def hook(gamma, beta):
        def scale(layer, _, y):
            shape = (-1, *[1] * (y.ndim - 2))  # channels are the second axis here
            return gamma.reshape(shape) * y + beta.reshape(shape)

        return scale

    for name, (gamma, beta) in by_layer.items():
        network.get_submodule(name).register_forward_hook(hook(gamma, beta))
    return network


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_merged_weights_are_a_scale_and_a_shift_of_what_the_layer_returns(make):
    torch.manual_seed(0)
    network = make().eval()
    x = torch.randn(3, 3, 8, 8)
    merged, by_layer = films_of(network, x)
    assert "layer" in by_layer
    with torch.no_grad():
        expected = on_outputs(network, by_layer)(x)
        torch.testing.assert_close(merged(x), expected, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(expected, network(x), atol=1e-2)


@pytest.mark.parametrize("make", [tiny_net.make, tiny_net.make_pooled])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_merged_network_is_the_unmerged_one(make, seed):
    network = make().eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    merged, by_layer = films_of(network, x, seed)
    with torch.no_grad():
        expected = on_outputs(network, by_layer)(x)
        assert (merged(x) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert [type(m) for m in merged.modules()] == [type(m) for m in network.modules()]


def test_a_convolution_before_a_batch_norm_leaves_it_to_that_norm():
    _, by_layer = films_of(tiny_net.make_pooled().eval(), torch.zeros(1, 3, 32, 32))
    assert list(by_layer) == ["body.1", "body.3.norm", "body.3.wide", "body.5", "out"]


def test_layers_that_share_weights_are_scaled_apart():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1)).eval()
    network[2].weight, network[2].bias = network[0].weight, network[0].bias
    x = torch.randn(1, 3, 4, 4)
    merged, by_layer = films_of(network, x)
    with torch.no_grad():
        torch.testing.assert_close(merged(x), on_outputs(network, by_layer)(x))


def test_a_layer_that_never_runs_stays_as_it_is():
    network = ClosedGate().eval()
    network.unused = nn.Conv2d(3, 3, 1)
    assert Film(network, torch.zeros(1, 3, 8, 8)).layers == ("norm",)


# --- sessions --------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=60),
    seed=st.integers(0, 3),
)
def test_no_group_is_on_both_sides_and_nothing_is_asked_that_was_not_learned(rows, seed):
    labels, groups = np.array(rows).T
    parted = sides(labels, groups, seed)
    if parted is None:
        return
    assert not np.isin(groups[parted.held_out], groups[parted.kept]).any()
    assert np.isin(labels[parted.held_out], labels[parted.kept]).all()
    assert len(np.unique(labels[parted.held_out])) > 1
    again = sides(labels, groups, seed)
    assert np.array_equal(parted.kept, again.kept)


@pytest.mark.parametrize("sessions", [2, 3, 4, 6, 9])
def test_of_full_sessions_a_third_is_held_out_but_one_at_least(sessions):
    labels, groups = np.arange(6 * sessions) % 2, np.arange(6 * sessions) // 6
    parted = sides(labels, groups, 0)
    assert len(np.unique(groups[parted.held_out])) == max(1, sessions // 3)
    assert len(parted.kept) + len(parted.held_out) == len(labels)


def test_of_clips_of_one_class_each_every_class_is_asked_for():
    labels = np.repeat([0, 1, 2], [8, 20, 6])
    groups = np.arange(len(labels)) // 2
    parted = sides(labels, groups, 0)
    assert set(labels[parted.held_out]) == set(labels[parted.kept]) == {0, 1, 2}


@pytest.mark.parametrize("groups", [[0] * 6, [0, 0, 0, 1, 1, 1]], ids=["one", "a class each"])
def test_too_few_groups_part_nothing(groups):
    assert sides(np.array([0, 0, 0, 1, 1, 1]), np.array(groups), 0) is None


# --- gain ------------------------------------------------------------------------------------


def test_the_gain_is_what_the_best_heads_answer_better():
    rng = np.random.default_rng(0)
    labels, groups = np.arange(400) % 2, np.arange(400) // 2 % 4
    clear = (rng.normal(size=(400, 5)) + 9 * labels[:, None]).astype(np.float32)
    noise = rng.normal(size=(400, 5)).astype(np.float32)
    parted = sides(labels, groups, 0)
    found = gain(noise, clear, labels, parted)
    wrong = round(found.asked * (1 - found.best.before))
    assert found.asked == len(parted.held_out) and found.best.after == 1.0 and wrong > 0
    assert found.best.gain == pytest.approx(wrong / found.asked, abs=1e-4)
    assert found.best.noise == pytest.approx(2 * math.sqrt(wrong + 1) / found.asked, abs=1e-4)
    assert found.sure and not found.lost
    back = gain(clear, noise, labels, parted)
    assert back.best.gain == -found.best.gain and back.lost and not back.sure
    same = gain(clear, clear, labels, parted)
    assert same.best.gain == 0.0 and not same.lost and not same.sure


# --- adapt -----------------------------------------------------------------------------------


def test_it_gains_where_the_features_suppress_what_tells_classes_apart(adapted):
    mode, found = adapted
    assert found.gain.sure and found.gain.best.after > 0.85
    assert found.report["best"]["gain"] == found.gain.best.gain
    assert found.report["mode"] == mode and "unseen session" in found.sentence
    assert found.sentence[0].islower() and not found.sentence.endswith(".")


def test_sessions_of_training_stopping_and_judging_are_apart(adapted):
    _, found = adapted
    assert found.report["pictures"] == {"training": 120, "stopping": 60}
    assert found.report["sessions"] == {"training": 2, "stopping": 1, "judging": 1}
    assert found.report["tested"] == 60


def test_while_it_trains_no_judging_picture_is_read():
    pictures, told, read = stripes(8), [""], []

    def reading(i):
        if "epoch" in told[-1]:
            read.append(i)
        return pictures.read(i)

    watched = replace(pictures, read=reading)
    learned("film", watched, epochs=3, progress=lambda what, _: told.append(what))
    parted = sides(pictures.labels, pictures.groups, 0)
    assert len(read) > len(parted.kept)
    assert set(read) <= set(parted.kept.tolist())


def test_only_scales_and_shifts_move_by_film(adapted):
    mode, found = adapted
    before, after = ClosedGate().state_dict(), found.module.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys()
    assert changed == {"norm.weight", "norm.bias"} | ({"edges.weight"} if mode == "body" else set())


def test_what_comes_out_is_frozen_and_plain(adapted):
    _, found = adapted
    assert not any(p.requires_grad for p in found.module.parameters())
    assert not any(m.training for m in found.module.modules())
    assert [type(m) for m in found.module.modules()] == [type(m) for m in ClosedGate().modules()]
    assert all(p.is_contiguous() for p in found.module.parameters())
    Embedding(found.module, PREPARATION)


@pytest.mark.parametrize("mode", ["film", "body"])
def test_the_given_network_and_torch_stay_as_they_were(mode):
    network = ClosedGate().train()
    before = copy.deepcopy(network.state_dict())
    state = torch.get_rng_state()
    adapt(network, PREPARATION, stripes(8), mode=mode, epochs=3)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert network.training and all(p.requires_grad for p in network.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_same_seed_gives_the_same_weights_and_the_same_report(adapted):
    mode, found = adapted
    torch.rand(7)  # what was drawn before is no matter
    again = learned(mode)
    for one, other in zip(found.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(one, other)
    assert again.report == found.report


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_classes_are_refused_or_said_to_be_no_gain(seed):
    try:
        found = learned("film", stripes(10, shuffled=True), seed=seed)
    except FidelityError as error:
        assert "\n" not in str(error) and error.hint
    else:
        assert not found.gain.sure and not found.report["best"]["beyond_chance"]


def test_what_was_lost_on_unseen_sessions_is_refused():
    """Where classes changed their names, who tells them apart better answers worse."""
    pictures = stripes()
    judging = sides(pictures.labels, pictures.groups, 0).held_out
    labels = pictures.labels.copy()
    labels[judging] = (labels[judging] + 1) % CLASSES
    with pytest.raises(FidelityError, match=r"lost: of 60 pictures of 1 unseen session, .*-\d"):
        learned("film", replace(pictures, labels=labels))


def test_the_weights_of_the_best_epoch_come_back():
    """The session that is asked has its classes renamed: the longer it learns, the worse."""
    pictures, network = stripes(8), ClosedGate().eval()
    renamed = replace(pictures, labels=(pictures.labels + 1) % CLASSES)
    embedding = Embedding(network, PREPARATION)
    batches = pictures.batches(PREPARATION.spec, 96)
    features = np.concatenate([embed(embedding, batch) for batch in batches])
    told = []
    done = train(
        embedding, [network.norm.bias], pictures, features, renamed, spec=PREPARATION.spec,
        rate=2e-2, epochs=9, seed=0,
        progress=lambda *_: told.append(network.norm.bias.tolist()),
    )  # fmt: skip
    assert (done.kept, done.ended) == (0, "no better") and min(done.losses) == done.losses[0]
    assert told[-1] != told[0] == network.norm.bias.tolist()


def two_sessions():
    pictures = stripes(8)
    return pictures.pick(np.flatnonzero(pictures.groups < 2))


def test_two_sessions_train_to_the_last_epoch():
    found = learned("film", two_sessions(), epochs=5)
    assert found.report["training"]["epochs"] == found.report["training"]["kept"] == 5
    assert found.report["training"]["losses"] == []


def test_the_first_epoch_is_the_last_when_the_minutes_are_up():
    found = learned("film", two_sessions(), minutes=1e-9)
    assert found.report["training"]["epochs"] == 1
    assert found.report["training"]["ended"] == "minutes"


def test_progress_never_falls_and_an_interrupt_changes_nothing():
    told = []
    learned("film", stripes(8), epochs=3, progress=lambda *a: told.append(a))
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[0] >= 0.0 and shares[-1] <= 1.0

    def interrupt(what, share):
        if "epoch 2" in what:
            raise KeyboardInterrupt

    network, state = ClosedGate(), torch.get_rng_state()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(KeyboardInterrupt):
        adapt(network, PREPARATION, stripes(4), progress=interrupt)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.are_deterministic_algorithms_enabled()


FULL = stripes(2)
WRONG = {
    "no classes": ({"pictures": Pictures(FULL.names, None, FULL.read, FULL.groups)}, "classes"),
    "one class": ({"pictures": FULL.pick(np.flatnonzero(FULL.labels == 0))}, "classes"),
    "no sessions": ({"pictures": Pictures(FULL.names, FULL.labels, FULL.read)}, "sessions"),
    "one session": ({"pictures": FULL.pick(np.flatnonzero(FULL.groups == 0))}, "sessions"),
    "a session a class": (
        {"pictures": Pictures(FULL.names, FULL.labels, FULL.read, FULL.labels)},
        "two or more sessions",
    ),
    "mode": ({"mode": "head"}, "film or body"),
    "epochs": ({"epochs": 0}, "epoch"),
    "rate": ({"rate": -1.0}, "rate"),
    "minutes": ({"minutes": math.nan}, "minutes"),
}


@pytest.mark.parametrize(("wrong", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_adapted_to_is_refused_in_one_line(wrong, said):
    with pytest.raises(InputError, match=said) as caught:
        adapt(ClosedGate(), PREPARATION, **{"pictures": FULL, **wrong})
    assert "\n" not in str(caught.value)


class NoGradient(ClosedGate):
    def forward(self, x):
        with torch.no_grad():
            return super().forward(x)


class Diverging(ClosedGate):
    def forward(self, x):
        y = super().forward(x)
        return y * math.inf if torch.is_grad_enabled() else y


@pytest.mark.parametrize(
    ("network", "said"), [(NoGradient, "no gradient"), (Diverging, "diverged in epoch 1")]
)
def test_a_network_that_cannot_be_trained_is_refused_in_one_line(network, said):
    with pytest.raises(ExportError, match=said):
        adapt(network(), PREPARATION, FULL)


def test_a_network_without_weights_is_refused():
    with pytest.raises(ExportError, match="no weights"):
        adapt(nn.AvgPool2d(4), PREPARATION, FULL)


# --- export ----------------------------------------------------------------------------------


def saved(path, pictures):
    images = np.stack([pictures.read(i) for i in range(len(pictures))])
    np.savez(path, images=images, labels=pictures.labels, groups=pictures.groups)
    return path


def about_network(bundle):
    return json.loads(zipfile.ZipFile(bundle).read("report.json"))["network"]


def test_an_adapted_network_is_what_is_exported(export_tiny, tmp_path):
    given = {"adapt": saved(tmp_path / "first.npz", two_sessions())}
    out = tmp_path / "x.edgecl"
    export_tiny(out, "make_closed_gate", given, formats=["onnx-fp32"])
    mine = adapt(ClosedGate(), PREPARATION, two_sessions())
    assert about_network(out)["adaptation"] == mine.report
    assert mine.sentence[1:] in zipfile.ZipFile(out).read("MODEL_CARD.md").decode()


def test_where_nothing_was_gained_nothing_is_exported(export_tiny, tmp_path):
    full = stripes(4)
    black = Pictures(full.names, full.labels, lambda i: 0 * full.read(i), full.groups)
    given = {"adapt": saved(tmp_path / "black.npz", black)}
    with pytest.raises(FidelityError, match="gained nothing"):
        export_tiny(tmp_path / "x.edgecl", "make_closed_gate", given, formats=["onnx-fp32"])
    assert [path.name for path in tmp_path.iterdir()] == ["black.npz"]


def test_torch_is_seeded_inside_only():
    with repeatable(3):
        first = torch.rand(4)
    with repeatable(3):
        assert torch.equal(first, torch.rand(4))
