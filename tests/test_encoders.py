"""What surrounds a network: choosing it, and bringing a picture to its size."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from edge_cl import features_bundle
from edge_cl.bundle import EncoderSpec, InputSpec
from edge_cl.encoders import choose_encoder, open_encoder
from edge_cl.encoders.litert_runner import LiteRTRunner
from edge_cl.encoders.picture import fit_picture
from edge_cl.errors import BackendError, InputError


def spec(height, width, fit="crop", resize="bilinear"):
    return InputSpec(
        kind="image",
        shape=(height, width, 3),
        dtype="uint8",
        layout="HWC",
        colour="RGB",
        resize=resize,
        fit=fit,
    )


SIDES = st.integers(1, 400)


@given(SIDES, SIDES, st.integers(1, 300), st.integers(1, 300), st.sampled_from(["crop", "stretch"]))
def test_any_picture_comes_to_the_size_of_the_network(height, width, to_height, to_width, fit):
    grey = np.full((height, width, 3), 77, np.uint8)
    fitted = fit_picture(grey, spec(to_height, to_width, fit))
    assert fitted.shape == (to_height, to_width, 3) and fitted.dtype == np.uint8
    assert (fitted == 77).all()


@pytest.mark.parametrize("to", [96, 224, 240, 299])
def test_every_width_of_a_strip_can_be_cropped(to):
    """(29 / 224) * 224 > 29 in floating point."""
    for side in range(1, 400):
        picture = np.zeros((side, side + 1, 3), np.uint8)
        fit_picture(picture, spec(to, to))
        fit_picture(picture.swapaxes(0, 1), spec(to, to))


def test_a_crop_keeps_the_centre():
    picture = np.zeros((30, 90, 3), np.uint8)
    picture[:, 30:60] = 200
    assert (fit_picture(picture, spec(10, 10))[:, 1:-1] == 200).all()
    assert (fit_picture(picture, spec(10, 10, "stretch"))[:, 0] == 0).all()


def test_a_picture_of_the_right_size_is_untouched(rng):
    picture = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
    assert_array_equal(fit_picture(picture, spec(10, 12)), picture)


def test_ready_made_features_pass_as_they_are(rng):
    x = rng.standard_normal((4, 3)).astype(np.float32)
    encoder = open_encoder(features_bundle(x))
    assert_array_equal(encoder.encode(x), x)
    assert encoder.spec is None and encoder.d == 3
    with pytest.raises(BackendError):
        encoder.encode(x[:, :2])


@pytest.mark.parametrize("wish", [{"runtime": "onnx"}, {"precision": "int8"}])
def test_a_bundle_without_a_network_has_no_network_to_choose(wish):
    with pytest.raises(InputError, match="ready-made"):
        choose_encoder(features_bundle([[1.0]]), **wish)


def test_opening_an_encoder_forbids_onnx_runtime_to_report_home(tmp_path):
    code = (
        "import os, numpy as np; from edge_cl import Learner\n"
        "Learner.open().features([np.zeros((8, 8, 3), np.uint8)])\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert not (tmp_path / ".cache" / "Microsoft").exists()


def bytes_through(kind):
    """A `.tflite` network that hands its bytes (1, 2, 3) on as features (1, 6), both of `kind`."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name, shape, kind, scale, zero):
        return schema.TensorT(
            shape=np.array(shape, np.int32),
            type=getattr(schema.TensorType, kind),
            name=name,
            quantization=schema.QuantizationParametersT(
                scale=np.array([scale], np.float32), zeroPoint=np.array([zero], np.int64)
            ),
        )

    reshape = schema.OperatorT(
        inputs=np.array([0], np.int32),
        outputs=np.array([1], np.int32),
        builtinOptionsType=schema.BuiltinOptions.ReshapeOptions,
        builtinOptions=schema.ReshapeOptionsT(newShape=np.array([1, 6], np.int32)),
    )
    graph = schema.SubGraphT(
        tensors=[
            tensor("x", [1, 2, 3], kind, 1.0, 0),
            tensor("y", [1, 6], kind, 0.5, 3),
        ],
        inputs=np.array([0], np.int32),
        outputs=np.array([1], np.int32),
        operators=[reshape],
    )
    number = schema.BuiltinOperator.RESHAPE
    code = schema.OperatorCodeT(deprecatedBuiltinCode=number, version=1, builtinCode=number)
    model = schema.ModelT(
        version=3, operatorCodes=[code], subgraphs=[graph], buffers=[schema.BufferT()]
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


LITERT = EncoderSpec(
    member="encoder.tflite",
    runtime="litert",
    precision="int8",
    recipe="",
    input_name="x",
    output_name="y",
)


@pytest.mark.parametrize(("kind", "first"), [("INT8", -128), ("UINT8", 0)])
def test_a_pixel_is_a_step_of_a_network_of_bytes_and_its_features_are_scaled_back(kind, first):
    pixels = np.array([0, 1, 127, 128, 254, 255], np.uint8).reshape(1, 2, 3)
    runner = LiteRTRunner(bytes_through(kind), LITERT, 1)
    found = runner.run(np.concatenate([pixels, pixels[:, ::-1]]))
    expected = 0.5 * (pixels.reshape(6).astype(np.float64) + first - 3)
    assert found.dtype == np.float32
    assert_array_equal(found[0], expected)
    assert_array_equal(found[1], expected.reshape(2, 3)[::-1].reshape(6))
    assert pixels[0, 0, 0] == 0  # the caller's picture is left alone


def test_features_of_a_type_without_a_scale_are_refused():
    with pytest.raises(BackendError, match="gives int32, expected float32 or integers"):
        LiteRTRunner(bytes_through("INT32"), LITERT, 1)


def test_what_the_delegate_takes_is_counted():
    import model_bytes as mb

    from edge_cl.encoders.litert_runner import operators_run

    counted = operators_run(mb.tflite(), LITERT)
    assert sum(sum(kinds.values()) for kinds in counted.values()) == 1
    assert counted in ({"XNNPACK": {"RELU": 1}}, {"LiteRT": {"RELU": 1}})


def test_what_onnx_runtime_runs_is_counted():
    import model_bytes as mb

    from edge_cl.encoders.onnx_runner import operators_run

    spec = EncoderSpec(
        member="encoder.onnx",
        runtime="onnx",
        precision="fp32",
        recipe="",
        input_name="x",
        output_name="y",
    )
    blob = mb.onnx(mb.graph([mb.node("Relu", ["x"], ["y"])]))
    assert operators_run(blob, spec, np.zeros((1, 3), np.float32)) == {
        "CPUExecutionProvider": {"Relu": 1}
    }
