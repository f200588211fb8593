"""The climb through remedies: in which order, what is kept, where it ends."""

from dataclasses import replace

import pytest

from edge_cl_export.proof.fidelity import Fidelity, Gate
from edge_cl_export.recipe import plain_recipe
from edge_cl_export.remedy.climb import climb

PLAIN = plain_recipe("onnx-int8")
WORTH = {"percentile99.99": 0.001, "mse": 0.002, "minmax": 0.0}
ROUNDING = {"nearest": 0.0, "corrected": 0.004, "gptq": 0.008}


def found(cosine):
    return Fidelity(
        pictures=10,
        cosine_mean=cosine,
        cosine_worst=cosine - 0.01,
        cosine_p1=cosine,
        cosine_p10=cosine,
        cosine_p50=cosine,
        snr_db=20.0,
    )


class Bench:
    """Judges recipes by a sum of what each remedy is worth, and remembers which it saw."""

    def __init__(self, base=0.97, equalised=0.0, layer=0.001):
        self.base, self.equalised, self.layer = base, equalised, layer
        self.seen = []

    def __call__(self, recipe):
        self.seen.append(recipe)
        cosine = self.base + WORTH[recipe.ranges] + ROUNDING[recipe.rounding]
        cosine += self.equalised * recipe.equalised + self.layer * len(recipe.kept)
        return recipe.name.encode(), found(cosine)


def frontier():
    return [(3,), (3, 7), (1, 3, 7, 9)]


def test_what_holds_the_gate_is_left_as_it_is():
    bench = Bench(base=0.999)
    ended = climb(PLAIN, bench, Gate())
    assert (ended.recipe, ended.misses, len(ended.rungs)) == (PLAIN, (), 1)
    assert bench.seen == [PLAIN]


def test_remedies_come_in_their_order_until_the_gate_holds():
    bench = Bench(equalised=0.003)
    ended = climb(PLAIN, bench, Gate(cosine_mean=0.9825, cosine_worst=0.9), frontier=frontier)
    tried = [rung.remedy for rung in ended.rungs]
    assert tried == [
        "as it is",
        "ranges of 99.99 % of the values",
        "ranges of least squared error",
        "channels equalised",
        "bias corrected",
        "weights rounded together",
    ]
    assert ended.recipe == replace(PLAIN, ranges="mse", equalised=True, rounding="gptq")
    assert ended.data == ended.recipe.name.encode()
    assert not ended.misses
    gains = [rung.gained for rung in ended.rungs]
    assert gains == pytest.approx([0, 0.001, 0.001, 0.003, 0.004, 0.004])


def test_what_does_not_help_is_left_out_again():
    ended = climb(PLAIN, Bench(equalised=-0.02), Gate(cosine_mean=0.979, cosine_worst=0.9))
    assert not ended.recipe.equalised
    assert [rung.taken for rung in ended.rungs if rung.remedy == "channels equalised"] == [False]


def test_layers_stay_in_float_when_nothing_else_is_left_and_no_more_than_needed():
    bench = Bench(layer=0.006)
    ended = climb(PLAIN, bench, Gate(cosine_mean=0.9865, cosine_worst=0.9), frontier=frontier)
    assert ended.recipe.kept == (3, 7)
    assert [rung.remedy for rung in ended.rungs[-2:]] == ["1 layer in float", "2 layers in float"]
    assert (1, 3, 7, 9) not in [recipe.kept for recipe in bench.seen]


def test_no_recipe_is_made_twice_and_the_best_is_given_when_nothing_helps():
    bench = Bench()
    ended = climb(PLAIN, bench, Gate(), frontier=frontier)
    assert len(bench.seen) == len(set(bench.seen))
    assert ended.misses
    best = max(found.cosine_mean for found in ended.rungs)
    assert ended.found.cosine_mean == pytest.approx(best)


def test_the_frontier_is_not_asked_for_before_it_is_needed():
    def never():
        raise AssertionError

    climb(PLAIN, Bench(), Gate(cosine_mean=0.98, cosine_worst=0.9), frontier=never)


def test_a_fixed_recipe_is_judged_and_nothing_else():
    bench = Bench()
    ended = climb(PLAIN, bench, Gate(), fixed=True, frontier=frontier)
    assert bench.seen == [PLAIN]
    assert ended.misses


def test_weights_that_came_with_a_file_stay_as_they_are():
    bench = Bench()
    climb(PLAIN, bench, Gate(), weights=False)
    assert {(r.equalised, r.rounding) for r in bench.seen} == {(False, "nearest")}
