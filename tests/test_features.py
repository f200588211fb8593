from fractions import Fraction

import msgspec
import numpy as np
import oracles
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import SEEDS

from edge_cl import fourier
from edge_cl.bundle import EmbeddingSpec
from edge_cl.errors import InputError
from edge_cl.features import (
    L2,
    Identity,
    Power,
    RandomFourier,
    RandomReLU,
    feature_map,
    grid_step,
    map_named,
    to_grid,
)
from edge_cl.sensor import features_bundle

FLOATS = st.floats(-1e6, 1e6, width=32)
STEPS = st.integers(-12, 6).map(lambda e: 2.0**e)


def embedding(d, scale=1.0, mean_square_norm=1.0):
    return EmbeddingSpec(d=d, scale=scale, signed=True, mean_square_norm=mean_square_norm)


@given(st.lists(FLOATS, min_size=1, max_size=8), STEPS)
def test_the_grid_is_rational_rounding_and_clipping(values, scale):
    x = np.array([values], np.float32)
    expected = [oracles.grid(v, scale) for v in x[0]]
    assert to_grid(x, scale)[0].tolist() == expected
    mapped = feature_map(Identity(), embedding(len(values), scale))(x)
    assert mapped.dtype == np.int16 and mapped[0].tolist() == expected


def test_the_grid_holds_the_largest_float32():
    x = np.array([[3.4e38, -3.4e38, 0.0, -0.0, 1e-45]], np.float32)
    assert to_grid(x, 2.0**-11)[0].tolist() == [2047, -2047, 0, 0, 0]


@given(st.floats(1e-30, 1e30))
def test_grid_step_is_the_smallest_power_of_two_that_leaves_a_quarter(largest):
    step = Fraction(grid_step(largest))
    needed = Fraction(largest) * Fraction(5, 4) / 2047
    assert step.numerator == 1 or step.denominator == 1
    slack = 1 + Fraction(1, 1 << 50)  # the logarithm rounds
    assert needed <= step * slack and step < 2 * needed * slack


@pytest.mark.parametrize("largest", [0.0, -1.0, np.inf, np.nan])
def test_a_grid_for_nothing_is_refused(largest):
    with pytest.raises(InputError):
        grid_step(largest)


@given(SEEDS, st.integers(1, 9), st.floats(1e-3, 1e3))
def test_l2_ignores_length_to_one_grid_step(seed, d, factor):
    x = np.random.default_rng(seed).standard_normal((3, d)).astype(np.float32)
    l2 = feature_map(L2(), embedding(d))
    unit = x / np.linalg.norm(x.astype(float), axis=1, keepdims=True)
    assert_allclose(l2(x) * l2.scale, unit, atol=l2.scale)
    assert np.abs(l2(x * np.float32(factor)).astype(int) - l2(x)).max() <= 1


@pytest.mark.parametrize("factor", [1e-45, 1e-30, 1.0, 1e30, 3e38])
def test_l2_of_extreme_lengths_is_finite(factor):
    l2 = feature_map(L2(), embedding(4))
    q = l2(np.array([[factor] * 4, [0.0] * 4], np.float32))
    assert_array_equal(q, [[1024] * 4, [0] * 4])


@given(st.integers(1, 12), st.integers(1, 3), SEEDS, st.integers(0, 2**64 - 1))
def test_random_relu_is_python_integer_arithmetic(d, octets, seed, key):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((3, d)) * 100).astype(np.float32)
    spec, space = RandomReLU(m=8 * octets, seed=key), embedding(d, 0.25, 1e4 * d)
    relu = feature_map(spec, space)
    shift = round(np.log2(relu.scale / space.scale))
    B = oracles.signs(d, spec.m, key)
    for row, h in zip(x, relu(x), strict=True):
        q = [oracles.grid(v, space.scale) for v in row]
        assert h.tolist() == oracles.random_relu(q, B, shift)


def test_the_signs_are_pinned_for_ever():
    relu = feature_map(RandomReLU(m=64, seed=7), embedding(16))
    packed = relu._bits.tobytes()
    assert packed[:8].hex() == "a4fbe929b83440df"
    B = np.unpackbits(relu._bits, axis=1, bitorder="little").astype(int) * 2 - 1
    assert B.tolist() == oracles.signs(16, 64, 7)


@given(st.integers(1, 9), st.integers(1, 70), st.integers(0, 2**64 - 1))
def test_frequencies_and_phases_are_those_written_down(d, m, key):
    normals, phases = fourier.draw(d, m, key)
    Z, b = oracles.fourier_draw(d, m, key)
    assert normals.tolist() == Z
    assert_allclose(phases, b, rtol=1e-15)


def test_the_frequencies_are_pinned_for_ever():
    normals, phases = fourier.draw(5, 3, 7)
    assert normals.tolist() == [
        [-301, 1028, -2235, 1511, -1504],
        [1993, 177, 725, -1219, -2147],
        [232, -1934, -4775, -755, -1664],
    ]
    assert phases.tolist() == pytest.approx(
        [1.8620696710720583, 5.306576659861935, 2.8544863040338195], rel=1e-14
    )


def test_the_first_features_of_many_are_those_of_few():
    (many, b), (few, a) = fourier.draw(7, 200, 1), fourier.draw(7, 90, 1)
    assert_array_equal(many[:90], few)
    assert_array_equal(b[:90], a)


def test_frequencies_are_standard_normal_and_phases_uniform():
    normals, phases = fourier.draw(64, 2000, 0)
    z = normals.ravel() * fourier.STEP
    n = len(z)
    assert abs(z.mean()) < 4 / np.sqrt(n)
    assert abs(np.square(z).mean() - 1) < 4 * np.sqrt(2 / n)
    assert abs((np.abs(z) < 0.6744897501960817).mean() - 0.5) < 4 * 0.5 / np.sqrt(n)
    assert abs((np.abs(z) < 2.5758293035489).mean() - 0.99) < 4 * 0.1 / np.sqrt(n)
    products = z.reshape(2000, 64).T @ z.reshape(2000, 64) / 2000  # of one feature, and another's
    assert np.abs(products[~np.eye(64, dtype=bool)]).max() < 5.5 / np.sqrt(2000)
    turns = np.sort(phases) / (2 * np.pi)
    assert np.abs(turns - np.arange(1, 2001) / 2000).max() < 2 / np.sqrt(2000)


@given(
    st.integers(1, 9),
    st.integers(1, 30),
    st.sampled_from([1, 2, 5]),
    SEEDS,
    st.floats(1e-3, 1e2),
)
def test_fourier_features_are_cosines_on_the_grid_to_half_a_step(d, width, members, seed, relative):
    x = (np.random.default_rng(seed).standard_normal((3, d)) * 30).astype(np.float32)
    space = embedding(d, 0.25, 900.0 * d)
    gamma, m = relative / space.mean_square_norm, width * members
    spec = RandomFourier(m=m, gamma=gamma, seed=seed, members=members)
    phi = feature_map(spec, space)
    Z, b = oracles.fourier_draw(d, m, seed)
    for row, h in zip(x, phi(x), strict=True):
        q = [oracles.grid(v, space.scale) for v in row]
        for z, phase, value in zip(Z, b, h.tolist(), strict=True):
            along = sum(a * c for a, c in zip(q, z, strict=True)) * space.scale / 2048
            angle = np.sqrt(2 * gamma) * along + phase
            expected = np.sqrt(2 * members / m) * np.cos(angle)
            assert abs(value * phi.scale - expected) <= phi.scale * (0.5 + 1e-6)


def kernel_error(members, m, gamma=0.02, claimed=None):
    """Root mean square of φ·φ - exp(-γ‖x - y‖²), over pairs and over the members."""
    x = np.random.default_rng(5).standard_normal((60, 16)).astype(np.float32)
    space = features_bundle(x).manifest.embedding
    phi = feature_map(RandomFourier(m=m, gamma=gamma, seed=2, members=members), space)
    h = (phi(x) * phi.scale).reshape(60, members, -1).swapaxes(0, 1)
    x = to_grid(x, space.scale) * space.scale
    square = np.square(x[:, None] - x).sum(axis=2)
    kernel = np.exp(-(claimed or gamma) * square)
    return np.sqrt(np.square(h @ h.swapaxes(1, 2) - kernel).mean())


@pytest.mark.parametrize("members", [1, 4])
@pytest.mark.parametrize("width", [64, 512, 4096])
def test_products_of_fourier_features_are_the_kernel_to_one_over_the_root_of_their_number(
    members, width
):
    assert 0.2 < kernel_error(members, members * width) * np.sqrt(width) < 1.2


def test_gamma_is_the_factor_of_the_squared_distance():
    right = kernel_error(1, 4096)
    assert kernel_error(1, 4096, claimed=0.01) > 5 * right
    assert kernel_error(1, 4096, claimed=0.04) > 5 * right


def test_without_a_gamma_it_is_a_tenth_of_one_over_the_bundles_norm():
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    space = embedding(4, 2.0**-9, 4.0)
    given, default = (feature_map(RandomFourier(m=50, gamma=g), space) for g in (0.1 / 4, None))
    assert_array_equal(given(x), default(x))


@given(st.integers(1, 2000), st.sampled_from([1, 3]))
def test_fourier_features_use_the_grid_and_are_never_clipped(width, members):
    m = width * members
    phi = feature_map(RandomFourier(m=m, members=members), embedding(1, 2.0**-8, 1.0))
    h = phi(np.linspace(-8, 8, 50, dtype=np.float32)[:, None])
    assert np.abs(h).max() <= 2046
    assert np.sqrt(2 / width) / phi.scale >= 1023
    square = np.square(h * phi.scale).sum(axis=1).mean()
    assert abs(square - phi.mean_square_norm) < 5 * members / np.sqrt(m)


BETAS = st.one_of(st.sampled_from([0.5, 1.0]), st.floats(0.05, 1.0))


@given(st.lists(FLOATS, min_size=1, max_size=8), BETAS, STEPS)
def test_a_power_keeps_the_sign_and_is_on_the_grid_to_half_a_step(values, beta, scale):
    space = embedding(len(values), scale)
    inside = np.clip(np.array(values), -2047 * scale, 2047 * scale).astype(np.float32)
    power = feature_map(Power(beta=beta), space)
    q = power(inside[None])[0]
    for x, h in zip(inside.tolist(), q.tolist(), strict=True):
        assert abs(h * power.scale - oracles.signed_power(x, beta)) <= power.scale * (0.5 + 1e-9)


@given(BETAS, STEPS)
def test_the_grid_of_a_power_is_the_finest_that_holds_all_the_encoders_grid(beta, scale):
    power = feature_map(Power(beta=beta), embedding(1, scale))
    largest = oracles.signed_power(2047 * scale, beta)
    assert np.frexp(power.scale)[0] == 0.5
    assert largest <= 2047 * power.scale * (1 + 1e-12)
    assert largest * (1 + 1e-12) > 2047 * power.scale / 2


@given(st.lists(FLOATS, min_size=1, max_size=8), STEPS)
def test_the_first_power_is_the_identity(values, scale):
    x, space = np.array([values], np.float32), embedding(len(values), scale)
    first, identity = feature_map(Power(beta=1.0), space), feature_map(Identity(), space)
    assert first.scale == identity.scale and first.mean_square_norm == identity.mean_square_norm
    assert_array_equal(first(x), identity(x))


@given(SEEDS, st.integers(1, 9), BETAS)
def test_the_norm_after_a_power_is_at_most_what_the_map_says(seed, d, beta):
    rng = np.random.default_rng(seed)
    x = rng.exponential(size=(500, d)).astype(np.float32)
    square = float(np.square(x, dtype=float).sum(axis=1).mean())
    power = feature_map(Power(beta=beta), embedding(d, grid_step(x.max()), square))
    after = np.square(power(x) * power.scale).sum(axis=1).mean()
    assert 0 < after <= power.mean_square_norm * 1.01


@given(SEEDS, st.integers(0, 7))
def test_a_row_is_mapped_alike_alone_and_in_company(seed, row):
    x = np.random.default_rng(seed).standard_normal((8, 20)).astype(np.float32)
    random = (RandomReLU(m=1032, seed=3), RandomFourier(m=1033, seed=3))
    for spec in (Identity(), L2(), Power(beta=0.3), *random):
        a = feature_map(spec, embedding(20, 2.0**-9, 20.0))
        assert_array_equal(a(x)[row], a(x[row : row + 1])[0])
        assert a(x[:0]).shape == (0, a.d)


def test_random_relu_seldom_saturates_and_uses_its_grid(rng):
    x = rng.standard_normal((2000, 64)).astype(np.float32)
    spec = features_bundle(x).manifest.embedding
    relu = feature_map(RandomReLU(m=256), spec)
    h = relu(x)
    assert (h == 2047).mean() < 1e-3
    assert h.max() > 500
    mean_square = np.square(h * relu.scale, dtype=float).sum(axis=1).mean()
    assert mean_square == pytest.approx(relu.mean_square_norm, rel=0.1)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("identity", Identity()),
        ("l2", L2()),
        ("random-relu", RandomReLU()),
        ("random-relu:16", RandomReLU(m=16)),
        ("power", Power(beta=0.5)),
        ("power:.25", Power(beta=0.25)),
        ("power:1", Power(beta=1.0)),
        ("fourier", RandomFourier()),
        ("fourier:500", RandomFourier(m=500)),
        ("fourier:64:0.01", RandomFourier(m=64, gamma=0.01)),
        ("fourier:64:5e-6", RandomFourier(m=64, gamma=5e-6)),
        ("fourier:64:.5", RandomFourier(m=64, gamma=0.5)),
        ("fourier:64:2", RandomFourier(m=64, gamma=2.0)),
    ],
)
def test_maps_are_named_as_typed(name, spec):
    assert map_named(name) == spec
    assert msgspec.json.decode(msgspec.json.encode(spec), type=type(spec)) == spec


@pytest.mark.parametrize(
    "name",
    ["", "L2", "l2:", "l2:8", "identity:1", "random-relu:x", "random-relu:-8", "random-relu:1.5"]
    + [
        "random-relu: 8",
        "random-relu:٨",
        "random-relu:²",
        "random-relu:" + "9" * 5000,
        "power:",
        "power:-1",
        "power:nan",
        "power:1e-3",
        "power:2",
        "power:0.5.5",
        "l2:1",
        "identity:",
        "fourier:",
        "fourier:x",
        "fourier:-8",
        "fourier:64:",
        "fourier:64:x",
        "fourier:64:-1",
        "fourier:64:nan",
        "fourier:64:1e999",
        "fourier:64:1:1",
        "fourier::1",
    ],
)
def test_an_unknown_map_is_named_with_a_hint(name):
    with pytest.raises(InputError, match="unknown feature map") as caught:
        map_named(name)
    assert "random-relu:M" in caught.value.hint and "fourier:M:GAMMA" in caught.value.hint


@pytest.mark.parametrize(
    ("spec", "d"),
    [
        (RandomReLU(m=0), 4),
        (RandomReLU(m=12), 4),
        (RandomReLU(m=1 << 16), 4),
        (RandomReLU(seed=-1), 4),
        (RandomReLU(seed=1 << 64), 4),
        (RandomReLU(m=8), 8200),
        (Power(beta=0.0), 4),
        (Power(beta=-0.5), 4),
        (Power(beta=1.5), 4),
        (Power(beta=np.nan), 4),
        (RandomFourier(m=0), 4),
        (RandomFourier(m=(1 << 15) + 1), 4),
        (RandomFourier(m=10, members=0), 4),
        (RandomFourier(m=10, members=3), 4),
        (RandomFourier(seed=-1), 4),
        (RandomFourier(gamma=0.0), 4),
        (RandomFourier(gamma=-1.0), 4),
        (RandomFourier(gamma=np.nan), 4),
        (RandomFourier(gamma=np.inf), 4),
        (RandomFourier(gamma=1e-7), 4),
        (RandomFourier(gamma=1e7), 4),
    ],
)
def test_a_map_that_could_not_be_exact_is_refused(spec, d):
    with pytest.raises(InputError):
        feature_map(spec, embedding(d))


@given(st.lists(FLOATS, min_size=1, max_size=20), st.integers(1, 4))
def test_a_bundle_made_for_a_sample_holds_that_sample(values, d):
    sample = np.resize(np.array(values, np.float32), (len(values), d))
    assume(sample.any())
    spec = features_bundle(sample).manifest.embedding
    q = to_grid(sample, spec.scale)
    assert (np.abs(q) < 2047).all()
    assert np.abs(q).max() > 800
    assert_allclose(q * spec.scale, sample, atol=spec.scale / 2)
    assert spec.signed == bool((sample < 0).any())


@pytest.mark.parametrize(
    "sample",
    [[], [[]], [1.0], [[0.0]], [[np.nan]], [[np.inf]], [["a"]], [[1], [1, 2]], [[1j]], [[1e39]]],
)
def test_a_sample_that_shows_no_range_is_refused(sample):
    with pytest.raises(InputError):
        features_bundle(sample)
