"""Choosing, comparing and listing heads from the command line."""

import json

import numpy as np
import pytest
from sensor_rows import CENTRES

from edge_cl import Learner, features_bundle, kernels
from edge_cl.cli import heads_command
from edge_cl.features import map_named
from edge_cl.heads import HEADS
from edge_cl.presets import PRESETS


def test_every_name_that_can_be_chosen_is_listed(call):
    assert {*HEADS, "auto"} == set(heads_command.HEADS)
    for name in heads_command.MAPS:
        map_named(name.partition("[")[0])
    code, out, _ = call("heads")
    assert code == 0
    for name in [*HEADS, "auto", *PRESETS]:
        assert f"  {name} " in out
    found = json.loads(call("heads", "--json")[1])
    assert set(found["presets"]) == set(PRESETS)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_learns_answers_and_is_kept(call, head):
    assert call("learn", "train.npz", "--bundle", "sensor.edgecl", "--head", head)[0] == 0
    answers = call("predict", "test.npz", "--top", 1)[1]
    assert len(answers.splitlines()) == 30
    assert call("learn", "one.npz", "mug")[0] == 0
    assert call("run", "test.npz", "--mode", "prequential", "--quiet")[0] == 0
    code, _, err = call("undo")
    if HEADS[head].promise.from_moments:
        assert code == 0
    else:
        assert code == 1
        assert "depends on the order" in err
        assert err.count("\n") == 2
    assert call("predict", "test.npz", "--top", 1)[0] == 0


def test_compared_heads_are_shown_and_go_on(call):
    line = ["learn", "train.npz", "--bundle", "sensor.edgecl", "--compare", "lda"]
    assert call(*line, "--compare", "ncm")[0] == 0
    assert call("run", "test.npz", "--mode", "prequential", "-q")[0] == 0
    status = call("status")[1]
    assert "heads compared" in status
    found = json.loads(call("status", "--json")[1])
    assert [one["head"] for one in found["compared"]] == ["ridge", "lda", "ncm"]
    assert all(0.9 < one["accuracy"] <= 1 for one in found["compared"])
    assert 30 < found["tested"] < 60
    assert call("use", "lda")[0] == 0
    found = json.loads(call("status", "--json")[1])
    assert [one["head"] for one in found["compared"]] == ["lda", "ridge", "ncm"]


def test_auto_says_when_another_head_answers(call):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)  # length alone tells these apart, which ridge cannot see
    x = (1 + 4 * y[:, None]) * (1 + 0.05 * rng.normal(size=(400, 6)))
    np.savez("lengths.npz", x=x.astype(np.float32), y=np.array(["mug", "cup", "vase"])[y])
    with open("lengths.edgecl", "wb") as file:
        file.write(features_bundle(x).archive())
    line = ["run", "lengths.npz", "--mode", "prequential", "-q", "--bundle", "lengths.edgecl"]
    code, _, err = call(*line, "--head", "auto")
    assert code == 0
    assert "note: lda proved best so far, and answers from now on\n" in err
    assert "head: lda (auto)\n" in call("status")[1]


def test_a_mask_from_the_command_line(call, taught):
    out = call("predict", "test.npz", "--among", "cup", "--among", "vase", "--json")[1]
    answers = [json.loads(line) for line in out.splitlines()]
    assert len(answers) == 30
    assert all(set(answer["probabilities"]) == {"cup", "vase"} for answer in answers)
    code, _, err = call("predict", "test.npz", "--among", "plate")
    assert code == 1
    assert "unknown label 'plate'" in err
    code, _, err = call("run", "test.npz", "--mode", "learn", "--among", "cup")
    assert code == 2
    assert "mode predict" in err


def test_smoothed_answers_follow_the_stream(call, taught):
    steady = np.repeat(CENTRES[:1], 8, axis=0)
    steady[5] = CENTRES[1]
    np.savez("steady.npz", x=steady.astype(np.float32))
    plain = call("run", "steady.npz", "--top", 1)[1].splitlines()[:8]
    smooth = call("run", "steady.npz", "--top", 1, "--smooth", 0.8)[1].splitlines()[:8]
    assert sum(": mug" in line for line in plain) == 7
    assert all(": mug" in line for line in smooth)
    assert call("run", "steady.npz", "--smooth", 1)[0] == 2


def test_warming_up_says_how_long_it_took(call):
    found = json.loads(call("warmup", "--json")[1])
    assert found["kernels"] == kernels.BACKEND
    assert 0 <= found["seconds"] < 60


def test_a_head_that_needs_more_sums_is_refused_where_they_were_not_kept(call, taught):
    before = call("status")[1]
    code, _, err = call("use", "fecam")
    assert code == 1
    assert "begin a new state with this head" in err
    assert call("status")[1] == before
    assert Learner.open("edge-cl-state").status.head == "ridge"


def test_what_a_head_with_a_matrix_for_each_class_needs_is_told_and_checked(call, monkeypatch):
    line = ["plan", "--device", "raspberry-pi-5", "--classes", 20, "--json", "--head"]
    small, large = (json.loads(call(*line, head)[1])["memory_bytes"] for head in ("ridge", "fecam"))
    more = large["sums"] + large["head"] - small["sums"] - small["head"]
    assert more == pytest.approx((2 * 20 - 1) * 1280**2 * 8, rel=1e-2)
    learn = ["learn", "train.npz", "--bundle", "sensor.edgecl", "--head", "fecam"]
    monkeypatch.setattr("edge_cl.device.needs.available_bytes", lambda: 7 * 8 * 6 * 6)
    code, _, err = call(*learn)
    assert code == 1
    assert "a head that keeps no matrix for each class" in err
    monkeypatch.setattr("edge_cl.device.needs.available_bytes", lambda: 8 * 8 * 6 * 6)
    assert call(*learn)[0] == 0
