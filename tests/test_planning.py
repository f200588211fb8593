"""What a learner will need on a board: counted, predicted, and what would fit instead."""

import json
import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge_cl import (
    InputError,
    Learner,
    MissingExtraError,
    StorageError,
    features_bundle,
    picture_file,
)
from edge_cl.assets import shipped_bundle
from edge_cl.bundle import open_bundle
from edge_cl.cli import app, exit_code
from edge_cl.device import learner_needs, load_profile, profile_names
from edge_cl.device.needs import held
from edge_cl.encoders import network_work as network_work_module
from edge_cl.encoders.network_work import LayerWork, NetworkWork, network_work
from edge_cl.encoders.onnx_runner import profiled_events
from edge_cl.features import Identity, RandomFourier, RandomReLU, map_named
from edge_cl.heads import HEADS, RidgeOptions, head_options
from edge_cl.planning import Planner, plan
from edge_cl.planning.alternatives import Setup, alternatives
from edge_cl.planning.cores import board_speed
from edge_cl.planning.encoding import board_encoding
from edge_cl.planning.measured_speed import measure_speed
from edge_cl.planning.small_network import encoding_here, small_network
from edge_cl.planning.span import Span
from edge_cl.planning.speed import Speed, milliseconds
from edge_cl.planning.target import target_named
from edge_cl.planning.work import STAGES, Part, Work, work_of

every_head = pytest.mark.parametrize("head", HEADS)
MAPS = st.sampled_from([Identity(), RandomReLU(m=512), RandomFourier(m=256)])
sizes = st.integers(1, 3000)
counts = st.integers(1, 2000)

SPEED = Speed(
    bandwidth=((1e6, Span(2e10, 4e10)), (1e8, Span(1e10, 1e10))),
    products=Span(1e10, 2e10),
    python=Span(1.0, 2.0),
    assumptions=(),
)

BOARD = """
name = "A board of one's own"
soc = "none"
[[clusters]]
core = "Cortex-A99"
cores = 2
max_mhz = 1000
isa = []
source = "me"
verified = false
"""
MEMORY = """
[memory]
sizes_gb = [0.25, 4]
source = "a shop"
verified = false
[memory.measured]
copy_mb_s = [1000, 2000]
source = "a stopwatch"
verified = 2026-01-01
"""


@pytest.fixture(scope="module")
def shipped():
    return open_bundle(shipped_bundle())


@pytest.fixture(scope="module")
def vectors():
    return features_bundle(np.random.default_rng(0).standard_normal((64, 256)))


def setup(d=256, k=10, head="ridge", feature_map=None):
    return Setup(d_in=d, classes=k, head=head_options(head), feature_map=feature_map or Identity())


# -- bytes -----------------------------------------------------------------------------------


@every_head
def test_what_is_counted_is_what_a_state_takes(tmp_path, head):
    d, k = 96, 40
    rng = np.random.default_rng(0)
    with Learner.open(
        tmp_path, bundle=features_bundle(rng.standard_normal((50, d))), head=head
    ) as learner:
        for part in range(4):
            learner.learn_many(rng.standard_normal((300, d)), [f"c{i % k}" for i in range(300)])
        learner.predict(np.zeros(d))
        learner.save()
        learner.learn(np.ones(d), "c0")
        learner.save()
    needs = learner_needs(d, k, head=head_options(head))
    found = [path.stat().st_size for path in tmp_path.glob("snapshot-*")]
    assert sum(needs.disk.values()) - needs.disk["ring"] == pytest.approx(sum(found), rel=0.05)
    assert needs.disk["ring"] == pytest.approx((tmp_path / "events.db").stat().st_size, rel=0.05)


@every_head
def test_what_is_counted_is_what_moments_and_head_hold(head):
    d, k = 64, 33
    rng = np.random.default_rng(0)
    with Learner.open(bundle=features_bundle(rng.standard_normal((50, d))), head=head) as learner:
        for c in range(k):  # one after the other: room for more is made
            learner.learn_many(rng.standard_normal((4, d)), [f"c{c}"] * 4)
        learner.predict(np.zeros(d))
        knowledge = learner._journal.knowledge
        needs = learner_needs(d, k, head=head_options(head)).memory
        assert needs["sums"] == pytest.approx(knowledge.moments.nbytes, rel=0.02)
        assert needs["head"] == pytest.approx(knowledge.head.nbytes, rel=0.1)


def test_every_head_says_what_it_keeps():
    for options in HEADS.values():
        assert held(options)
    assert held(RidgeOptions(inverse="single")).matrices == 0.5


@given(sizes, counts, st.sampled_from(list(HEADS)), MAPS)
@settings(max_examples=30)
def test_more_features_or_classes_never_take_less(d, k, head, feature_map):
    def needs(d, k):
        return learner_needs(d, k, head=head_options(head), feature_map=feature_map)

    here = needs(d, k)
    for more in (needs(d + 7, k), needs(d, k + 7)):
        assert more.state_bytes >= here.state_bytes
        assert more.memory_bytes >= here.memory_bytes
        assert more.peak_bytes >= here.peak_bytes


@pytest.mark.parametrize(("d", "k"), [(0, 3), (3, -1)])
def test_sizes_that_do_not_exist_are_refused(d, k):
    with pytest.raises(InputError, match="expected d >= 1"):
        learner_needs(d, k)


# -- times -----------------------------------------------------------------------------------


@given(
    st.integers(8, 3000),
    counts,
    st.sampled_from(list(HEADS)),
    st.sampled_from(STAGES),
    st.integers(1, 500),
)
@settings(max_examples=80)
def test_more_classes_or_features_never_take_less_time(d, k, head, stage, more):
    options = head_options(head)

    def ms(d, k):
        return milliseconds(work_of(stage, d, d, k, options, None), SPEED)

    here, wider, longer = ms(d, k), ms(d + more, k), ms(d, k + more)
    assert 0 < here.least <= here.likely <= here.most
    assert wider.likely >= here.likely * (1 - 1e-9)
    assert longer.likely >= here.likely * (1 - 1e-9)


def test_a_lesson_of_ridge_is_what_its_kernel_reads_and_multiplies():
    d, k = 12, 5
    moved = operations = 0
    for i in range(d):  # the lower triangle is read once; each entry serves twice
        for j in range(i + 1):
            moved += 8
            operations += 2 * (1 + (j < i))
    for _row in range(32):  # half of the 64 rows that wait, each read twice
        for _j in range(d):
            moved += 2 * 8
    for _entry in range(d * k):  # W: read for r, read and written by the update
        moved += 3 * 8
        operations += 4
    (part,) = work_of("learn", d, d, k, head_options("ridge"), None).parts
    assert part.moved == moved
    assert part.operations == operations


def test_lda_counts_the_products_of_its_solution():
    d, k = 10, 3
    factorisation = sum(
        (d - j) ** 2 for j in range(d)
    )  # column by column, as one multiply-add each
    columns = 2 * sum(2 * (j + 1) for j in range(d)) * k  # forward and back, k right sides
    parts = work_of("flush", d, d, k, head_options("lda"), None).parts
    factor = next(part for part in parts if part.kind == "factor")
    assert factor.operations == pytest.approx(factorisation + columns, rel=0.25)


def test_time_is_the_longer_of_moving_and_multiplying_and_python_on_top():
    work = Work(
        parts=(Part(moved=4e8, touches=1e9, operations=1e8, kind="product"),), python_us=500
    )
    assert milliseconds(work, SPEED) == Span(40 + 0.5, 40 + 1.0)
    work = Work(parts=(Part(moved=4e8, touches=1e9, operations=1e9, kind="product"),), python_us=0)
    assert milliseconds(work, SPEED) == Span(100, 200)


@given(st.floats(1, 1e12), st.floats(1, 1e12))
def test_what_fits_a_smaller_memory_never_moves_slower(a, b):
    small, large = sorted((a, b))
    assert SPEED.moving(small).likely >= SPEED.moving(large).likely * (1 - 1e-9)


def test_this_machine_is_measured_within_what_is_possible():
    speed = measure_speed()
    rates = [rate for _, span in speed.bandwidth for rate in (span.least, span.most)]
    assert 1e7 < min(rates) <= max(rates) < 1e13
    assert 1e7 < speed.products.least <= speed.products.most < 1e13
    assert 0.01 < speed.python.least <= speed.python.most < 1000
    assert all(assumption.verified for assumption in speed.assumptions)


@pytest.mark.parametrize("name", profile_names())
def test_every_board_is_planned_for_and_says_what_is_not_known(shipped, name):
    found, _ = plan(shipped, name)
    known = load_profile(name).measured is not None
    assert (found.times["learn"] is not None) == known
    for span in found.times.values():
        assert span is None or 0 <= span.least <= span.likely <= span.most
    assert all(assumption.source for assumption in found.assumptions)
    assert any(not assumption.verified for assumption in found.assumptions)
    for assumption in found.assumptions:
        assert assumption.line.startswith("unverified: ") != assumption.verified


def test_a_faster_clock_is_never_predicted_slower():
    slow = load_profile("raspberry-pi-4")
    cluster = msgspec.structs.replace(slow.clusters[0], max_mhz=2 * slow.clusters[0].max_mhz)
    fast = msgspec.structs.replace(slow, clusters=(cluster,))
    work = work_of("flush", 512, 512, 10, head_options("lda"), None)
    before, after = (milliseconds(work, board_speed(board)) for board in (slow, fast))
    assert after.likely < before.likely


# -- the encoder -----------------------------------------------------------------------------


def test_multiply_adds_are_those_of_the_architecture(shipped):
    work = network_work(shipped, shipped.manifest.encoders[0])
    # EfficientNet-Lite0: stem, then (expansion, kernel, stride, channels, repeats), then the head
    side, channels = 112, 32
    macs = side**2 * 32 * 27
    for expansion, kernel, stride, out, repeats in [
        (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1),
    ]:  # fmt: skip
        for i in range(repeats):
            wide = channels * expansion
            macs += (side**2 * channels * wide) if expansion > 1 else 0
            side //= stride if i == 0 else 1
            macs += side**2 * wide * kernel**2 + side**2 * wide * out
            channels = out
    macs += side**2 * 320 * 1280
    assert work.macs == macs
    assert 0 < work.macs_of("depthwise") < work.macs_of("dense")
    assert work.widest_bytes == 112 * 112 * (96 + 96 // 4)  # the first that is strided


@pytest.mark.parametrize(
    ("name", "ins", "out", "kind", "macs"),
    [
        ("CONV_2D", [(1, 8, 8, 3), (16, 3, 3, 3), (16,)], (1, 8, 8, 16), "dense", 1024 * 27),
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 6), (1, 5, 5, 6), (6,)], (1, 4, 4, 6), "depthwise", 2400),
        ("FULLY_CONNECTED", [(1, 17, 192), (10, 192), (0,)], (1, 17, 10), "dense", 17 * 192 * 10),
        ("ADD", [(1, 4, 4, 2), (1, 4, 4, 2)], (1, 4, 4, 2), "other", 0),
    ],
)
def test_layers_of_litert_are_counted_by_their_shapes(name, ins, out, kind, macs):
    layer = network_work_module._tflite_layer(name, ins, [out])
    assert (layer.kind, layer.macs) == (kind, macs)
    weights = math.prod(ins[1]) if kind != "other" else 0
    others = 0 if kind != "other" else math.prod(ins[1])
    assert layer.weights == weights
    assert layer.numbers == math.prod(ins[0]) + others + math.prod(out)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_the_small_network_is_what_its_rates_are_divided_by(precision):
    batch = np.zeros((1, 40, 28, 28), np.uint8 if precision == "int8" else np.float32)
    events = profiled_events(small_network(precision), batch, fused=False)
    shapes = [next(iter(e["args"]["output_type_shape"][0].values())) for e in events]
    assert shapes == [[1, 240, 28, 28], [1, 240, 28, 28], [1, 40, 28, 28]]


def test_here_a_network_of_another_library_is_predicted_and_marked():
    layers = tuple(LayerWork(kind="dense", macs=10**9, numbers=1, weights=1) for _ in range(4))
    work = NetworkWork(layers=layers, element=1)
    span, told = encoding_here(work, "litert", "int8", 1, SPEED)
    assert 0 < span.least <= span.most
    assert [assumption.verified for assumption in told] == [True, False]


@pytest.mark.parametrize(("threads", "more"), [(1, 2), (2, 4)])
def test_on_a_board_more_threads_or_less_work_never_take_longer(threads, more):
    board = load_profile("raspberry-pi-4")
    small, large = (
        NetworkWork(layers=(LayerWork(kind="dense", macs=macs, numbers=1, weights=1),), element=1)
        for macs in (10**8, 10**9)
    )
    for runtime, precision in (("onnx", "int8"), ("litert", "int8"), ("onnx", "fp32")):
        few, told = board_encoding(board, large, runtime, precision, threads)
        many, _ = board_encoding(board, large, runtime, precision, more)
        less, _ = board_encoding(board, small, runtime, precision, threads)
        assert many.least <= few.least
        assert many.most <= few.most
        assert less.likely == pytest.approx(few.likely / 10)
        assert told


def test_a_published_network_is_predicted_at_what_was_published():
    board = load_profile("raspberry-pi-4")
    published = [
        e for e in board.latencies
        if e.on == "cpu" and e.precision == "int8" and e.network == "mobilenet_v2"
    ]  # fmt: skip
    work = NetworkWork(
        layers=(LayerWork(kind="dense", macs=300_000_000, numbers=1, weights=1),), element=1
    )
    span, _ = board_encoding(board, work, "litert", "int8", published[0].threads)
    assert all(span.least <= latency.ms <= span.most for latency in published)


# -- what would fit --------------------------------------------------------------------------


@given(
    st.integers(64, 2000),
    counts,
    st.sampled_from(list(HEADS)),
    MAPS,
    st.floats(0.01, 0.99),
)
@settings(max_examples=30)
def test_what_is_offered_fits_and_what_is_offered_differs(d, k, head, feature_map, share):
    start = setup(d, k, head, feature_map)

    def takes(s):
        needs = learner_needs(s.d_in, s.classes, head=s.head, feature_map=s.feature_map)
        return needs.peak_bytes + (100_000_000 if s.numba else 0) + 50_000_000

    limit = int(50_000_000 + share * (takes(start) - 50_000_000))  # less than it takes
    offered = alternatives(start, takes, limit)
    for one in offered:
        assert takes(one.setup) == one.takes <= one.of == limit
        assert one.setup != start
        assert one.changes
    fewer = [one.setup.classes for one in offered if one.setup.classes < k]
    if fewer:  # the most that fit: one more would not
        assert takes(replace(start, classes=fewer[0] + 1)) > limit


def test_a_plan_that_does_not_fit_offers_plans_that_do(vectors):
    planner = Planner(vectors, target_named("raspberry-pi-5", budget_mb=190))
    found = planner.plan(setup(256, 500, "fecam"))
    (fit,) = found.fits
    assert not fit.fits
    assert fit.instead
    for one in fit.instead:
        assert planner.plan(one.setup).fits[0].fits


def test_a_map_that_is_too_wide_becomes_narrower(vectors):
    planner = Planner(vectors, target_named("raspberry-pi-zero-2-w"))
    found = planner.plan(setup(256, 20, feature_map=map_named("random-relu:8192")))
    widths = [one.setup.feature_map.m for fit in found.fits for one in fit.instead[:1]]
    assert widths
    assert all(64 <= m < 8192 for m in widths)


# -- the command -----------------------------------------------------------------------------


def call(*arguments):
    done = CliRunner().invoke(app, ["plan", *map(str, arguments)])
    return done.exit_code, done.stdout


@pytest.fixture
def own(tmp_path, monkeypatch, vectors):
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text(BOARD + MEMORY, encoding="utf-8")
    Path("bare.toml").write_text(BOARD, encoding="utf-8")
    with Learner.open("made", bundle=vectors) as learner:
        learner.learn(np.ones(256), "one")
    return Path("made/encoder.edgecl")


def test_the_plan_is_a_table_with_its_assumptions(own):
    code, out = call("--device", "own.toml", "--bundle", own, "--classes", 7)
    assert code == 0
    assert "A board of one's own" in out
    assert "256 features, 7 classes" in out
    assert "0.25 GB: does not fit" in out
    assert "4 GB: fits" in out
    assert "unverified: it is sold with 0.25, 4 GB (a shop)" in out
    assert (
        "\n  one core copies 1000 to 2000 MB/s, a byte copied is one to two moved (a stopwatch)"
        in out
    )


def test_the_json_holds_what_the_table_says(own):
    code, out = call("--device", "own.toml", "--bundle", own, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["peak_bytes"] == sum(found["memory_bytes"].values())
    assert found["state_bytes"] == sum(found["disk_bytes"].values())
    assert found["ms"]["an answer"]["most"] == pytest.approx(
        sum(found["ms"][stage]["most"] for stage in ("encode", "map", "predict"))
    )
    assert {a["verified"] for a in found["assumptions"]} == {True, False}


def test_what_a_profile_does_not_say_is_not_made_up(own):
    code, out = call("--device", "bare.toml", "--bundle", own)
    assert code == 0
    assert "its memory is not known" in out
    assert out.count("not known") >= 4
    code, out = call("--device", "bare.toml")  # and nothing was published of the encoder
    assert code == 0
    assert json.loads(call("--device", "bare.toml", "--json")[1])["ms"]["learn"] is None


def test_a_budget_is_a_check(own):
    line = ["--device", "own.toml", "--bundle", own, "--budget-mb"]
    assert call(*line, 1000)[0] == 0
    code, out = call(*line, 20)
    assert code == 3
    assert "the budget of 20 MB: does not fit" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--device toaster", "unknown device 'toaster'"),
        ("--device none.toml", "cannot read none.toml"),
        ("--device own.toml --head hydra", "unknown head 'hydra'"),
        ("--device own.toml --map nowhere", "unknown feature map 'nowhere'"),
        ("--device own.toml --d 9999", "expected d in 1..1280"),
        ("--device own.toml --runtime litert", "holds no litert encoder"),
        ("--device own.toml --map random-relu:9", "a multiple of 8"),
    ],
)
def test_what_cannot_be_planned_is_one_clear_line(own, capsys, line, said):
    assert exit_code(["plan", *line.split()]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("error: ")


def test_a_device_must_be_named(capsys):
    assert exit_code(["plan"]) == 2
    assert "--device" in capsys.readouterr().err


def test_this_machine_is_planned_for_too(own):
    code, out = call("--device", "here", "--bundle", own, "--head", "lda", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["fits"][0]["memory"] == "what is free here"
    assert all(math.isfinite(span["most"]) for span in found["ms"].values())


def test_projected_features_take_less(own):
    wide, narrow = (
        json.loads(call("--device", "own.toml", "--bundle", own, "--json", *more)[1])
        for more in ([], ["--d", 64])
    )
    assert narrow["d"] == 64
    assert narrow["peak_bytes"] < wide["peak_bytes"]
    assert narrow["ms"]["learn"]["likely"] < wide["ms"]["learn"]["likely"]


def test_the_picture_is_drawn_or_the_extra_is_named(own, monkeypatch):
    for name, kind in (("plan.doc", InputError), ("none/plan.png", StorageError)):
        with pytest.raises(kind):
            picture_file.require_plot(Path(name))
    picture_file.require_plot(Path("plan.png"))
    monkeypatch.setattr(picture_file, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="drawing a picture"):
        picture_file.require_plot()


def test_more_threads_than_the_fastest_cores_are_not_predicted(own):
    with pytest.raises(InputError, match="expected at most 2 threads, the fastest cores of"):
        plan(open_bundle(own), "own.toml", threads=3)


@pytest.mark.slow
def test_a_picture_is_a_picture(own):
    code, _ = call("--device", "own.toml", "--bundle", own, "--plot", "plan.png")
    assert code == 0
    assert Path("plan.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
