"""The regressor: ridge about the mean of the values, in the values' own units, kept in a file."""

import hashlib
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import load, save
from strategies import SEEDS

from edge_cl.errors import InputError, StateError, StorageError
from edge_cl.heads import KalmanOptions
from edge_cl.regressor import Regressor
from edge_cl.sensor import features_bundle

STILL = KalmanOptions(forgetting=1.0, ridge=0.5)


def readings(rng, n, d=4, noise=1.0):
    """Vectors that lie on the grid, and values that depend on them."""
    x = rng.integers(-64, 64, (n, d)) / 32.0
    return x, 3.0 + x @ rng.normal(size=d) + noise * rng.normal(size=n)


def taught(x, y, outputs=1, options=STILL):
    regressor = Regressor.open(bundle=features_bundle(x), outputs=outputs, options=options)
    return regressor, [regressor.learn(row, value) for row, value in zip(x, y, strict=True)]


def answers(regressor, x):
    found = [regressor.predict(row) for row in x]
    return np.array([e.mean for e in found]), np.array([e.sd for e in found])


@given(SEEDS, st.integers(1, 150))
def test_without_forgetting_it_is_ridge_about_the_first_value(seed, n):
    x, y = readings(np.random.default_rng(seed), n)
    regressor, _ = taught(x, y)
    constant = math.sqrt(np.square(x).sum(axis=1).mean())
    h = np.c_[x, np.full(n, constant)]
    P = np.linalg.inv(h.T @ h + 0.5 * np.eye(5))
    expected = y[0] + h @ P @ h.T @ (y - y[0])
    assert_allclose(answers(regressor, x)[0][:, 0], expected, atol=1e-9 * (1 + np.abs(y).max()))


def test_with_no_memory_it_answers_with_the_mean_of_all_values(rng):
    x, y = readings(rng, 30)
    regressor, _ = taught(x, y, options=KalmanOptions(forgetting=0.0))
    assert_allclose(answers(regressor, x)[0], y.mean(), rtol=1e-12)


@given(SEEDS, st.sampled_from([1.0, 0.99, "learn"]), st.sampled_from([1e-6, 1.0, 1e9]))
def test_another_zero_and_another_unit_change_nothing_else(seed, forgetting, unit):
    x, y = readings(np.random.default_rng(seed), 60)
    options = KalmanOptions(forgetting=forgetting)
    one, other = taught(x, y, options=options)[0], taught(x, unit * (y - 50), options=options)[0]
    (mean, sd), (mean2, sd2) = answers(one, x), answers(other, x)
    assert_allclose(mean2 / unit, mean - 50, atol=1e-7)
    assert_allclose(sd2 / unit, sd, rtol=1e-7)


def test_outputs_of_different_units_have_each_their_own_noise(rng):
    x, y = readings(rng, 300)
    both, _ = taught(x, np.c_[y, 1e6 * y[::-1]], outputs=2)
    one, other = taught(x, y)[0], taught(x, 1e6 * y[::-1])[0]
    mean, sd = answers(both, x[:20])
    for column, alone in enumerate((one, other)):
        assert_allclose(mean[:, column], answers(alone, x[:20])[0][:, 0], rtol=1e-9)
        assert_allclose(sd[:, column], answers(alone, x[:20])[1][:, 0], rtol=1e-9)


def test_the_deviation_is_that_of_values_to_come(rng):
    x, y = readings(rng, 2000, noise=2.5)
    _, expected = taught(x, y)
    found = [e for e in expected[200:] if e]
    z = (y[200:] - [e.mean[0] for e in found]) / [e.sd[0] for e in found]
    assert 0.93 < (np.abs(z) < 1.96).mean() < 0.97
    assert 2.3 < found[-1].sd[0] < 2.7


def test_a_lesson_returns_what_was_answered_before_it(rng):
    x, y = readings(rng, 20)
    regressor = Regressor.open(bundle=features_bundle(x))
    assert regressor.learn(x[0], y[0]) is None
    for row, value in zip(x[1:], y[1:], strict=True):
        before = regressor.predict(row)
        lesson = regressor.learn(row, value)
        assert_array_equal(lesson.mean, before.mean)
        assert_array_equal(lesson.sd, before.sd)
    assert regressor.samples == 20


@pytest.mark.parametrize("clock", ["sample", "call"])
def test_many_are_learned_like_one_by_one_or_as_one_moment(clock, rng):
    x, y = readings(rng, 40)
    one = taught(x, y, options=KalmanOptions(forgetting=0.9))[0]
    many = Regressor.open(
        bundle=features_bundle(x), options=KalmanOptions(forgetting=0.9, clock=clock)
    )
    before = answers_or_none(many, x)
    with pytest.raises(InputError):
        many.learn_many(x, y[:-1])
    with pytest.raises(InputError):
        many.learn_many([*x[:3], [math.nan] * 4], y[:4])
    assert before is answers_or_none(many, x) is None
    many.learn_many(x[:0], y[:0])
    many.learn_many(x, y)
    same = np.allclose(answers(many, x)[0], answers(one, x)[0], rtol=1e-12)
    assert same == (clock == "sample")
    assert many.samples == 40
    if clock == "call":  # ridge about the mean, then one step of drift towards it
        still = KalmanOptions(forgetting=1.0, clock="call")
        ridge = Regressor.open(bundle=features_bundle(x), options=still)
        ridge.learn_many(x, y)
        expected = y.mean() + 0.9 * (answers(ridge, x)[0] - y.mean())
        assert_allclose(answers(many, x)[0], expected, rtol=1e-9)


def answers_or_none(regressor, x):
    return answers(regressor, x) if regressor.samples else None


def test_nothing_is_sure_until_two_values_differ(rng):
    x, _ = readings(rng, 4)
    regressor, expected = taught(x[:3], [7.0, 7.0, 7.5])
    assert [e and e.sd[0] for e in expected] == [None, math.inf, math.inf]
    assert expected[2].mean == pytest.approx(7.0)
    assert 0 < regressor.predict(x[3]).sd[0] < math.inf


def test_it_follows_a_world_that_changes(rng):
    x, y = readings(rng, 3000, noise=0.3)
    y[1500:] = 6.0 - y[1500:]
    error = {}
    for forgetting in (1.0, "learn"):
        _, expected = taught(x, y, options=KalmanOptions(forgetting=forgetting))
        late = zip(expected[2500:], y[2500:], strict=True)
        error[forgetting] = np.abs([e.mean[0] - v for e, v in late]).mean()
    assert error["learn"] < error[1.0] / 2


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, 1e101, [1.0, 2.0], [[1.0]], "7", None, True, 1j, [[1.0], [1, 2]]]
)
def test_what_is_no_value_is_refused_and_changes_nothing(value, rng):
    x, y = readings(rng, 5)
    regressor, _ = taught(x, y)
    before = answers(regressor, x)
    with pytest.raises(InputError):
        regressor.learn(x[0], value)
    with pytest.raises(InputError):
        regressor.learn([math.nan] * 4, 1.0)
    assert_array_equal(answers(regressor, x), before)
    assert regressor.samples == 5


def test_what_cannot_be_made_or_asked_is_refused(rng):
    x, _ = readings(rng, 5)
    with pytest.raises(InputError):
        Regressor.open(bundle=features_bundle(x), outputs=0)
    with pytest.raises(StateError, match="nothing"):
        Regressor.open(bundle=features_bundle(x)).predict(x[0])


# -- kept in a file ------------------------------------------------------------------------


@given(SEEDS, st.integers(0, 150), st.sampled_from(["identity", "random-relu:16"]))
def test_a_loaded_regressor_goes_on_with_the_same_bits(tmp_path_factory, seed, n, name):
    x, y = readings(np.random.default_rng(seed), n + 20)
    path = tmp_path_factory.mktemp("kept") / "it"
    bundle = features_bundle(x)
    one = Regressor.open(bundle=bundle, feature_map=name)
    for row, value in zip(x[:n], y[:n], strict=True):
        one.learn(row, value)
    one.save(path)
    other = Regressor.load(path, bundle=bundle)
    assert other.samples == n
    for row, value in zip(x[n:], y[n:], strict=True):
        one.learn(row, value)
        other.learn(row, value)
    assert_array_equal(answers(one, x), answers(other, x))
    assert one.gamma == other.gamma


@pytest.fixture
def kept(rng, tmp_path):
    """A bundle, and the file of a regressor that has learned."""
    x, y = readings(rng, 70)
    regressor, _ = taught(x, y)
    regressor.save(tmp_path / "it")
    return features_bundle(x), tmp_path / "it"


def test_every_damaged_byte_is_found(kept, rng):
    bundle, path = kept
    whole = path.read_bytes()
    assert Regressor.load(path, bundle=bundle).samples == 70
    places = {*range(0, 1200, 7), *rng.integers(0, len(whole), 200).tolist()}
    for place in sorted(places):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(StateError):
            Regressor.load(path, bundle=bundle)
    for length in (0, 7, 8, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(StateError):
            Regressor.load(path, bundle=bundle)


def test_a_file_that_is_not_there_or_a_folder_is_refused(kept, tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises((StateError, StorageError), match=r"cannot read|not a file"):
            Regressor.load(path, bundle=kept[0])


def test_another_encoder_is_refused(kept, rng):
    with pytest.raises(StateError, match="another encoder"):
        Regressor.load(kept[1], bundle=features_bundle(readings(rng, 9)[0] * 8))


def sealed_anew(path, change):
    """Write the file as a forger would: a changed header or tensor, and a digest that fits."""
    data = path.read_bytes()
    entry = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["edge_cl"]
    header = json.loads(entry.partition(" ")[2])
    tensors = load(data)
    change(header, tensors)
    text = json.dumps(header)
    path.write_bytes(save(tensors, {"edge_cl": f"{digest(text, tensors)} {text}"}))


def digest(text, tensors):
    sha = hashlib.sha256(text.encode())
    for name, a in sorted(tensors.items()):
        sha.update(f"|{name}|{a.dtype.str}|{a.shape}|".encode() + a.tobytes())
    return sha.hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        lambda h, t: h.update(samples=-1),
        lambda h, t: h.update(scale=h["scale"] * 2),
        lambda h, t: h.update(outputs=2),
        lambda h, t: h.update(outputs=0),
        lambda h, t: h.update(map={"type": "random-relu", "m": 12, "seed": 0}),
        lambda h, t: h.update(map={"type": "random-relu", "m": 16, "seed": 0}),
        lambda h, t: h.update(format_version=2),
        lambda h, t: t.update(centre=np.full(1, np.nan)),
        lambda h, t: t.update(centre=np.zeros(2)),
        lambda h, t: t.pop("centre"),
        lambda h, t: t.pop("M"),
        lambda h, t: t.update(extra=np.zeros(1)),
        lambda h, t: t.update(M=t["M"].astype(np.float32)),
        lambda h, t: t.update(B=-1e9 + t["B"]),
    ],
)
def test_a_forged_state_is_refused(kept, change):
    bundle, path = kept
    sealed_anew(path, lambda h, t: None)
    Regressor.load(path, bundle=bundle)
    sealed_anew(path, change)
    with pytest.raises(StateError):
        Regressor.load(path, bundle=bundle)
