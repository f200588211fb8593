"""What misses the gate, or is interrupted, leaves no file."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from export_samples import NET
from hypothesis import given
from hypothesis import strategies as st

from edge_cl.bundle import EmbeddingSpec, open_bundle
from edge_cl.errors import ExportError, FidelityError, InputError, StorageError
from edge_cl.verify import verify
from edge_cl_export.proof.fidelity import Gate, check, measure, misses


def test_below_the_gate_nothing_is_written(export_tiny, tmp_path):
    with pytest.raises(FidelityError, match=r"onnx-int8: mean cosine"):
        export_tiny(
            tmp_path / "x.edgecl", formats=["onnx-fp32", "onnx-int8"], gate=Gate(cosine_mean=1.0)
        )
    assert list(tmp_path.iterdir()) == []


def test_what_misses_the_gate_is_not_merely_left_out(export_tiny, tmp_path):
    """Formats that cannot be made here are; one that is too far off is an error."""
    with pytest.raises(FidelityError, match="worst cosine"):
        export_tiny(tmp_path / "x.edgecl", gate=Gate(cosine_worst=1.0))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_no_half_bundle(export_tiny, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(StorageError, match="No space left") as caught:
        export_tiny(tmp_path / "x.edgecl", formats=["onnx-fp32"])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("factory", ["make_untraceable", "make_two_outputs", "make_broken"])
def test_a_network_that_cannot_be_exported_is_one_line(export_tiny, tmp_path, factory):
    with pytest.raises(ExportError) as caught:
        export_tiny(tmp_path / "x.edgecl", factory, formats=["onnx-int8"])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_leaves_what_was_there(export_tiny, tmp_path):
    out = tmp_path / "x.edgecl"
    out.write_bytes(b"the old one")

    def interrupt(what, share):
        assert 0.0 <= share <= 1.0
        if what == "writing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_tiny(out, formats=["onnx-fp32"], progress=interrupt)
    assert out.read_bytes() == b"the old one"
    assert [p.name for p in tmp_path.iterdir()] == ["x.edgecl"]


@pytest.mark.slow
def test_the_same_command_gives_the_same_bytes(export_tiny, pictures_file, tmp_path):
    formats = ["onnx-fp32", "onnx-int8"]
    first = export_tiny(tmp_path / "a.edgecl", formats=formats).path.read_bytes()
    again = f"""
from pathlib import Path
from edge_cl_export.command import Asked, export_command
asked = Asked(
    source={f"{NET}:make"!r}, calibration=Path({str(pictures_file)!r}), size=(32, 32),
    mean=(127.0,) * 3, std=(128.0,) * 3,
)
export_command(asked, Path({str(tmp_path / "b.edgecl")!r}), formats={formats})
"""
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": f"{root}:{root / 'export'}", "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", again], env=env, check=True, capture_output=True)
    assert (tmp_path / "b.edgecl").read_bytes() == first


def test_the_machine_that_made_a_bundle_sees_what_it_saw(exported):
    found = verify(open_bundle(exported.path))
    assert found.misses == ()
    assert found.verdict == "this machine sees what the workstation saw"
    assert len(found.encoders) == len(exported.encoders)
    for encoder in found.encoders:
        assert encoder.workstation.cosine_worst > 0.999999


# -- the measure, and the bars -----------------------------------------------------------------


def clouds(rng, n=240, classes=4, d=8):
    """Features of `classes` classes that a head tells apart, float32, and their labels."""
    labels = np.arange(n) % classes
    return (np.eye(d)[labels] + 0.1 * rng.normal(size=(n, d))).astype(np.float32), labels


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 9))
def test_equal_features_pass_the_narrowest_gate(seed, n, d):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)).astype(np.float32)
    found = measure(x, x, rng.integers(0, 3, n), rng.integers(0, 5, n))
    assert misses(found, Gate(cosine_mean=1.0, cosine_worst=1.0, head_loss=0.0)) == ()
    for head in (found.nearest_mean, found.lda, found.ridge):
        assert head is None or (head.agreement, head.loss) == (1.0, 0.0)


@given(st.floats(0, 60))
def test_noise_of_known_power_gives_the_closed_form(level):
    x, noise = np.random.default_rng(1).normal(size=(2, 40, 8))
    noise *= np.sqrt((x**2).sum() / (noise**2).sum()) * 10.0 ** (-level / 20)
    found = measure(x.astype(np.float32), (x + noise).astype(np.float32))
    assert found.snr_db == pytest.approx(level, abs=0.01)
    assert (found.ridge, found.held_out) == (None, "")


def test_accuracy_is_counted_as_by_hand(rng):
    """The deployed features of six tested pictures are those of another class."""
    x, labels = clouds(rng)
    y = x.copy()
    y[[0, 5, 10, 15, 20, 25]] = x[[1, 6, 11, 16, 21, 26]]
    found = measure(x, y, labels)
    assert found.held_out == "picture"
    for head in (found.nearest_mean, found.lda, found.ridge):
        assert head.float_features == 1.0
        assert head.tested == 240
        assert head.loss == pytest.approx(6 / 240, abs=1e-4)
        assert head.agreement == pytest.approx(1 - 6 / 240, abs=1e-4)
        assert head.noise == pytest.approx(2.4 * np.sqrt(6 + 1) / 240, abs=1e-4)
        assert head.loss_below == pytest.approx((6 + 2.4 * np.sqrt(7)) / 240, abs=1e-4)


@pytest.mark.parametrize(("bent", "missed"), [(0, False), (6, False), (7, True), (12, True)])
def test_a_head_must_lose_more_than_chance_explains(rng, bent, missed):
    """Of seven losses and no gain, chance explains one time in 128; of six, one in 64."""
    x, labels = clouds(rng)
    y = x.copy()
    y[:bent] = x[1 : bent + 1]
    lines = misses(measure(x, y, labels), Gate(cosine_mean=-1.0, cosine_worst=-1.0))
    assert len(lines) == 3 * missed
    assert all("accuracy" in line and "chance explains" in line for line in lines)


def test_a_loss_within_the_bar_passes_however_sure_it_is(rng):
    x, labels = clouds(rng)
    y = x.copy()
    y[:12] = x[1:13]
    found = measure(x, y, labels)
    wide = Gate(cosine_mean=-1.0, cosine_worst=-1.0, head_loss=0.05)
    assert misses(found, wide) == ()


def test_groups_are_held_out_whole(rng):
    """A group's own pattern tells nothing about pictures of other groups."""
    labels, groups = np.repeat(np.arange(4), 60), np.repeat(np.arange(24), 10)
    x = np.concatenate([0.2 * np.eye(4)[labels], np.eye(24)[groups]], axis=1)
    x = (x + 0.3 * rng.normal(size=x.shape)).astype(np.float32)
    by_picture, by_group = measure(x, x, labels), measure(x, x, labels, groups)
    assert (by_picture.held_out, by_group.held_out) == ("picture", "group")
    assert by_group.lda.float_features < by_picture.lda.float_features - 0.2


def test_every_missed_bar_is_one_line_with_its_numbers():
    x = np.eye(4, dtype=np.float32)
    y = x.copy()
    y[0] = [0.8, 0.6, 0, 0]
    found = measure(x, y)
    lines = misses(found, Gate(cosine_mean=0.96, cosine_worst=0.9))
    assert lines == (
        "mean cosine 0.95000, expected at least 0.96",
        "worst cosine 0.80000, expected at least 0.9",
    )
    assert misses(found, Gate(cosine_mean=0.949, cosine_worst=0.799)) == ()
    with pytest.raises(
        FidelityError, match=r"^onnx-int8: mean cosine 0\.95000, expected"
    ) as caught:
        check("onnx-int8", found, Gate())
    assert caught.value.hint


def test_features_that_are_no_numbers_miss_any_gate(rng):
    x, labels = clouds(rng)
    y = x.copy()
    y[3, 2] = np.nan
    found = measure(x, y, labels)
    lines = misses(found, Gate(cosine_mean=0.0, cosine_worst=-1.0, head_loss=1.0))
    assert lines == ("features of 1 of 240 pictures are not finite numbers",)


def test_the_heads_use_the_grid_and_the_norm_of_the_bundle(rng):
    """On a grid too coarse for them, all features are alike."""
    x, labels = clouds(rng)
    spec = EmbeddingSpec(d=8, scale=64.0, signed=True, mean_square_norm=1.0)
    assert measure(x, x, labels).lda.float_features == 1.0
    assert measure(x, x, labels, embedding=spec).lda.float_features < 0.5


@pytest.mark.parametrize("wrong", [{"cosine_mean": float("nan")}, {"head_loss": -0.1}])
def test_a_gate_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(InputError):
        Gate(**wrong)


@pytest.fixture
def rng():
    return np.random.default_rng(3)
