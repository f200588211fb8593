"""Choosing by measuring: the rules as laws, and a small real run that is kept and used."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge_cl import InputError, Learner, StorageError, features_bundle, open_bundle
from edge_cl.assets import shipped_bundle
from edge_cl.cli import app
from edge_cl.device.profile import load_profile
from edge_cl.tuning import forget_choice, keep_choice, kept_choice, settings_for, tune
from edge_cl.tuning.race import rounds, standings, winner
from edge_cl.tuning.settings import Setting, baseline_for, thread_counts

MS = st.floats(0.01, 1e4)


@pytest.fixture(scope="module")
def bundle():
    return open_bundle(shipped_bundle())


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def a_setting(bundle, threads=1, **more):
    (spec,) = bundle.manifest.encoders
    return Setting(member=spec.member, runtime="onnx", precision="int8", threads=threads, **more)


def keep(bundle, setting):
    return keep_choice(
        bundle, date="2026-01-02", chosen=setting, by_member={setting.member: setting}
    )


@st.composite
def races(draw):
    """Rounds of the times of a few settings, the baseline "b" among them; and their burdens."""
    n = draw(st.integers(3, 12))
    names = ["b", *"cdefg"[: draw(st.integers(0, 5))]]
    times = {name: draw(st.lists(MS, min_size=n, max_size=n)) for name in names}
    return times, {name: (draw(st.integers(0, 3)),) for name in names}


@given(races())
def test_what_is_taken_was_never_slower_than_the_baseline(race):
    times, burden = race
    taken = winner(standings(times, "b"), "b", burden.__getitem__)
    r = np.array(times[taken]) / np.array(times["b"])
    error = 1.2533 * 1.4826 * np.median(abs(r - np.median(r))) / len(r) ** 0.5
    assert taken == "b" or np.median(r) + 2 * error <= 1 + 1e-12


@given(races())
def test_nothing_that_is_surely_fast_is_a_tenth_faster_than_what_is_taken(race):
    times, burden = race
    found = standings(times, "b")
    taken = winner(found, "b", burden.__getitem__)
    for name, own in times.items():
        ratio = np.median(np.array(own) / np.array(times["b"]))
        if name != "b" and found[name].ratio + 2 * found[name].error > 1:
            continue
        assert found[taken].ratio <= 1.1000001 * ratio
        if found[name].ratio <= found[taken].ratio:
            assert burden[taken] <= burden[name]


@given(races(), st.lists(st.floats(0.1, 10), min_size=12, max_size=12))
def test_a_drift_that_touches_a_round_changes_nothing(race, drift):
    times, _ = race
    drifted = {
        name: [t * f for t, f in zip(own, drift, strict=False)] for name, own in times.items()
    }
    before, after = standings(times, "b"), standings(drifted, "b")
    for name in times:
        assert after[name].ratio == pytest.approx(before[name].ratio, rel=1e-9)


def test_equally_fast_ones_burden_the_machine_least():
    times = {"b": [10.0] * 9, "many": [5.0] * 9, "few": [5.05] * 9, "slow": [8.0] * 9}
    burden = {"b": (0,), "many": (4,), "few": (1,), "slow": (0,)}
    assert winner(standings(times, "b"), "b", burden.__getitem__) == "few"


def test_turns_are_taken_until_the_time_is_over_and_at_least_three():
    now = [0.0]
    seen = []

    def timed(name, cost):
        def once():
            now[0] += cost
            seen.append(name)
            return cost

        return once

    def clock():
        return now[0]

    found = rounds({"a": timed("a", 1.0), "b": timed("b", 2.0)}, seconds=30.0, clock=clock)
    assert {name: set(times) for name, times in found.items()} == {"a": {1.0}, "b": {2.0}}
    assert len(found["a"]) == len(found["b"]) == 10
    assert all({*seen[i : i + 2]} == {"a", "b"} for i in range(0, len(seen), 2))
    assert seen[::2].count("a") not in (0, 10)  # the order is drawn anew
    assert len(rounds({"a": timed("a", 99.0)}, seconds=0.0, clock=clock)["a"]) == 3


@given(st.integers(1, 300))
def test_threads_double_up_to_all_cores(cores):
    counts = thread_counts(cores)
    assert counts[0] == 1
    assert counts[-1] == cores
    assert all(a < b <= 2 * a for a, b in itertools.pairwise(counts))


def test_what_is_tried_depends_on_cores_and_board(bundle, monkeypatch):
    import edge_cl.tuning.settings as module

    monkeypatch.setattr(
        module, "core_sets", lambda: (((4, 5, 6, 7), 4), ((0, 1, 2, 3), 4), (None, 8))
    )
    specs = bundle.manifest.encoders
    plain = settings_for(specs, None)
    assert {(s.cores, s.threads) for s in plain} == {
        *(((4, 5, 6, 7), n) for n in (1, 2, 4)),
        *(((0, 1, 2, 3), n) for n in (1, 2, 4)),
        *((None, n) for n in (1, 2, 4, 8)),
    }
    jetson = settings_for(specs, load_profile("jetson-orin-nano"))
    extra = {s.accelerator for s in jetson} - {"cpu"}
    listed = {
        e.accelerator
        for e in load_profile("jetson-orin-nano").executions
        if e.runtime == "onnx" and "int8" in e.precisions
    }
    assert extra == listed - {"cpu", "xnnpack"}
    assert baseline_for(specs).threads == 0


def test_a_bundle_without_a_network_has_nothing_to_tune():
    with pytest.raises(InputError, match="no encoder"):
        tune(features_bundle(np.eye(3)), seconds=0.1)


def test_a_real_run_chooses_is_kept_and_is_used(bundle, tmp_path, monkeypatch):
    shares = []
    found = tune(bundle, seconds=0.5, progress=lambda what, share: shares.append((what, share)))
    assert len(found.trials) >= 2
    assert found.baseline in {t.setting for t in found.trials if t.ratio == 1}
    assert found.chosen in {t.setting for t in found.trials if t.final and t.ratio <= 1}
    assert shares[-1] == ("final", 1.0)
    path = keep(bundle, found.chosen)
    assert kept_choice(bundle).chosen == found.chosen
    with Learner.open(tmp_path / "state", bundle=bundle) as learner:
        placed = learner.status.placement
        assert (placed.threads, placed.cores) == (found.chosen.threads, found.chosen.cores)
        assert placed.tuned == "2026-01-02"
        assert "tuned on 2026-01-02" in placed.line
        learner.learn(np.zeros((8, 8, 3), np.uint8), "dark")
    with Learner.open(tmp_path / "state") as learner:  # the same encoder, as it was learned with
        assert learner.status.placement.tuned
    with Learner.open(bundle=bundle, threads=1) as learner:  # a wish goes first
        assert not learner.status.placement.tuned
    assert forget_choice(bundle)
    assert not path.exists()
    assert not forget_choice(bundle)
    with Learner.open(bundle=bundle) as learner:
        assert not learner.status.placement.tuned


def test_the_library_itself_can_be_chosen_and_gives_the_same_features(bundle):
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    with Learner.open(bundle=bundle, threads=1) as plain:
        expected = plain.features(picture)
    keep(bundle, a_setting(bundle, threads=0))
    with Learner.open(bundle=bundle) as learner:
        assert learner.status.placement.threads == 0
        np.testing.assert_array_equal(learner.features(picture), expected)


@pytest.mark.parametrize(
    "field", ["kernel", "governor", "cpu", "cores", "libraries", "bundle_sha256"]
)
def test_what_was_measured_under_other_conditions_is_not_used(bundle, field):
    path = keep(bundle, a_setting(bundle))
    document = json.loads(path.read_bytes())
    other = {"cores": 99, "libraries": {"onnxruntime": "0.1"}}.get(field, "another")
    document["under"][field] = other
    path.write_text(json.dumps(document), encoding="utf-8")
    assert kept_choice(bundle) is None
    with Learner.open(bundle=bundle) as learner:
        assert not learner.status.placement.tuned


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:40],
        lambda text: "",
        lambda text: "[" * 100_000,
        lambda text: text.replace('"threads"', '"thread"'),
        lambda text: text.replace("encoder", "stranger"),
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: text.replace('"cores": null', '"cores": [4095]'),
    ],
)
def test_a_damaged_choice_is_none(bundle, change):
    path = keep(bundle, a_setting(bundle))
    text = path.read_text(encoding="utf-8")
    assert kept_choice(bundle) is not None
    path.write_text(change(text), encoding="utf-8")
    assert change(text) != text
    assert kept_choice(bundle) is None


def test_a_folder_that_cannot_be_looked_into_holds_no_choice(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ("x" * 300)))  # no name of a file
    assert kept_choice(bundle) is None
    with pytest.raises(StorageError, match="cannot remove"):
        forget_choice(bundle)


def test_the_command_measures_keeps_shows_and_forgets(tmp_path):
    def call(*words):
        done = CliRunner().invoke(
            app, ["tune", "--state", str(tmp_path / "none"), *words, "--json"]
        )
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    assert call("--show")["kept"] is None
    found = call("--seconds", "0.5")
    assert found["kept"]
    shown = call("--show")["kept"]
    assert shown["chosen"] == found["chosen"]
    assert call("--forget")["forgotten"] is True
    assert call("--show")["kept"] is None


def test_a_board_that_was_held_back_keeps_no_choice(tmp_path, monkeypatch):
    import edge_cl.tuning.measure as module

    real = module.read_conditions()
    slow = type(real)(
        **{name: getattr(real, name) for name in real.__dataclass_fields__}
        | {"now": ("throttled",)}
    )
    monkeypatch.setattr(module, "read_conditions", lambda: slow)
    words = ["tune", "--state", str(tmp_path / "none"), "--seconds", "0.2"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 3
    assert "throttled" in done.stderr
    assert kept_choice(open_bundle(shipped_bundle())) is None
    assert CliRunner().invoke(app, [*words, "--anyway"]).exit_code == 0
    assert kept_choice(open_bundle(shipped_bundle())) is not None
