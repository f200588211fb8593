"""Where the error arises: stages of a deployed file against the float one."""

import numpy as np
import onnx
import pytest
from export_samples import blobs
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from edge_cl.errors import ExportError
from edge_cl_export.proof.stages import MOST, litert_stages, onnx_stages

SCALE = 2.0**-3
PICTURES = blobs(3, seed=4, size=8)[0]


def chain(layers, *, act=True, broken=None, gain=1.0):
    """A float network of `layers` 1x1 convolutions; in `broken`, noise is added to the weights."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["x0"], perm=[0, 3, 1, 2]),
    ]
    weights = []
    for i in range(layers):
        w = np.eye(3) + 0.2 * rng.normal(size=(3, 3))
        if i == broken:
            w += 0.3 * np.random.default_rng(1).normal(size=w.shape)
        w = (gain if i == 0 else 1.0) * w / np.abs(w).sum(axis=1, keepdims=True)
        weights.append(numpy_helper.from_array(w[..., None, None].astype(np.float32), f"w{i}"))
        nodes.append(helper.make_node("Conv", [f"x{i}", f"w{i}"], [f"c{i}"], name=f"conv{i}"))
        if act:
            nodes.append(helper.make_node("Relu", [f"c{i}"], [f"x{i + 1}"]))
        else:
            nodes.append(helper.make_node("Identity", [f"c{i}"], [f"x{i + 1}"]))
    nodes.append(helper.make_node("GlobalAveragePool", [f"x{layers}"], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["embedding"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 8, 8, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


class Feed(CalibrationDataReader):
    def __init__(self):
        self._left = iter([{"image": PICTURES}])

    def get_next(self):
        return next(self._left, None)


def test_a_file_equals_itself_at_every_stage():
    rows = onnx_stages(chain(5), chain(5), PICTURES, 2.0**-20)
    assert [(r.layer, r.kind) for r in rows] == [
        *((i, "Conv") for i in range(1, 6)),
        (0, "embedding"),
        (0, "grid"),
    ]
    assert rows[0].shape == (3, 8, 8)
    assert rows[-1].shape == (3,)
    for row in rows[:-1]:
        assert (row.cosine_worst, row.snr_db) == (1.0, 200.0)


def test_the_error_begins_where_it_was_made():
    rows = onnx_stages(chain(6), chain(6, broken=3), PICTURES, SCALE)
    assert all(row.snr_db == 200.0 for row in rows[:3])
    assert all(row.snr_db < 40.0 for row in rows[3:])


def test_a_gain_gives_the_closed_form_at_every_stage():
    """Everything is linear or a ReLU, so that 1.1 times the first weights is 1.1 times all."""
    rows = onnx_stages(chain(4), chain(4, gain=1.1), PICTURES, SCALE)
    for row in rows[:-1]:
        assert row.snr_db == pytest.approx(-20 * np.log10(0.1), abs=0.01)
        assert row.cosine_worst == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("step", [0.25, 1.0, 4.0])
def test_the_grid_adds_the_error_of_rounding(step):
    """Features are spread over many steps: rounding is uniform noise, of power step² / 12."""
    pictures = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), np.uint8)
    pictures //= np.arange(1, 301, dtype=np.uint8)[:, None, None, None] % 5 + 1
    model = chain(2)
    x = InferenceSession(model.SerializeToString()).run(None, {"image": pictures})[0]
    rows = onnx_stages(model, model, pictures, step)
    assert rows[-2].snr_db == 200.0
    assert rows[-1].snr_db == pytest.approx(10 * np.log10((x**2).mean() * 12 / step**2), abs=0.5)


def test_of_many_layers_some_are_looked_at_the_ends_among_them():
    rows = onnx_stages(chain(60), chain(60), PICTURES[:1], SCALE)
    layers = [row.layer for row in rows[:-2]]
    assert len(layers) == MOST
    assert (layers[0], layers[-1]) == (1, 60)
    assert max(np.diff(layers)) <= 3


def test_integers_inside_are_read_with_their_scale(tmp_path):
    """Against the quantiser's own promise: off by half a step a layer, not by a factor."""
    onnx.save(chain(3), tmp_path / "float.onnx")
    quantize_static(tmp_path / "float.onnx", tmp_path / "int8.onnx", Feed(), per_channel=True)
    rows = onnx_stages(chain(3), onnx.load(tmp_path / "int8.onnx"), PICTURES, SCALE)
    assert [row.layer for row in rows] == [1, 2, 3, 0, 0]
    assert all(25 < row.snr_db < 80 for row in rows)


def test_a_layer_without_its_activation_is_matched_too():
    rows = onnx_stages(chain(2, act=False), chain(2, act=False), PICTURES, SCALE)
    assert [row.layer for row in rows] == [1, 2, 0, 0]


def test_a_stage_is_what_comes_behind_the_activation():
    """What a ReLU cuts off differs, and does no harm."""
    row = onnx_stages(chain(1, gain=-1.0), chain(1, gain=-2.0), PICTURES, SCALE)[0]
    assert row.snr_db > 20.0
    through = onnx_stages(
        chain(1, gain=-1.0, act=False), chain(1, gain=-2.0, act=False), PICTURES, SCALE
    )
    assert through[0].snr_db == pytest.approx(0.0, abs=0.01)


def test_files_of_two_networks_are_told_apart():
    other = chain(2)
    other.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.ones((5, 3, 1, 1), np.float32), "w0")
    )
    other.graph.initializer[1].CopyFrom(
        numpy_helper.from_array(np.ones((3, 5, 1, 1), np.float32), "w1")
    )
    with pytest.raises(ExportError, match="shape"):
        onnx_stages(chain(2), other, PICTURES, SCALE)


def test_an_exported_network_is_seen_through_in_both_runtimes(exported):
    from edge_cl.bundle import open_bundle

    bundle = open_bundle(exported.path)
    pictures, _ = blobs(4, seed=5, size=32)
    scale = bundle.manifest.embedding.scale
    files = bundle.files
    through = {
        "onnx": onnx_stages(
            onnx.load_from_string(files["encoder-fp32.onnx"]),
            onnx.load_from_string(files["encoder-int8.onnx"]),
            pictures,
            scale,
        ),
        "litert": litert_stages(
            files["encoder-fp32.tflite"], files["encoder-int8.tflite"], pictures, scale
        ),
    }
    for rows in through.values():
        assert [row.layer for row in rows] == [1, 2, 3, 4, 0, 0]
        assert all(row.cosine_worst > 0.99 for row in rows)
        assert all(20 < row.snr_db < 100 for row in rows)
        assert rows[-1].kind == "grid"
    shapes = [[sorted(row.shape) for row in rows] for rows in through.values()]
    assert shapes[0] == shapes[1]
    same = litert_stages(
        files["encoder-int8.tflite"], files["encoder-int8.tflite"], pictures, scale
    )
    assert all(row.snr_db == 200.0 for row in same[:-1])
