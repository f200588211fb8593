"""Averaged answers equal the weighted mean, worked out afterwards."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import SEEDS

from edge_cl.errors import InputError
from edge_cl.results import Prediction, StageTimes
from edge_cl.smoothing import Smoother

NAMES = "abcd"


def prediction(p, names=NAMES):
    ranked = sorted(zip(names, p, strict=True), key=lambda item: -item[1])
    return Prediction(
        label=ranked[0][0], probabilities=dict(ranked), stage_ms=StageTimes(encode=1.0)
    )


@given(SEEDS, st.integers(1, 30), st.floats(0.0, 0.99))
def test_bias_corrected_is_the_weighted_mean(seed, n, decay):
    P = np.random.default_rng(seed).dirichlet(np.ones(4), n)
    smooth = Smoother(decay)
    for t in range(n):
        now = smooth(prediction(P[t]))
        weight = decay ** np.arange(t, -1, -1.0)
        mean = weight @ P[: t + 1] / weight.sum()
        assert [now.probabilities[name] for name in NAMES] == pytest.approx(mean.tolist())
        assert now.label == max(now.probabilities, key=now.probabilities.get)
        assert list(now.probabilities.values()) == sorted(now.probabilities.values(), reverse=True)
        assert sum(now.probabilities.values()) == pytest.approx(1)
    assert now.stage_ms.encode == 1.0


def test_without_decay_nothing_is_averaged():
    smooth = Smoother(0.0)
    smooth(prediction([0.9, 0.1, 0, 0]))
    assert smooth(prediction([0.2, 0.8, 0, 0])).probabilities["b"] == pytest.approx(0.8)


def test_a_class_that_appears_later_counted_nothing_before():
    smooth = Smoother(0.5)
    smooth(prediction([0.6, 0.4], "ab"))
    now = smooth(prediction([0.2, 0.2, 0.6], "abc")).probabilities
    assert now == pytest.approx({"c": 0.4, "a": 1 / 3, "b": 0.8 / 3})


def test_one_glance_does_not_change_a_steady_answer():
    smooth = Smoother(0.8)
    for _ in range(5):
        smooth(prediction([0.9, 0.1, 0, 0]))
    assert smooth(prediction([0.2, 0.8, 0, 0])).label == "a"
    smooth.reset()
    assert smooth(prediction([0.2, 0.8, 0, 0])).label == "b"


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_a_decay_outside_is_refused(decay):
    with pytest.raises(InputError, match="decay"):
        Smoother(decay)
