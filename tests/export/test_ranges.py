"""Counts do not depend on how values come; ranges are what brute force finds."""

import numpy as np
import onnx
import pytest
from export_samples import NET, PIXELS, blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_cl.errors import ExportError, InputError
from edge_cl_export.quantise.clipping import (
    BINS_A_LEVEL,
    ENTROPY_STEPS,
    FINE,
    SMALL,
    chosen_range,
    chosen_ranges,
    divergence,
    percentile_range,
    squared_error,
)
from edge_cl_export.quantise.histogram import BINS, Histogram
from edge_cl_export.quantise.litert_ranges import quantizer_ranges, watch_litert
from edge_cl_export.quantise.onnx_ranges import watch_activations

METHODS = ("minmax", "percentile99.9", "mse", "entropy")
floats = st.floats(-1e6, 1e6, width=32, allow_subnormal=False).filter(
    lambda x: x == 0.0 or abs(x) > 1e-20
)
tensors = hnp.arrays(np.float32, st.integers(1, 300), elements=floats)
seeds = st.integers(0, 2**32 - 1)


def counted(*parts):
    histogram = Histogram()
    for part in parts:
        histogram.add(np.asarray(part, np.float32))
    return histogram


def state(h):
    return h.low, h.high, h.exponent, h.first, h.counts.tolist(), h.zeros


def drawn(seed, one_sided=False, n=4000):
    """Values as layers have them: a bulk, a few far out, some zeros."""
    rng = np.random.default_rng(seed)
    x = rng.normal(rng.uniform(-2, 2), rng.uniform(0.1, 3), n)
    x[: n // 200] *= rng.uniform(1, 20)
    if one_sided:
        x = np.maximum(x - x.mean(), 0.0) if seed % 3 else np.abs(x)
    return x.astype(np.float32)


def quantised(x, a, b, symmetric=False):
    """The textbook, on values."""
    if symmetric:
        step = max(-a, b) / 127
        return np.clip(np.round(x / step), -127, 127) * step
    step = (b - a) / 255
    zero = np.round(-a / step)
    return (np.clip(np.round(x / step) + zero, 0, 255) - zero) * step


# -- counting ----------------------------------------------------------------


@given(tensors, seeds)
def test_counts_depend_on_the_values_alone(values, seed):
    rng = np.random.default_rng(seed)
    parts = np.array_split(rng.permutation(values), rng.integers(1, 6))
    assert state(counted(*parts)) == state(counted(values))


@settings(max_examples=20)
@given(seeds)
def test_bins_that_widen_lose_nothing(seed):
    x = np.sort(np.abs(drawn(seed)))  # the largest last: bins widen on the way
    for values in (x, -x, x + 0.3, np.where(np.arange(len(x)) % 2, x, -x)):
        assert state(counted(*np.array_split(values, 9))) == state(counted(values))


@pytest.mark.parametrize("large", [1e-3, 1.0, 1e9, 1e18])
def test_a_small_value_before_a_large_one_takes_no_memory(large):
    h = counted([1e-20, -2e-20], [large, -large / 2])
    assert state(h) == state(counted([large, -large / 2, 1e-20, -2e-20]))
    assert len(h.counts) <= BINS


@given(tensors)
def test_every_value_is_in_its_bin(values):
    h = counted(values)
    bins = [int(np.floor(np.float64(v) / h.width)) - h.first for v in values[values != 0]]
    np.testing.assert_array_equal(h.counts, np.bincount(bins, minlength=len(h.counts)))
    assert h.zeros == np.sum(values == 0)
    assert (h.low, h.high) == (values.min(), values.max())
    assert len(h.counts) <= BINS


@given(tensors.filter(lambda v: np.ptp(v) > 1e-3 * np.abs(v).max()))
def test_bins_are_as_fine_as_they_can_be(values):
    assert len(counted(values).counts) > BINS // 2 - 2


def test_a_constant_and_nothing_can_be_counted():
    assert counted([5.0] * 3, []).counts.tolist() == [3]
    assert chosen_range(counted([5.0] * 3), "percentile99") == (5.0, 5.0)
    assert counted([0.0] * 3).zeros == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_name(bad):
    with pytest.raises(ExportError, match="layer_7 is not finite"):
        Histogram().add(np.array([1.0, bad], np.float32), "layer_7")


# -- choosing ----------------------------------------------------------------


@settings(max_examples=20)
@given(seeds, st.booleans(), st.sampled_from(METHODS), st.booleans())
def test_a_range_lies_in_what_was_seen_and_zero(seed, one_sided, method, symmetric):
    x = drawn(seed, one_sided)
    a, b = chosen_range(counted(x), method, symmetric=symmetric)
    assert min(x.min(), 0.0) <= a < b <= max(x.max(), 0.0)


@given(seeds, st.floats(80, 100))
def test_a_percentile_leaves_out_the_tails_and_nothing_else(seed, percentile):
    x, h = drawn(seed), counted(drawn(seed))
    a, b = chosen_range(h, f"percentile{percentile}")
    tail = (1 - percentile / 100) / 2
    assert np.mean(x < a) <= tail + 1e-9
    assert np.mean(x > b) <= tail + 1e-9
    low, high = np.quantile(x, [tail, 1 - tail], method="inverted_cdf")
    assert low - 2 * h.width <= a <= low + 1e-9
    assert high - 1e-9 <= b <= high + 2 * h.width


def test_a_percentile_of_counts_by_hand():
    counts = np.zeros(2048, np.int64)
    counts[500:1500] = 1000
    counts[0] = counts[-1] = 1
    low, high = percentile_range(counts, -1.0, 1.0, 99.9)
    assert -0.52 < low < -0.50
    assert 0.46 < high < 0.48
    assert percentile_range(counts, -1.0, 1.0, 100.0) == (-1.0, 1.0)


def test_zeros_count_for_the_percentile():
    x = np.concatenate([np.zeros(9990), np.linspace(1, 2, 10)]).astype(np.float32)
    assert chosen_range(counted(x), "percentile99.9")[1] == pytest.approx(1.5, abs=0.2)
    assert chosen_range(counted(x), "percentile100")[1] == 2.0
    assert chosen_range(counted(x), "percentile99")[1] < 0.01


@given(seeds, st.booleans(), st.booleans())
def test_the_error_is_that_of_quantising_the_middle_of_every_bin(seed, one_sided, symmetric):
    x, h = drawn(seed, one_sided), counted(drawn(seed, one_sided))
    rng = np.random.default_rng(seed)
    a, b = min(h.low, 0) * rng.uniform(0.1, 1, 5), max(h.high, 0) * rng.uniform(0.1, 1, 5)
    a[0], b[0] = min(h.low, 0), max(h.high, 0)
    found = squared_error(h, a, b, symmetric=symmetric)
    values = np.repeat(h.centres, h.counts)
    for j in range(5):
        expected = np.sum((values - quantised(values, a[j], b[j], symmetric)) ** 2)
        assert found[j] == pytest.approx(expected, rel=1e-6, abs=1e-6 * h.width**2 * len(x))


@settings(max_examples=20)
@given(seeds, st.booleans())
def test_least_error_is_what_brute_force_finds(seed, symmetric):
    h = counted(drawn(seed, one_sided=True))
    values = np.repeat(h.centres, h.counts)
    ends = h.high * np.arange(8, FINE + 1, 8) / FINE
    least = min(np.mean((values - quantised(values, 0.0, b, symmetric)) ** 2) for b in ends)
    _, b = chosen_range(h, "mse", symmetric=symmetric)
    assert np.mean((values - quantised(values, 0.0, b, symmetric)) ** 2) <= least * (1 + 1e-9)
    assert round(b / h.high * FINE) == pytest.approx(b / h.high * FINE)


@settings(max_examples=20)
@given(seeds)
def test_least_error_of_two_ends_is_near_what_brute_force_finds(seed):
    h = counted(drawn(seed))
    a, b = (g.ravel() for g in np.meshgrid(*[np.arange(1, 41) / 40] * 2))
    least = squared_error(h, min(h.low, 0.0) * a, max(h.high, 0.0) * b).min()
    low, high = chosen_range(h, "mse")
    assert squared_error(h, np.array([low]), np.array([high]))[0] <= 1.02 * least


@pytest.mark.parametrize("seed", range(8))
def test_a_little_more_or_less_of_either_end_is_no_better(seed):
    h = counted(drawn(seed))
    low, high = chosen_range(h, "mse")
    steps = np.arange(-3, 4) / FINE
    a, b = np.meshgrid(low - steps * min(h.low, 0.0), high + steps * max(h.high, 0.0))
    a, b = np.maximum(a, h.low).ravel(), np.minimum(b, h.high).ravel()
    found = squared_error(h, np.array([low]), np.array([high]))[0]
    assert squared_error(h, a, b).min() >= 0.998 * found


@settings(max_examples=20)
@given(seeds, st.booleans())
def test_no_value_quantised_with_least_error_is_worse_than_with_all_of_it(seed, one_sided):
    x = drawn(seed, one_sided)
    h = counted(x)
    whole = min(h.low, 0.0), max(h.high, 0.0)
    error = {r: np.mean((x - quantised(x, *r)) ** 2) for r in (chosen_range(h, "mse"), whole)}
    assert error[chosen_range(h, "mse")] <= 1.05 * error[whole]


def naive_divergence(h, a, b):
    """TensorRT's, bin by bin: outliers in the reference only, levels spread over what is there."""
    inside = [i for i, c in enumerate(h.centres) if a <= c < b]
    reference = {i: float(h.counts[i]) for i in inside}
    reference[inside[0]] += sum(h.counts[: inside[0]])
    reference[inside[-1]] += sum(h.counts[inside[-1] + 1 :])
    level = {i: float(quantised(h.centres[i], a, b)) for i in inside}
    candidate = {}
    for i in inside:
        mates = [j for j in inside if level[j] == level[i]]
        there = [j for j in mates if reference[j] > 0]
        candidate[i] = sum(h.counts[j] for j in mates) / len(there) if i in there else 0.0
        if reference[i] > 0 and candidate[i] == 0:
            candidate[i] = SMALL
    total, other = sum(reference.values()), sum(candidate.values())
    sum_ = 0.0
    for i in inside:
        if reference[i] > 0:
            p, q = reference[i] / total, candidate[i] / other
            sum_ += p * np.log(p / q)
    return sum_


@pytest.mark.parametrize("seed", range(6))
def test_the_divergence_is_that_of_the_definition(seed):
    h = counted(drawn(seed, n=1500))
    few = Histogram()  # 300 bins: the oracle is slow
    few.low, few.high, few.exponent = h.low, h.high, h.exponent + 3
    few.first = h.first >> 3
    pad = np.pad(h.counts, (h.first - (few.first << 3), 0))
    few.counts = np.pad(pad, (0, -len(pad) % 8)).reshape(-1, 8).sum(1)
    rng = np.random.default_rng(seed)
    for _ in range(3):
        a, b = min(h.low, -0.1) * rng.uniform(0.3, 1), max(h.high, 0.1) * rng.uniform(0.3, 1)
        assert divergence(few, a, b) == pytest.approx(naive_divergence(few, a, b), rel=1e-9)


@settings(max_examples=20)
@given(seeds)
def test_least_divergence_is_what_brute_force_finds(seed):
    h = counted(drawn(seed, one_sided=True))
    least = BINS_A_LEVEL * 256 * h.width
    shares = np.arange(1, ENTROPY_STEPS + 1) / ENTROPY_STEPS
    wide = [b for b in h.high * shares if b >= least or b == h.high]
    found = divergence(h, 0.0, chosen_range(h, "entropy")[1])
    assert found == min(divergence(h, 0.0, b) for b in wide)


def test_the_divergence_makes_what_is_cut_off_cost():
    x = np.random.default_rng(0).uniform(0, 1, 100_000)
    h = counted(x)
    costs = [divergence(h, 0.0, b) for b in (1.0, 0.9, 0.7, 0.5)]
    assert costs == sorted(costs)
    assert costs[1] > 10 * costs[0]
    assert chosen_range(h, "entropy")[1] > 0.98


def test_a_lone_value_far_out_is_cut_off_by_all_but_minmax():
    x = np.append(np.random.default_rng(0).normal(size=200_000), 100.0)
    h = counted(x)
    assert chosen_range(h, "minmax")[1] == 100.0
    for method, most in (("percentile99.9", 5.0), ("entropy", 30.0), ("mse", 90.0)):
        assert 2.0 < chosen_range(h, method)[1] < most, method


@settings(max_examples=20)
@given(seeds, st.sampled_from(["mse", "entropy"]))
def test_zeros_cost_nothing_and_change_nothing(seed, method):
    x = drawn(seed)
    x -= x.mean()  # zero is among what was seen
    few, many = counted(x), counted(x, np.zeros(10**5))
    assert chosen_range(few, method) == chosen_range(many, method)


@settings(max_examples=20)
@given(seeds, st.sampled_from(METHODS), st.integers(-8, 8))
def test_a_tensor_twice_as_large_has_a_range_twice_as_large(seed, method, doublings):
    x = drawn(seed)
    a, b = chosen_range(counted(x), method)
    scale = 2.0**doublings
    assert chosen_range(counted(x * np.float32(scale)), method) == (a * scale, b * scale)


@pytest.mark.parametrize(
    "method", ["", "max", "percentile", "percentile50", "percentile101", "percentile-1", "kl"]
)
def test_another_method_is_refused_in_one_line(method):
    with pytest.raises(InputError, match="no ranges are chosen by") as caught:
        chosen_range(counted([1.0, 2.0]), method)
    assert "entropy" in caught.value.hint


# -- of models ---------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    from edge_cl_export import load_factory
    from edge_cl_export.graph.embedding import Embedding
    from edge_cl_export.graph.trace import trace

    backbone = load_factory(f"{NET}:make", size=(32, 32), **PIXELS)
    module = Embedding(backbone.module, backbone.preparation).eval()
    return module, trace(module, (32, 32))


def in_batches(count, size):
    pictures, _ = blobs(count, size=32)
    return [pictures[i : i + size] for i in range(0, count, size)]


def test_an_onnx_model_is_measured_in_one_pass_for_every_method(tiny):
    from edge_cl_export.graph.to_onnx import to_onnx

    module, traced = tiny
    model = to_onnx(traced.graph, traced)
    heard = []
    once = iter(in_batches(12, 4))  # a second pass would find nothing
    histograms = watch_activations(
        model, once, progress=lambda what, share: heard.append((what, share)), pictures=12
    )
    assert [share for _, share in heard] == pytest.approx([1 / 3, 2 / 3, 1.0])
    found = chosen_ranges(histograms, "minmax")
    assert found == chosen_ranges(watch_activations(model, in_batches(12, 3)), "minmax")
    made = [name for node in model.graph.node for name in node.output]
    assert list(found) == [name for name in made if name in found]
    assert len(found) > len([n for n in model.graph.node if n.op_type == "Conv"])
    from edge_cl_export.graph.embedding import embed

    features = embed(module, np.concatenate(in_batches(12, 12)))
    output = model.graph.output[0].name
    np.testing.assert_allclose(found[output], (features.min(), features.max()), rtol=1e-4)
    for method in METHODS[1:]:
        for name, (a, b) in chosen_ranges(histograms, method).items():
            assert min(found[name][0], 0) <= a <= b <= max(found[name][1], 0), (method, name)


def test_an_activation_that_is_not_finite_is_named():
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT),
            helper.make_node("Log", ["y"], ["z"]),
        ],
        "log",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [None, 2, 2, 3])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 2, 2, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    with pytest.raises(ExportError, match="tensor z is not finite"):
        watch_activations(model, [np.zeros((1, 2, 2, 3), np.uint8)])


@pytest.mark.slow
def test_a_litert_model_is_measured_and_its_ranges_fit_the_quantiser(tiny, tmp_path):
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName

    from edge_cl_export.graph.embedding import embed
    from edge_cl_export.graph.to_litert import to_litert
    from edge_cl_export.quiet import quiet

    module, traced = tiny
    model = to_litert(traced.graph, (32, 32))
    batches = in_batches(12, 4)
    histograms = watch_litert(model, iter(batches))
    extremes = chosen_ranges(histograms, "minmax")
    reader = Interpreter(model_content=model)
    output = reader.get_output_details()[0]["name"]
    features = embed(module, np.concatenate(batches))
    np.testing.assert_allclose(extremes[output], (features.min(), features.max()), rtol=1e-4)

    ranges = chosen_ranges(histograms, "mse")
    (tmp_path / "float.tflite").write_bytes(model)
    with quiet():
        worker = quantizer.Quantizer(str(tmp_path / "float.tflite"))
        worker.load_quantization_recipe(recipe.static_wi8_ai8())
        for name in ("INPUT", "SUB", "MUL"):
            worker.update_quantization_recipe(
                ".*", TFLOperationName(name), algorithm_key=AlgorithmName.NO_QUANTIZE
            )
        worker.quantize(quantizer_ranges(ranges)).export_model(str(tmp_path / "int8.tflite"))
    made = Interpreter(model_path=str(tmp_path / "int8.tflite"))
    steps = {
        d["name"]: d["quantization"][0]
        for d in made.get_tensor_details()
        if d["dtype"] == np.int8 and d["name"] in ranges and d["quantization"][0] > 0
    }
    assert len(steps) >= 4
    for name, step in steps.items():
        a, b = min(ranges[name][0], 0.0), max(ranges[name][1], 0.0)
        assert step == pytest.approx((b - a) / 255, rel=1e-5), name


# -- padding -----------------------------------------------------------------


@pytest.fixture(scope="module")
def padded():
    """A `.tflite` that pads with -inf before a max pooling of values of either sign."""
    import torch

    from edge_cl_export.graph.embedding import Embedding
    from edge_cl_export.graph.preparation import Preparation
    from edge_cl_export.graph.to_litert import to_litert
    from edge_cl_export.graph.trace import trace

    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        conv.bias -= 2.0  # hardly a value is positive: padding with 0 would be seen
    backbone = torch.nn.Sequential(conv, torch.nn.MaxPool2d(3, 2, 1), torch.nn.Conv2d(4, 8, 1))
    module = Embedding(backbone, Preparation(size=(32, 32), **PIXELS)).eval()
    return to_litert(trace(module, (32, 32)).graph, (32, 32))


def test_padding_is_no_activation(padded):
    from edge_cl_export.quantise.flatbuffer import constant, kind_of, name_of, read_flat

    flat = read_flat(padded)
    graph = flat.subgraphs[0]
    (pad,) = [op for op in graph.operators if kind_of(flat, op) == "PADV2"]
    assert np.isneginf(constant(flat, pad.inputs[2]))  # or there is nothing to test
    seen = watch_litert(padded, [blobs(3, seed=2, size=32)[0]])
    into, out = (seen[name_of(graph.tensors[i])] for i in (pad.inputs[0], pad.outputs[0]))
    assert state(into) == state(out)


@pytest.mark.parametrize("integer_io", [False, True])
def test_what_was_padded_gives_the_same_features_in_integers(padded, integer_io):
    from edge_cl.bundle import EncoderSpec
    from edge_cl.encoders.litert_runner import LiteRTRunner
    from edge_cl_export.quantise.litert_int8 import quantize_litert

    pictures = blobs(6, seed=2, size=32)[0]
    made = quantize_litert(padded, lambda: [pictures], integer_io=integer_io)
    spec = EncoderSpec(
        member="a.tflite", runtime="litert", precision="int8", recipe="", input_name="image",
        output_name="embedding",
    )  # fmt: skip
    found, expected = (LiteRTRunner(m, spec, 1).run(pictures) for m in (made, padded))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.02 * scale)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_activation_that_is_not_finite_is_still_an_error(padded, bad):
    from edge_cl_export.quantise.flatbuffer import constant, kind_of, read_flat, write_flat

    flat = read_flat(padded)
    graph = flat.subgraphs[0]
    conv = next(op for op in graph.operators if kind_of(flat, op) == "CONV_2D")
    bias = constant(flat, conv.inputs[2]).copy()
    bias[1] = bad
    buffer = flat.buffers[graph.tensors[conv.inputs[2]].buffer]
    buffer.data = np.frombuffer(bias.astype("<f4").tobytes(), np.uint8)
    with pytest.raises(ExportError, match="not finite"):
        watch_litert(write_flat(flat), [blobs(1, seed=2, size=32)[0]])
