"""Board profiles and what a learner needs."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge_cl import InputError, Learner, features_bundle
from edge_cl.cli import app
from edge_cl.device import describe_machine, learner_needs, load_profile, profile_names


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_fits_and_gives_its_sources(name):
    profile = load_profile(name)
    assert profile.source
    assert profile.memory.source
    assert profile.memory.copy_mb_s[0] <= profile.memory.copy_mb_s[1]
    least, most = learner_needs(1280, 100).learn_ms(profile)
    assert 0 < least <= most


def test_an_unknown_profile_says_which_there_are():
    with pytest.raises(InputError, match="toaster") as error:
        load_profile("toaster")
    assert "raspberry-pi-5" in error.value.hint


@pytest.mark.parametrize(
    "text", ['name = "x"', "name = 1", "nonsense", 'nam = "y"', "[memory]\nsizes_gb = 3"]
)
def test_a_profile_of_ones_own_is_read_by_path_and_checked(tmp_path, text):
    own = tmp_path / "mine.toml"
    own.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.toml"):
        load_profile(str(own))


def test_a_missing_profile_is_one_clear_error():
    with pytest.raises(InputError, match="cannot read"):
        load_profile("not-there.toml")


@pytest.mark.parametrize(("d", "k"), [(8, 3), (200, 20)])
def test_needs_are_what_a_learner_really_holds(tmp_path, d, k):
    rng = np.random.default_rng(0)
    bundle = features_bundle(rng.standard_normal((50, d)))
    with Learner.open(tmp_path, bundle=bundle) as learner:
        learner.learn_many(rng.standard_normal((300, d)), [f"c{i % k}" for i in range(300)])
        learner.predict(np.zeros(d))
    size = sum(path.stat().st_size for path in tmp_path.iterdir() if path.suffix != ".edgecl")
    assert learner_needs(d, k).state_bytes == pytest.approx(size, rel=0.1, abs=100_000)


@given(st.integers(1, 4000), st.integers(0, 500))
def test_needs_grow_with_features_and_classes(d, k):
    small, large = learner_needs(d, k), learner_needs(d + 1, k + 1)
    assert small.memory_bytes < large.memory_bytes
    assert small.learn_bytes < large.learn_bytes


def test_the_machine_describes_itself_in_json():
    machine = describe_machine()
    assert machine.cores >= 1
    assert machine.memory_gb > 0
    assert json.loads(json.dumps(asdict(machine)))["packages"]["numpy"] == np.__version__


def test_inspect_says_what_a_learner_needs_on_a_board():
    done = CliRunner().invoke(app, ["inspect", "--device", "raspberry-pi-4", "--json"])
    assert done.exit_code == 0
    needs = json.loads(done.stdout)["needs"]
    assert needs["device"].startswith("Raspberry Pi 4")
    assert "sbc-bench" in needs["copy rate from"]
