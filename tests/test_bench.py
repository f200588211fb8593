"""The benchmark measures what it says, on a bundle without a network and on the shipped one."""

import numpy as np
import pytest

from edge_cl import InputError, features_bundle, open_bundle
from edge_cl.assets import shipped_bundle
from edge_cl.bench import bench


def vectors(d=24):
    return features_bundle(np.random.default_rng(0).standard_normal((50, d)))


@pytest.mark.parametrize("head", ["ridge", "lda", "ncm"])
def test_every_stage_is_timed(head):
    shares = []
    report = bench(
        vectors(),
        head=head,
        classes=5,
        repetitions=20,
        progress=lambda name, share: shares.append(share),
    )
    (found,) = report.encoders
    assert (found.d, found.k) == (24, 5)
    for p in [*found.stages.values(), found.predict, found.lesson]:
        assert p.n == 20
        assert 0 <= p.min <= p.median <= p.p90 <= p.p99 <= p.max
    assert found.lesson_over_predict == found.lesson.median / found.predict.median
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_encoder_takes_its_time_in_a_prediction_and_in_a_lesson():
    (found,) = bench(open_bundle(shipped_bundle()), classes=4, repetitions=20).encoders
    assert (found.runtime, found.precision) == ("onnx", "int8")
    assert found.stages["encode"].median < found.predict.median
    assert found.stages["encode"].min < found.lesson.median


@pytest.mark.parametrize("wrong", [{"repetitions": 3}, {"classes": 1}, {"precision": "int8"}])
def test_wrong_wishes_are_refused(wrong):
    with pytest.raises(InputError):
        bench(vectors(), **wrong)
