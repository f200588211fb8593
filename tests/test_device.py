"""What a learner needs, and what the machine at hand says of itself."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_cl import Learner, features_bundle
from edge_cl.device import describe_machine, learner_needs


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
    assert small.peak_bytes < large.peak_bytes


def test_the_machine_describes_itself_in_json():
    machine = describe_machine()
    assert machine.cores >= 1
    assert machine.memory_gb > 0
    assert json.loads(json.dumps(asdict(machine)))["packages"]["numpy"] == np.__version__
