"""Distilled pictures: batch norms see on them what they saw in training, and nothing changes."""

import copy

import numpy as np
import pytest
import torch
from export_samples import blobs
from tiny_net import make
from torch import nn

from edge_cl.errors import ExportError, InputError
from edge_cl_export.graph.embedding import Embedding
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.pictures.distil import COUNT, JUDGED, distil, distilled_material
from edge_cl_export.pictures.photo_noise import PHOTO_MEAN, PHOTO_STD, photo_noise

PREPARATION = Preparation(size=(32, 48), mean=(127.0, 120.0, 100.0), std=(128.0, 60.0, 64.0))
STEPS = 60


def normalised(pictures):
    x = (pictures.astype(np.float32) - PREPARATION.mean) / PREPARATION.std
    return torch.from_numpy(np.float32(x)).permute(0, 3, 1, 2)


def norms(network):
    return [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]


def photos(n, seed=0):
    """Noise that looks like photographs, with stripes: what no start of ours has."""
    noise = photo_noise(n, (32, 48), torch.Generator().manual_seed(100 + seed))
    pictures = noise.permute(0, 2, 3, 1).numpy()
    stripes, _ = blobs(n, seed=seed, size=48)
    return np.clip(pictures + 0.8 * (stripes[:, :32] - 128.0), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def taught():
    """A network whose batch norms remember pictures."""
    network = make()
    for norm in norms(network):
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    network.train()
    with torch.no_grad():
        for seed in range(4):
            network(normalised(photos(32, seed)))
    for norm in norms(network):
        norm.momentum = 0.1
    return network.eval()


@pytest.fixture(scope="module")
def made(taught):
    return distil(taught, PREPARATION, count=16, steps=STEPS)


def test_the_loss_falls_tenfold_and_in_every_layer(made):
    assert [loss.layer for loss in made.losses] == ["input", "1", "3.norm", "5"]
    assert made.after < made.before / 10
    assert all(loss.after < loss.before for loss in made.losses if loss.layer != "input")


def seen_by_norms(network, pictures):
    """The input of each batch norm, float64, by the name of the norm, in the order they run."""
    twin, seen = copy.deepcopy(network).eval(), {}
    for name, part in twin.named_modules():
        if isinstance(part, nn.BatchNorm2d):

            def see(_, x, name=name):
                seen[name] = x[0].double().numpy()

            part.register_forward_pre_hook(see)
    with torch.no_grad():
        twin(normalised(pictures))
    return seen


def test_every_batch_norm_sees_what_it_remembers(taught, made):
    parts = dict(taught.named_modules())
    after = {loss.layer: loss.after for loss in made.losses}
    for name, x in seen_by_norms(taught, made.pictures).items():
        norm = parts[name]
        mu = norm.running_mean.double().numpy()
        sigma = np.sqrt(norm.running_var.double().numpy() + norm.eps)
        m, s = x.mean((0, 2, 3)), np.sqrt(x.var((0, 2, 3)) + norm.eps)
        assert np.abs(m - mu).max() < 0.05 * np.sqrt((sigma**2).mean())
        assert np.abs(s / sigma - 1).max() < 0.05
        by_definition = (((m - mu) ** 2).sum() + ((s - sigma) ** 2).sum()) / (sigma**2).sum()
        assert after[name] == pytest.approx(by_definition, rel=0.1, abs=1e-7)


def test_ranges_on_it_are_nearer_to_those_of_real_pictures_than_on_uniform_noise(taught, made):
    noise = np.random.default_rng(0).integers(0, 256, made.pictures.shape, dtype=np.uint8)
    real, ours, noises = (
        {name: np.percentile(np.abs(x), 99.9) for name, x in seen_by_norms(taught, p).items()}
        for p in (photos(16, seed=9), made.pictures, noise)
    )
    for name, largest in real.items():
        assert abs(ours[name] / largest - 1) < 0.5 * abs(noises[name] / largest - 1)


def test_the_result_is_uint8_pictures_of_the_right_shape_by_seed(taught, made):
    assert made.pictures.dtype == np.uint8
    assert made.pictures.shape == (16, 32, 48, 3)
    again = distil(taught, PREPARATION, count=16, steps=STEPS)
    np.testing.assert_array_equal(again.pictures, made.pictures)
    assert again.losses == made.losses
    first, second = (distil(taught, PREPARATION, count=5, steps=2, seed=i).pictures for i in (0, 1))
    assert (first != second).mean() > 0.9


@pytest.mark.parametrize("count", [2, 17, 33])
def test_any_count_is_made_and_no_two_are_alike(taught, count):
    pictures = distil(taught, PREPARATION, count=count, steps=1).pictures
    assert pictures.shape == (count, 32, 48, 3)
    assert len({picture.tobytes() for picture in pictures}) == count


def test_the_network_is_left_as_it_was(taught):
    network = copy.deepcopy(taught)
    network[3].train()  # a mixture of flags, and one weight that is fixed
    network[0].weight.requires_grad_(False)

    def state():
        flags = [part.training for part in network.modules()]
        grads = [(w.requires_grad, w.grad, w.stride()) for w in network.parameters()]
        hooks = [len(part._forward_pre_hooks) for part in network.modules()]
        return flags, grads, hooks

    tensors, before = copy.deepcopy(network.state_dict()), state()
    distil(network, PREPARATION, count=4, steps=3)
    assert state() == before
    for name, value in network.state_dict().items():
        assert torch.equal(value, tensors[name]), name


def test_an_embedding_is_distilled_through_its_backbone(taught):
    embedding = Embedding(taught, PREPARATION).eval()
    np.testing.assert_array_equal(
        distil(embedding, PREPARATION, count=4, steps=3).pictures,
        distil(taught, PREPARATION, count=4, steps=3).pictures,
    )


class OutOfOrder(nn.Module):
    """Batch norms before their convolutions, made in another order than they run."""

    def __init__(self):
        super().__init__()
        self.late = nn.BatchNorm2d(6)
        self.plain = nn.Conv2d(3, 4, 3)
        self.unused = nn.BatchNorm2d(9)
        self.early = nn.BatchNorm2d(4)
        self.conv = nn.Conv2d(4, 6, 1)

    def forward(self, x):
        return self.late(self.conv(self.early(self.plain(x)).relu()))


def test_batch_norms_are_found_where_they_run():
    losses = distil(OutOfOrder(), PREPARATION, count=2, steps=1).losses
    assert [loss.layer for loss in losses] == ["input", "early", "late"]


def test_a_mean_far_from_zero_does_not_hide_the_spread():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    torch.nn.init.constant_(network[0].bias, 30.0)
    network[1].running_mean.fill_(30.0)
    made = distil(network, PREPARATION, count=4, steps=2)
    x = seen_by_norms(network, made.pictures)["1"]
    m, s = x.mean((0, 2, 3)), np.sqrt(x.var((0, 2, 3)) + network[1].eps)
    expected = (((m - 30) ** 2).sum() + ((s - 1) ** 2).sum()) / 4
    assert made.losses[1].after == pytest.approx(expected, rel=0.01)


class Forgetful(nn.Module):
    """A batch norm that is never called, and one without statistics."""

    def __init__(self, *, called):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4, track_running_stats=not called)
        self.called = called

    def forward(self, x):
        return self.norm(self.conv(x)) if self.called else self.conv(x)


@pytest.mark.parametrize(
    "network",
    [nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)),
     Forgetful(called=True), Forgetful(called=False)],
    ids=["no norm", "group norm", "no statistics", "never called"],
)  # fmt: skip
def test_a_network_without_statistics_is_refused_in_one_line(network):
    with pytest.raises(ExportError, match="no batch norm that remembers") as caught:
        distil(network, PREPARATION, count=2, steps=1)
    assert "\n" not in str(caught.value)
    assert "--calibration" in caught.value.hint


def test_statistics_that_are_not_finite_are_named(taught):
    network = copy.deepcopy(taught)
    network[5].running_var[3] = float("nan")
    with pytest.raises(ExportError, match="batch norm 5 "):
        distil(network, PREPARATION, count=2, steps=1)


def test_a_network_that_fails_is_named_with_its_reason():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(7, 2))
    with pytest.raises(ExportError, match="fails on 2 pictures of noise: RuntimeError"):
        distil(network, PREPARATION, count=2, steps=1)


@pytest.mark.parametrize(("count", "steps"), [(1, 5), (0, 5), (4, 0)])
def test_too_few_pictures_or_steps_are_refused(taught, count, steps):
    with pytest.raises(InputError, match=f"got {count} and {steps}"):
        distil(taught, PREPARATION, count=count, steps=steps)


def test_what_it_starts_from_has_the_moments_and_the_spectrum_of_photographs():
    noise = photo_noise(64, (64, 96), torch.Generator().manual_seed(0)).double().numpy()
    np.testing.assert_allclose(noise.mean((0, 2, 3)), PHOTO_MEAN, atol=0.01)
    np.testing.assert_allclose(noise.std((0, 2, 3)), PHOTO_STD, rtol=0.05)
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean((0, 1))
    # power ~ 1/f²: at three times the frequency a ninth, along either side
    assert power[4, 0] / power[12, 0] == pytest.approx(9, rel=0.25)
    assert power[0, 4] / power[0, 12] == pytest.approx(9, rel=0.25)


def test_what_is_judged_on_was_not_calibrated_on(taught):
    told = []
    material = distilled_material(taught, PREPARATION, 3, lambda what, share: told.append(share))
    assert (len(material.calibration), len(material.validation)) == (COUNT, JUDGED)
    assert material.apart == "seed"
    ours, theirs = (
        {p.read(i).tobytes() for i in range(len(p))}
        for p in (material.calibration, material.validation)
    )
    assert len(ours) == COUNT
    assert not ours & theirs
    assert not set(material.calibration.names) & set(material.validation.names)
    assert told == sorted(told)
    assert told[0] == 0.0
    assert told[-1] < 1.0
