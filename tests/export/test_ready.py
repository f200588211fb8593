"""A ready file, wrapped, gives what the file gives on pictures prepared by hand."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from export_samples import blobs
from onnx import TensorProto, helper, numpy_helper
from tiny_net import make, make_pooled
from torch import nn

from edge_cl.bundle import EncoderSpec
from edge_cl.encoders.litert_runner import LiteRTRunner
from edge_cl.encoders.onnx_runner import OnnxRunner
from edge_cl.errors import EdgeCLError, ExportError, InputError
from edge_cl.onnx_file import check_onnx
from edge_cl_export.graph.embedding import Embedding, Preparation
from edge_cl_export.graph.to_litert import to_litert
from edge_cl_export.graph.trace import trace
from edge_cl_export.quantise.clipping import chosen_ranges
from edge_cl_export.quantise.flatbuffer import kind_of, name_of, read_flat, write_flat
from edge_cl_export.quantise.litert_int8 import quantize_litert
from edge_cl_export.quantise.onnx_int8 import quantize_onnx
from edge_cl_export.quantise.onnx_ranges import watch_activations
from edge_cl_export.quiet import quiet
from edge_cl_export.ready.onnx_network import open_onnx
from edge_cl_export.ready.tflite_network import open_tflite
from edge_cl_export.recipe import Recipe

MEAN, STD = (100.0, 110.0, 120.0), (50.0, 51.0, 52.0)
CHANNELS = {"mean": MEAN, "std": STD}
INT8 = Recipe(runtime="onnx", precision="int8", style="qdq")


class ChannelsLast(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def pictures(n=4):
    return blobs(n, seed=21, size=32)[0]


def feature_map(images=None):
    """Return what the network of these files gives, (n, c, h, w), by torch."""
    images = pictures() if images is None else images
    x = (images.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)
    with torch.no_grad():
        return make().eval()(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()


def run(ready, images=None):
    images = pictures() if images is None else images
    onnx_file = hasattr(ready, "any_batch")
    spec = EncoderSpec(
        member="encoder.onnx" if onnx_file else "encoder.tflite",
        runtime="onnx" if onnx_file else "litert",
        precision=ready.precision,
        recipe="as-it-came",
        input_name="image",
        output_name="embedding",
    )
    if onnx_file:
        return OnnxRunner(ready.model.SerializeToString(), spec, 1).run(images)
    return LiteRTRunner(ready.model, spec, 1).run(images)


def pooled(x, pool, l2):
    y = {"mean": x.mean((2, 3)), "max": x.max((2, 3))}[pool]
    return y / np.linalg.norm(y, axis=1, keepdims=True) if l2 else y


def old_style(net, x, path, opset, **options):
    with quiet():
        torch.onnx.export(net.eval(), (x,), str(path), dynamo=False, opset_version=opset, **options)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ready")
    one, any_number = torch.zeros(1, 3, 32, 32), {0: torch.export.Dim("b")}
    with quiet():
        torch.onnx.export(
            make().eval(),
            (torch.zeros(2, 3, 32, 32),),
            str(folder / "new.onnx"),
            dynamo=True,
            dynamic_shapes=(any_number,),
            external_data=False,
            verbose=False,
        )
        import litert_torch

        litert_torch.convert(make().eval(), (one,)).export(str(folder / "planes.tflite"))
    last = ChannelsLast(make())
    with quiet():
        litert_torch.convert(last.eval(), (one.permute(0, 2, 3, 1),)).export(
            str(folder / "last.tflite")
        )
    old_style(make(), one, folder / "old.onnx", 11)
    # Its tensors bear the very names that the wrapping uses
    old_style(
        last, one.permute(0, 2, 3, 1), folder / "last.onnx", 13,
        input_names=["image"], output_names=["embedding"],
        dynamic_axes={"image": {0: "b", 1: "h", 2: "w"}},
    )  # fmt: skip
    return folder


def opened(path, **options):
    return (open_onnx if path.suffix == ".onnx" else open_tflite)(path, **options)


FILES = ["new.onnx", "old.onnx", "last.onnx", "planes.tflite", "last.tflite"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("pool", "l2"), [("mean", False), ("max", True)])
def test_the_wrapped_file_gives_what_the_network_gives(files, name, pool, l2):
    size = (32, 32) if name == "last.onnx" else None
    ready = opened(files / name, pool=pool, l2=l2, size=size, **CHANNELS)
    np.testing.assert_allclose(run(ready), pooled(feature_map(), pool, l2), rtol=1e-4, atol=1e-5)
    assert (ready.precision, ready.d) == ("fp32", 32)
    assert ready.preparation == Preparation(size=(32, 32), **CHANNELS)
    layout = "NHWC" if "last" in name else "NCHW"
    assert any(f"input is {layout}" in line for line in ready.assumed)
    assert any(f"map is {layout}" in line for line in ready.assumed)


@pytest.mark.parametrize("name", FILES)
def test_the_same_file_gives_the_same_bytes_without_a_trace_of_this_machine(files, name, tmp_path):
    elsewhere = tmp_path / "deep" / name
    elsewhere.parent.mkdir()
    elsewhere.write_bytes((files / name).read_bytes())
    size = (32, 32) if name == "last.onnx" else None
    made = [opened(path, size=size).model for path in (files / name, elsewhere)]
    blobs_of = [
        m if isinstance(m, bytes) else m.SerializeToString(deterministic=True) for m in made
    ]
    assert blobs_of[0] == blobs_of[1]
    for trail in (b"site-packages", b"tiny_net.py", str(files).encode(), b"/tmp"):
        assert trail not in blobs_of[0]


def test_the_numbers_of_a_file_that_says_nothing_are_imagenets_and_it_is_said(files):
    ready = open_onnx(files / "new.onnx")
    assert ready.preparation.mean == (123.675, 116.28, 103.53)
    assert sum("ImageNet" in line for line in ready.assumed) == 2


def test_any_number_of_pictures_stays_any_number(files):
    assert open_onnx(files / "new.onnx").any_batch
    assert not open_onnx(files / "old.onnx").any_batch


def test_an_old_operator_set_is_brought_to_ours(files):
    was = onnx.load(files / "old.onnx")
    assert (was.opset_import[0].version, was.ir_version) == (11, 6)
    now = open_onnx(files / "old.onnx").model
    assert (now.opset_import[0].version, now.ir_version) == (18, 8)
    check_onnx(now.SerializeToString(), "old.onnx")


@pytest.mark.parametrize("name", ["new.onnx", "planes.tflite"])
def test_a_tensor_in_the_middle_leaves_the_rest_out(files, name):
    """The second convolution's output is taken; the largest weights come after it."""
    path = files / name
    if name.endswith("onnx"):
        graph = onnx.load(path).graph
        layer = [n.output[0] for n in graph.node if n.op_type == "Conv"][1]
    else:
        flat = read_flat(path.read_bytes())
        parts = flat.subgraphs[0]
        found = [op for op in parts.operators if kind_of(flat, op) == "DEPTHWISE_CONV_2D"]
        layer = name_of(parts.tensors[found[0].outputs[0]])
    whole, part = opened(path, **CHANNELS), opened(path, layer=layer, **CHANNELS)
    net = make().eval()
    x = (pictures().astype(np.float32) - np.float32(MEAN)) / np.float32(STD)
    with torch.no_grad():
        middle = net[:3](torch.from_numpy(x).permute(0, 3, 1, 2))
        expected = net[3].norm(net[3].deep(middle))
    if name.endswith("tflite"):  # the converter has put ReLU6 into the convolution
        expected = nn.functional.relu6(expected)
    np.testing.assert_allclose(run(part), expected.mean((2, 3)).numpy(), rtol=1e-4, atol=1e-5)
    sizes = [
        len(r.model if isinstance(r.model, bytes) else r.model.SerializeToString())
        for r in (whole, part)
    ]
    after = sum(p.numel() for p in (net[3].wide.weight, net[4].weight))
    assert sizes[0] - sizes[1] > 4 * after


@pytest.mark.parametrize("name", ["new.onnx", "last.tflite"])
def test_an_unknown_tensor_is_refused_with_one_that_is_like_it(files, name):
    with pytest.raises(InputError, match=f"{name} has no tensor 'conv2'") as caught:
        opened(files / name, layer="conv2")
    assert caught.value.hint


# quantised


def test_the_wrapped_file_can_be_quantised(files):
    images = blobs(16, seed=3, size=32)[0]
    expected = pooled(feature_map(), "mean", False)

    def batches():
        return [images[:8], images[8:]]

    ready = open_onnx(files / "old.onnx", **CHANNELS)
    single = [image[None] for image in images]
    ranges = chosen_ranges(watch_activations(ready.model, single), "minmax")
    model = quantize_onnx(ready.model, ranges, INT8, ready.preparation.uint8_step)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    onnx_features = np.concatenate([session.run(None, {"image": p[None]})[0] for p in pictures()])
    flat = open_tflite(files / "planes.tflite", **CHANNELS)
    made = quantize_litert(flat.model, batches)
    litert = run(type(flat)(**{**values_of(flat), "model": made}))
    for found in (onnx_features, litert):
        cosine = (found * expected).sum(1) / (
            np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        )
        assert cosine.min() > 0.98


def values_of(ready):
    return {name: getattr(ready, name) for name in type(ready).__dataclass_fields__}


def test_a_quantised_onnx_file_is_shipped_as_it_is(files, tmp_path):
    ready = open_onnx(files / "new.onnx", **CHANNELS)
    ranges = chosen_ranges(watch_activations(ready.model, [pictures()]), "minmax")
    model = quantize_onnx(ready.model, ranges, INT8, None)
    path = tmp_path / "int8.onnx"
    path.write_bytes(model.SerializeToString())
    again = open_onnx(path)  # uint8 (n, h, w, 3) in, (n, 32) out
    assert again.precision == "int8"
    assert again.preparation.uint8_step == (1.0, 0)
    assert any("pixels go in as they are" in line for line in again.assumed)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(run(again), session.run(None, {"image": pictures()})[0])
    with pytest.raises(InputError, match="takes bytes") as caught:
        open_onnx(path, **CHANNELS)
    assert "--mean" in caught.value.hint


def test_a_quantised_tflite_file_takes_pixels_and_says_what_they_stand_for(tmp_path):
    net = Embedding(make(), Preparation(size=(32, 32), mean=(127.0,) * 3, std=(128.0,) * 3))
    images = blobs(8, seed=3, size=32)[0]
    made = quantize_litert(
        to_litert(trace(net, (32, 32)).graph, (32, 32)), lambda: [images], integer_io=True
    )
    path = tmp_path / "int8.tflite"
    path.write_bytes(made)
    ready = open_tflite(path)
    assert ready.precision == "int8"
    np.testing.assert_allclose(ready.preparation.mean, 127)
    np.testing.assert_allclose(ready.preparation.std, 128, rtol=1e-6)
    untouched = type(ready)(**{**values_of(ready), "model": made})
    np.testing.assert_array_equal(run(ready), run(untouched))
    normed = run(open_tflite(path, l2=True))
    y = run(untouched)
    np.testing.assert_allclose(normed, y / np.linalg.norm(y, axis=1, keepdims=True), rtol=1e-5)
    with pytest.raises(InputError, match="with a mean of 127 and a std of 128"):
        open_tflite(path, mean=(0.0,) * 3)


# files that are refused


def conv_file(path, shape, *, kind=TensorProto.FLOAT, inputs=1, outputs=1, domain="", weight=None):
    """Write a file of one convolution (or one operator of `domain`)."""
    names = [f"x{i}" for i in range(inputs)]
    nodes = [helper.make_node("Cast", ["x0"], ["f"], to=TensorProto.FLOAT)]
    nodes += [
        helper.make_node("Conv" if not domain else "Mystery", ["f", "w"], [f"y{i}"], domain=domain)
        for i in range(outputs)
    ]
    filters = np.ones((4, 3, 3, 3), np.float32) if weight is None else weight
    graph = helper.make_graph(
        nodes,
        str(path),
        [helper.make_tensor_value_info(name, kind, shape) for name in names],
        [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, None) for i in range(outputs)],
        [numpy_helper.from_array(filters, "w")],
    )
    opsets = [helper.make_opsetid("", 18)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    for holder in (model, model.graph, *model.graph.node, *model.graph.initializer):
        holder.doc_string = f"made from {path}"
    path.write_bytes(model.SerializeToString())
    return path


REFUSED = {
    "two inputs": ({"inputs": 2}, {}, ExportError, r"2 inputs \(x0, x1\)"),
    "two outputs": ({"outputs": 2}, {}, ExportError, r"2 outputs \(y0, y1\)"),
    "double": ({"kind": TensorProto.DOUBLE}, {}, ExportError, "takes double, expected"),
    "eight at a time": ({"shape": [8, 3, 32, 32]}, {}, ExportError, "8 pictures at a time"),
    "grey": ({"shape": [1, 1, 32, 32]}, {}, InputError, "expected 3 channels"),
    "a row": ({"shape": [1, 3072]}, {}, InputError, "expected one picture"),
    "open channels": ({"shape": ["n", "c", 32, "k"]}, {}, InputError, "where the 3 channels"),
    "both may be": ({"shape": [1, 3, 32, 3]}, {}, InputError, "where the 3 channels"),
    "open size": ({"shape": ["n", 3, "h", "w"]}, {}, InputError, "pictures of any size"),
    "another size": ({}, {"size": (64, 64)}, InputError, "takes pictures of 32x32"),
    "another layout": ({}, {"layout": "NHWC"}, InputError, "which is not NHWC"),
    "no such layout": ({}, {"layout": "CHW"}, InputError, "no layout is called"),
    "no such pooling": ({}, {"pool": "sum"}, InputError, "no pooling is called"),
    "tokens of a map": ({}, {"pool": "token"}, ExportError, "which has no tokens"),
    "custom operator": ({"domain": "mine"}, {}, EdgeCLError, "custom operator mine::Mystery"),
    "does not run": (
        {"weight": np.ones((4, 5, 3, 3), np.float32)}, {}, ExportError, "does not run for",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_an_onnx_file_that_does_not_fit_is_one_line(case, tmp_path):
    made, asked, error, message = case
    path = conv_file(tmp_path / "x.onnx", **{"shape": [1, 3, 32, 32], **made})
    with pytest.raises(error, match=message) as caught:
        open_onnx(path, **asked)
    assert "\n" not in str(caught.value) + caught.value.hint
    assert str(tmp_path) not in str(caught.value)


def test_uint8_files_and_several_outputs_work_when_they_are_named(tmp_path):
    path = conv_file(tmp_path / "x.onnx", ["n", 3, "h", "w"], kind=TensorProto.UINT8, outputs=2)
    ready = open_onnx(path, layer="y1", size=(32, 48))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3)).astype(np.uint8)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    expected = nn.functional.conv2d(x, torch.ones(4, 3, 3, 3)).mean((2, 3)).numpy()
    np.testing.assert_allclose(run(ready, images), expected, rtol=1e-5)
    assert ready.any_batch
    assert str(tmp_path).encode() not in ready.model.SerializeToString()


def test_weights_in_another_file_come_from_its_own_folder_only(tmp_path):
    whole = conv_file(tmp_path / "whole.onnx", [1, 3, 32, 32])
    inside = tmp_path / "inside"
    inside.mkdir()
    model = onnx.load(whole)
    onnx.save(
        model, inside / "split.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    again = open_onnx(inside / "split.onnx", **CHANNELS)
    np.testing.assert_array_equal(run(again), run(open_onnx(whole, **CHANNELS)))
    (tmp_path / "w.bin").write_bytes((inside / "w.bin").read_bytes())
    blob = (inside / "split.onnx").read_bytes()
    outside = onnx.load_from_string(blob)
    for tensor in outside.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../w.bin"
    (inside / "out.onnx").write_bytes(outside.SerializeToString())
    with pytest.raises(InputError, match=r"out\.onnx"):
        open_onnx(inside / "out.onnx")
    (inside / "w.bin").unlink()
    with pytest.raises(InputError, match=r"split\.onnx"):
        open_onnx(inside / "split.onnx")


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x0a" * 50, None])
def test_a_file_that_is_none_is_one_line(suffix, content, tmp_path):
    path = tmp_path / f"x{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EdgeCLError) as caught:
        opened(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="expected a file NAME"):
        (open_onnx if suffix == ".tflite" else open_tflite)(path)


def test_a_cut_short_tflite_file_is_one_line(files, tmp_path):
    blob = (files / "last.tflite").read_bytes()
    for share in (0.1, 0.5, 0.9):
        path = tmp_path / "short.tflite"
        path.write_bytes(blob[: int(len(blob) * share)])
        with pytest.raises(EdgeCLError) as caught:
            open_tflite(path)
        assert "\n" not in str(caught.value)


def changed(path, change):
    """Return `path` rewritten: `change` is called with its graph and its tensors."""
    flat = read_flat(path.read_bytes())
    change(flat.subgraphs[0], flat.subgraphs[0].tensors)
    path.write_bytes(write_flat(flat))
    return path


def two_outputs(graph, tensors):
    graph.outputs = np.array([graph.operators[-1].outputs[0], graph.operators[3].outputs[0]])


def two_inputs(graph, tensors):
    graph.inputs = np.array([graph.inputs[0], graph.operators[-1].inputs[0]])


def any_size(graph, tensors):
    tensors[graph.inputs[0]].shapeSignature = np.array([-1, -1, -1, 3], np.int32)


def two_pictures(graph, tensors):
    tensors[graph.inputs[0]].shape = np.array([2, 32, 32, 3], np.int32)


def of_int16(graph, tensors):
    tensors[graph.inputs[0]].type = 7


REFUSED_TFLITE = {
    two_outputs: (ExportError, "2 outputs", "--layer"),
    two_inputs: (ExportError, "2 inputs", "only input"),
    any_size: (ExportError, "pictures of any size", "one size"),
    two_pictures: (ExportError, "2 pictures at a time", "one picture"),
    of_int16: (ExportError, "takes int16, expected float32", "float32"),
}


@pytest.mark.parametrize("change", REFUSED_TFLITE, ids=lambda change: change.__name__)
def test_a_tflite_file_that_does_not_fit_is_one_line(files, change, tmp_path):
    path = tmp_path / "x.tflite"
    path.write_bytes((files / "last.tflite").read_bytes())
    error, message, hint = REFUSED_TFLITE[change]
    with pytest.raises(error, match=message) as caught:
        open_tflite(changed(path, change))
    assert "\n" not in str(caught.value)
    assert hint in caught.value.hint


def test_an_open_number_of_pictures_becomes_one(files, tmp_path):
    def any_number(graph, tensors):
        for tensor in tensors:
            if tensor.shape is not None and len(tensor.shape) == 4 and tensor.shape[0] == 1:
                tensor.shapeSignature = np.array([-1, *tensor.shape[1:]], np.int32)

    path = tmp_path / "x.tflite"
    path.write_bytes((files / "last.tflite").read_bytes())
    ready = open_tflite(changed(path, any_number), **CHANNELS)
    np.testing.assert_array_equal(run(ready), run(open_tflite(files / "last.tflite", **CHANNELS)))


def test_features_that_are_pooled_already_pass(tmp_path):
    path = tmp_path / "pooled.onnx"
    old_style(make_pooled(), torch.zeros(1, 3, 32, 32), path, 17)
    ready = open_onnx(path, **CHANNELS)
    assert ready.d == 24
    with pytest.raises(ExportError, match="nothing to pool by 'max'"):
        open_onnx(path, pool="max")
