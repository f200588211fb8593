"""What misses the gate, or is interrupted, leaves no file."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from export_samples import NET

from edge_cl.errors import ExportError, FidelityError
from edge_cl_export.fidelity import check, measure


def test_below_the_gate_nothing_is_written(export_tiny, tmp_path):
    with pytest.raises(FidelityError, match=r"onnx-int8: mean cosine"):
        export_tiny(tmp_path / "x.edgecl", formats=["onnx-fp32", "onnx-int8"], min_cosine=1.0)
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


def test_the_same_command_gives_the_same_bytes(export_tiny, pictures_file, tmp_path):
    formats = ["onnx-fp32", "onnx-int8"]
    first = export_tiny(tmp_path / "a.edgecl", formats=formats).path.read_bytes()
    again = f"""
from pathlib import Path
from edge_cl_export import export_command
export_command(
    model={f"{NET}:make"!r}, out=Path({str(tmp_path / "b.edgecl")!r}), formats={formats},
    calibration=Path({str(pictures_file)!r}), input_size=(32, 32),
    mean=(127.0,) * 3, std=(128.0,) * 3,
)
"""
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": f"{root}:{root / 'export'}", "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", again], env=env, check=True, capture_output=True)
    assert (tmp_path / "b.edgecl").read_bytes() == first


def test_equal_features_pass_every_gate(rng):
    x = rng.normal(size=(40, 8)).astype(np.float32)
    found = measure(x, x, np.arange(40) % 4)
    assert found.cosine_worst == pytest.approx(1.0)
    assert found.ridge.agreement == found.nearest_mean.agreement == 1.0
    check("same", found, 1.0 - 1e-6)


def test_the_cosine_is_blind_to_length_and_the_signal_to_noise_is_not(rng):
    x = rng.normal(size=(10, 8)).astype(np.float32)
    found = measure(x, 2 * x, None)
    assert found.cosine_mean == pytest.approx(1.0)
    assert found.snr_db == pytest.approx(0.0, abs=0.01)
    assert found.ridge is None


def test_a_head_that_loses_more_than_a_point_and_chance_misses_the_gate(rng):
    labels = np.arange(400) % 4
    x = (np.eye(4)[labels] + 0.1 * rng.normal(size=(400, 4))).astype(np.float32)
    y = x.copy()
    y[::5] = y[::5, ::-1]  # a fifth of the pictures look like another class
    found = measure(x, y, labels)
    with pytest.raises(FidelityError, match="accuracy"):
        check("bent", found, 0.0)


@pytest.fixture
def rng():
    return np.random.default_rng(3)
