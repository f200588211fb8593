import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.covariance import oas
from strategies import splits

from edge_cl import Learner, features_bundle
from edge_cl.errors import InputError, StateError
from edge_cl.features import Identity, RandomFourier, RandomReLU, feature_map
from edge_cl.heads import RidgeOptions
from edge_cl.manifest import EmbeddingSpec
from edge_cl.presets import PRESETS, Preset, preset_named

D, K = 6, 3
RNG = np.random.default_rng(0)
Y = RNG.integers(0, K, 40)
X = (RNG.standard_normal((K, D))[Y] + 0.4 * RNG.standard_normal((40, D))).astype(np.float32)
NAMES = np.array(["mug", "cup", "vase"])[Y]
BUNDLE = features_bundle(X)
EMBEDDING = BUNDLE.manifest.embedding
every_preset = pytest.mark.parametrize("name", PRESETS)


def narrow(preset):
    """The same with few random features: the laws do not depend on how many, the time does."""
    if isinstance(preset.map, RandomReLU):
        return dataclasses.replace(preset, map=RandomReLU(m=32))
    if isinstance(preset.map, RandomFourier):
        return dataclasses.replace(preset, map=msgspec.structs.replace(preset.map, m=30))
    return preset


def learner(name, state=None, rows=None):
    opened = Learner.open(state, bundle=BUNDLE, preset=narrow(PRESETS[name]))
    if rows is not None:
        opened.learn_many(X[rows], NAMES[rows].tolist())
    return opened


def scores(opened):
    """Columns in one order, whatever that of learning."""
    return opened.scores(X)[:, np.argsort(opened.labels)]


ALL = slice(None)


@every_preset
@settings(max_examples=15)
@given(data=st.data())
def test_any_order_and_any_split_give_one_head(name, data):
    parts = [part for part in data.draw(splits(len(X))) if len(part)]
    opened = learner(name)
    for part in parts:
        opened.learn_many(X[part], NAMES[part].tolist())
        opened.scores(X[:1])
    whole = learner(name, rows=ALL)
    assert_allclose(scores(opened), scores(whole), rtol=1e-7, atol=1e-7)


@every_preset
def test_what_is_forgotten_was_never_there(name):
    opened = learner(name, rows=ALL)
    for i in (3, 20):
        opened.forget(X[i], NAMES[i])
    kept = np.delete(np.arange(len(X)), [3, 20])
    never = learner(name, rows=kept)
    assert_array_equal(opened.moments().G, never.moments().G)
    assert_allclose(scores(opened), scores(never), rtol=1e-6, atol=1e-6)


@every_preset
def test_a_state_is_reopened_with_the_preset_or_without(name, tmp_path):
    with learner(name, tmp_path / "s", ALL) as opened:
        before, status = opened.scores(X), opened.status
    with Learner.open(tmp_path / "s") as again:
        assert_array_equal(again.scores(X), before)
        assert (again.status.head, again.status.feature_map) == (status.head, status.feature_map)
    with learner(name, tmp_path / "s") as again:
        assert_array_equal(again.scores(X), before)


@every_preset
def test_a_preset_is_its_head_behind_its_map(name):
    preset = PRESETS[name]
    by_hand = Learner.open(bundle=BUNDLE, head=preset.head_for(EMBEDDING), feature_map=preset.map)
    by_name = Learner.open(bundle=BUNDLE, preset=name)
    for opened in (by_hand, by_name):
        opened.learn_many(X, NAMES.tolist())
    assert_array_equal(by_name.scores(X), by_hand.scores(X))
    assert by_name.status == by_hand.status


@every_preset
def test_a_preset_tells_where_it_is_from(name):
    assert PRESETS[name].paper
    assert preset_named(name) is PRESETS[name]


def test_all_presets_are_in_the_documents():
    page = (Path(__file__).parent.parent / "docs/concepts/heads.md").read_text(encoding="utf-8")
    for name in PRESETS:
        assert f"| `{name}` |" in page


# -- each is what its paper says, on the float features ---------------------------------------


def test_janson_is_the_nearest_mean_of_unit_vectors():
    u = X / np.linalg.norm(X, axis=1, keepdims=True)
    M = oracles.class_means(u, Y, K)
    distance = np.linalg.norm(u[:, None] - M, axis=2)
    opened = learner("nmc-janson", rows=ALL)
    answers = np.array(opened.labels)[opened.scores(X).argmax(axis=1)]
    margin = np.diff(np.sort(distance, axis=1)[:, :2])[:, 0] > 1e-2
    nearest = np.array(["mug", "cup", "vase"])[distance.argmin(axis=1)]
    assert_array_equal(answers[margin], nearest[margin])
    assert margin.sum() > 20


def test_first_session_adaptation_is_lda_with_total_covariance_and_one_on_its_diagonal():
    opened = learner("fsa", rows=ALL)
    order = [opened.labels.index(name) for name in ("mug", "cup", "vase")]
    covariance = oracles.total_covariance(X.astype(float)) + np.eye(D)
    expected = oracles.lda_scores(X.astype(float), Y, K, covariance, X)
    assert_allclose(opened.scores(X)[:, order], expected, atol=0.01)  # the grid, and ρ = 1e-6


@pytest.mark.parametrize("name", ["klda", "klda-e"])
def test_klda_is_lda_of_kernel_features_and_its_ensemble_the_mean_of_what_members_believe(name):
    opened = learner(name, rows=ALL)
    order = [opened.labels.index(n) for n in ("mug", "cup", "vase")]
    phi = feature_map(narrow(PRESETS[name]).map, EMBEDDING)
    members = 5 if name == "klda-e" else 1
    assert PRESETS[name].head.members == PRESETS[name].map.members == members
    beliefs = []
    for h in np.split(phi(X).astype(float), members, axis=1):
        r = oracles.centred(h, Y, K)
        covariance, unit, f = r.T @ r / (len(Y) - K), np.eye(h.shape[1]), len(Y) - K
        # scikit-learn's, from f rows that have this covariance
        rows = np.zeros((f, h.shape[1]))
        rotated = np.linalg.svd(r, full_matrices=False)
        rows[: len(unit)] = (rotated.S[:, None] * rotated.Vh)[:f]
        rho = oas(rows, assume_centered=True)[1]
        shrunk = (1 - rho) * covariance + rho * np.trace(covariance) / len(unit) * unit
        beliefs.append(oracles.posterior(oracles.lda_scores(h, Y, K, shrunk, h)))
    expected = (sum(beliefs) / members).astype(float)
    p = oracles.posterior(opened.scores(X)[:, order]).astype(float)
    assert_allclose(p, expected, atol=1e-6)
    assert (p.argmax(axis=1) == Y).mean() > 0.9


def test_the_papers_uniform_weights_fit_as_our_signs_do_with_lambda_translated(rng):
    """(1): λ' of m' features of variance 1/(3d) is λ' · 3d · m / m' of m signs."""
    d, m, wide, theirs = 12, 1024, 2048, 40.0
    y = rng.integers(0, K, 60)  # labels that say nothing: the fit is all regularisation
    x = rng.standard_normal((60, d)).astype(np.float32)

    def fitted(h, lam):
        return h @ oracles.ridge(h, y, K, lam)

    bound = 1 / np.sqrt(d)
    published = fitted(np.maximum(x @ rng.uniform(-bound, bound, (d, wide)), 0), theirs)
    space = EmbeddingSpec(d=d, scale=2.0**-8, signed=True, mean_square_norm=2.0 * d)
    signs = feature_map(RandomReLU(m=m), space)
    ours = signs(x) * signs.scale
    factor = 3 * d * m / wide

    def distance(lam):
        return np.abs(fitted(ours, lam) - published).mean()

    assert distance(theirs * factor) < 0.03  # two draws of random features differ
    assert distance(theirs) > 5 * distance(theirs * factor)  # negative control: λ copied
    assert distance(theirs * factor / 3) > 2 * distance(theirs * factor)
    assert distance(theirs * factor * 3) > 2 * distance(theirs * factor)


def test_lambda_follows_the_width_of_the_encoder():
    wide = EmbeddingSpec(d=1280, scale=2.0**-8, signed=False, mean_square_norm=263.7)
    assert PRESETS["acil"].head_for(wide).ridge == pytest.approx(96.0)
    assert PRESETS["g-acil"].head_for(wide).ridge == pytest.approx(157286.4)
    assert PRESETS["ranpac"].head_for(wide) == RidgeOptions()


# -- asking for one ---------------------------------------------------------------------------


def test_an_unknown_preset_lists_all(tmp_path):
    with pytest.raises(InputError, match="unknown preset 'acli'") as caught:
        Learner.open(tmp_path / "s", bundle=BUNDLE, preset="acli")
    assert all(name in caught.value.hint for name in PRESETS)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("given", [{"head": "ridge"}, {"feature_map": "l2"}])
def test_a_preset_beside_a_head_or_a_map_is_refused(given, tmp_path):
    with pytest.raises(InputError, match="got both"):
        Learner.open(tmp_path / "s", bundle=BUNDLE, preset="fsa", **given)
    assert not (tmp_path / "s").exists()


def test_a_state_behind_another_map_refuses_the_preset(tmp_path):
    with learner("fsa", tmp_path / "s", ALL):
        pass
    with pytest.raises(StateError, match="learned behind the map identity"):
        Learner.open(tmp_path / "s", bundle=BUNDLE, preset="ranpac")
    with learner("simplecil", tmp_path / "s") as opened:  # the same map: solved from the sums
        assert opened.status.head.startswith("ncm")


def test_a_preset_of_ones_own_is_taken():
    own = Preset(map=Identity(), head=RidgeOptions(), ridge_per_feature=2.0, paper="none")
    assert Learner.open(bundle=BUNDLE, preset=own).status.head == f"ridge(ridge={2.0 * D})"
