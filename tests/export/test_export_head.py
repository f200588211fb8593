"""A head that was written scores as the learner does, wherever it is run."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import oracles
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_cl import Learner, features_bundle
from edge_cl.assets import shipped_bundle
from edge_cl.bundle import (
    EmbeddingSpec,
    EncoderSpec,
    InputSpec,
    Manifest,
    load_parity,
    open_bundle,
    pack_bundle,
)
from edge_cl.cli import exit_code
from edge_cl.errors import (
    EdgeCLError,
    ExportError,
    FidelityError,
    InputError,
    MissingExtraError,
    StateError,
)
from edge_cl.features import feature_map as the_map
from edge_cl.features import map_named
from edge_cl.heads import HEADS, FeCAMOptions, LDAOptions, RidgeOptions
from edge_cl.onnx_file import check_onnx
from edge_cl.tflite_file import check_tflite
from edge_cl_export.head import export_head
from edge_cl_export.head import write_head as module
from edge_cl_export.head.proof import difference
from edge_cl_export.head.rule import Rule
from edge_cl_export.head.steps import map_steps
from edge_cl_export.head.to_onnx import head_onnx
from edge_cl_export.head.to_tflite import head_tflite
from edge_cl_export.quantise.flatbuffer import read_flat

ROOT = Path(__file__).parents[2]
D, K = 24, 4
NAMES = ["mug", "Tasse ☕", "mug, blue", "b"]
MAPS = ["identity", "l2", "power:.3", "random-relu:64", "fourier:24"]
IN_TFLITE = {"identity", "l2", "random-relu:64"}
HEADS_TOO = {
    "ensemble": LDAOptions(members=4),
    "simplex": RidgeOptions(targets="simplex"),
}
FORMATS = ["onnx", "tflite"]


# -- what is taught, and other ways to ask ----------------------------------------------------


def samples(n, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % K
    centres = np.random.default_rng(9).normal(size=(K, D))
    return (centres[y] + 0.4 * rng.normal(size=(n, D))).astype(np.float32), [NAMES[c] for c in y]


def taught(folder, head="ridge", feature_map="identity", **options):
    x, labels = samples(80)
    path = folder.with_suffix(".edgecl")
    path.write_bytes(features_bundle(x).archive())
    with Learner.open(folder, bundle=path, head=head, feature_map=feature_map, **options) as made:
        made.learn_many(x, labels)
    return folder


def learned_scores(state, x, head=None):
    with Learner.open(state, head=head, read_only=True) as learner:
        return learner.scores(x)


def asked(path, x, given="features"):
    """What ONNX Runtime or LiteRT say, not through the runners of the package."""
    if path.suffix == ".onnx":
        import onnxruntime as ort

        session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        return session.run(["scores"], {given: x})[0]
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=path.read_bytes())
    interpreter.allocate_tensors()
    ask = interpreter.get_signature_runner()
    assert list(ask.get_output_details()) == ["scores"]
    (name,) = ask.get_input_details()
    return np.concatenate([ask(**{name: row[None]})["scores"] for row in x])


def hard_rows():
    """Rows like those that were learned, and rows that the grid has to decide about."""
    x, _ = samples(20, seed=3)
    scale = features_bundle(samples(80)[0]).manifest.embedding.scale
    halves = (np.rint(x / scale) + 0.5).astype(np.float32) * np.float32(scale)
    return np.concatenate([x, halves, 1e4 * x[:2], np.zeros((1, D), np.float32)])


def apart(found, expected):
    """The largest difference, in units of the row's largest score, or what that usually is."""
    sizes = np.abs(expected).max(axis=1)
    return (np.abs(found - expected).max(axis=1) / np.maximum(sizes, np.median(sizes))).max()


# -- equal scores -----------------------------------------------------------------------------


@pytest.mark.parametrize("feature_map", MAPS)
def test_heads_score_as_the_learner_does_behind_every_map(tmp_path, feature_map):
    x = hard_rows()
    some = HEADS if feature_map == "identity" else {"ncm-centred": HEADS["ncm-centred"]}
    for name, head in {**some, **HEADS_TOO}.items():
        if isinstance(head, FeCAMOptions):
            continue
        state = taught(tmp_path / name, head, feature_map)
        expected = learned_scores(state, x)
        for form in FORMATS:
            out = tmp_path / f"{name}.{form}"
            if form == "tflite" and feature_map not in IN_TFLITE:
                with pytest.raises(ExportError, match="float64"):
                    export_head(state, out)
                assert not out.exists()
                continue
            made = export_head(state, out)
            assert made.difference < 1e-5, (name, form)
            assert apart(asked(out, x), expected) < 1e-5, (name, form)


@pytest.mark.parametrize(
    ("feature_map", "form"),
    [(name, "onnx") for name in MAPS] + [(name, "tflite") for name in sorted(IN_TFLITE)],
)
def test_the_map_in_the_graph_gives_the_same_grid_features(tmp_path, feature_map, form):
    d, spec = 200, map_named(feature_map)
    embedding = EmbeddingSpec(d=d, scale=2.0**-8, signed=True, mean_square_norm=90.0)
    rng = np.random.default_rng(4)
    x = rng.normal(size=(2000, d)) * rng.uniform(0.3, 1.2, (2000, 1))
    x[:50] = (np.rint(x[:50] * 256) + 0.5) / 256  # halfway between two steps
    x[50:60] *= 100
    x[60] = 0
    expected = the_map(spec, embedding)(x.astype(np.float32))
    m = expected.shape[1]
    rule = Rule(  # whose scores are the features
        centre=np.zeros(m, np.float32), weights=np.eye(m, dtype=np.float32),
        offset=np.zeros((1, m), np.float32), unit=False, kept=tuple(range(m)),
    )  # fmt: skip
    steps = map_steps(spec, embedding)
    out = tmp_path / f"m.{form}"
    if form == "onnx":
        out.write_bytes(head_onnx(steps, rule, d, {}))
    else:
        out.write_bytes(head_tflite(steps, rule, d, {}, []))
    np.testing.assert_array_equal(asked(out, x.astype(np.float32)), expected)


@pytest.mark.parametrize("form", FORMATS)
def test_the_file_is_ridge_on_the_grid_in_textbook_form(tmp_path, form):
    state = taught(tmp_path / "s", RidgeOptions(ridge=2.0))
    export_head(state, tmp_path / f"h.{form}")
    x, labels = samples(80)
    scale = features_bundle(x).manifest.embedding.scale
    on_grid = np.vectorize(lambda v: oracles.grid(v, scale) * scale)
    y = np.array([NAMES.index(label) for label in labels])
    W = oracles.ridge(on_grid(x), y, K, 2.0)
    rows = hard_rows()
    assert apart(asked(tmp_path / f"h.{form}", rows), on_grid(rows) @ W) < 1e-5


@pytest.mark.parametrize("form", FORMATS)
def test_many_features_lose_nothing(tmp_path, form):
    """As many as a real encoder has: sums over them must not drown in rounding."""
    rng = np.random.default_rng(0)
    x = np.abs(rng.normal(size=(60, 1280))).astype(np.float32)
    bundle = tmp_path / "b.edgecl"
    bundle.write_bytes(features_bundle(x).archive())
    with Learner.open(tmp_path / "s", bundle=bundle, head="lda") as learner:
        learner.learn_many(x, [NAMES[i % K] for i in range(60)])
    for head in ("lda", "ncm-centred"):
        made = export_head(tmp_path / "s", tmp_path / f"h.{form}", head=head)
        assert made.difference < 8e-7  # summed in one go, LiteRT has 1.2e-6
        expected = learned_scores(tmp_path / "s", x, head)
        assert apart(asked(tmp_path / f"h.{form}", x), expected) < 1e-5


def test_a_batch_gives_what_each_row_gives(tmp_path):
    export_head(taught(tmp_path / "s"), tmp_path / "h.onnx")
    x, _ = samples(5, seed=1)
    alone = np.concatenate([asked(tmp_path / "h.onnx", row[None]) for row in x])
    np.testing.assert_allclose(asked(tmp_path / "h.onnx", x), alone, rtol=0, atol=1e-7)


def test_what_was_learned_in_any_order_of_lessons_is_exported_too(tmp_path):
    state, x = taught(tmp_path / "s"), hard_rows()
    with Learner.open(state) as learner:
        for row, label in zip(*samples(12, seed=8), strict=True):
            learner.learn(row, label)
        learner.undo(3)
    export_head(state, tmp_path / "h.onnx")
    assert apart(asked(tmp_path / "h.onnx", x), learned_scores(state, x)) < 1e-5


# -- with the encoder in front ----------------------------------------------------------------


SIDE = 6


def tiny_onnx(opset, kind=TensorProto.FLOAT):
    rng = np.random.default_rng(2)
    W = rng.normal(size=(SIDE * SIDE * 3, D)).astype(np.float32) / 100
    nodes = [
        helper.make_node("Cast", ["image"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["f"], ["flat"]),
        helper.make_node("MatMul", ["flat", "W"], ["wide"]),
        helper.make_node("Cast", ["wide"], ["embedding"], to=kind),
    ]
    given = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", SIDE, SIDE, 3])
    out = helper.make_tensor_value_info("embedding", kind, ["n", D])
    graph = helper.make_graph(nodes, "g", [given], [out], [numpy_helper.from_array(W, "W")])
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()


def bundle_of(folder, blob, runtime="onnx"):
    member = f"encoder.{'onnx' if runtime == 'onnx' else 'tflite'}"
    manifest = Manifest(
        name="tiny", version="1", description="", licence="", source="",
        input=InputSpec(
            kind="image", shape=(SIDE, SIDE, 3), dtype="uint8", layout="HWC", colour="RGB",
            resize="bilinear", fit="stretch",
        ),
        embedding=EmbeddingSpec(d=D, scale=2.0**-5, signed=True, mean_square_norm=500.0),
        encoders=(
            EncoderSpec(
                member=member, runtime=runtime, precision="fp32", recipe="r",
                input_name="image", output_name="embedding",
            ),
        ),
        tools={}, created="",
    )  # fmt: skip
    path = folder / "tiny.edgecl"
    path.write_bytes(pack_bundle(manifest, {member: blob}))
    return path


def pictures(n=24):
    rng = np.random.default_rng(5)
    return rng.integers(0, 256, (n, SIDE, SIDE, 3), np.uint8), [NAMES[i % K] for i in range(n)]


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_a_head_stands_behind_an_encoder_of_any_opset(tmp_path, opset):
    bundle = bundle_of(tmp_path, tiny_onnx(opset))
    x, labels = pictures()
    with Learner.open(tmp_path / "s", bundle=bundle, head=LDAOptions(members=3)) as learner:
        learner.learn_many(x, labels)
        expected = learner.scores(x)
    export_head(tmp_path / "s", tmp_path / "h.onnx", with_encoder=True)
    assert apart(asked(tmp_path / "h.onnx", x, "image"), expected) < 1e-5
    model = onnx.load(tmp_path / "h.onnx")
    assert [o.version for o in model.opset_import] == [opset]
    assert [o.name for o in model.graph.output] == ["scores"]


def test_a_head_stands_behind_an_encoder_in_half_precision(tmp_path):
    bundle = bundle_of(tmp_path, tiny_onnx(18, TensorProto.FLOAT16))
    x, labels = pictures()
    with Learner.open(tmp_path / "s", bundle=bundle) as learner:
        learner.learn_many(x, labels)
        expected = learner.scores(x)
    export_head(tmp_path / "s", tmp_path / "h.onnx", with_encoder=True)
    assert apart(asked(tmp_path / "h.onnx", x, "image"), expected) < 1e-5


def test_an_encoder_that_is_too_old_is_refused(tmp_path):
    bundle = bundle_of(tmp_path, tiny_onnx(11))
    x, labels = pictures()
    with Learner.open(tmp_path / "s", bundle=bundle) as learner:
        learner.learn_many(x, labels)
    with pytest.raises(ExportError, match="opset"):
        export_head(tmp_path / "s", tmp_path / "h.onnx", with_encoder=True)
    assert not (tmp_path / "h.onnx").exists()


def tiny_tflite(integers):
    """Built with the schema: bytes to features, float32 or steps of a quarter."""
    from ai_edge_litert import schema_py_generated as schema

    from edge_cl_export.head.tflite_model import Operators, empty_model, named, packed

    op, kinds = schema.BuiltinOperator, schema.TensorType
    model = empty_model(D)
    part, n = Operators(model), SIDE * SIDE * 3
    image = part.tensor([1, SIDE, SIDE, 3], kinds.INT8 if integers else kinds.UINT8, 0)
    part.graph.tensors[image].name = "image"
    part.graph.inputs = [image]
    model.signatureDefs[0].inputs = [named("image", image)]
    options = (schema.BuiltinOptions.CastOptions, schema.CastOptionsT())
    x = part.put(op.CAST, [image], [1, SIDE, SIDE, 3], options)
    options = (schema.BuiltinOptions.ReshapeOptions, schema.ReshapeOptionsT(newShape=[1, n]))
    x = part.put(op.RESHAPE, [x, part.constant([1, n], "int32")], [1, n], options)
    W = np.random.default_rng(2).normal(size=(D, n)) / 100
    options = (schema.BuiltinOptions.FullyConnectedOptions, schema.FullyConnectedOptionsT())
    x = part.put(op.FULLY_CONNECTED, [x, part.constant(W), -1], [1, D], options)
    if integers:
        options = (schema.BuiltinOptions.QuantizeOptions, schema.QuantizeOptionsT())
        x = part.put(op.QUANTIZE, [x], [1, D], options)
        step = schema.QuantizationParametersT()
        step.scale, step.zeroPoint = [0.25], [3]
        part.graph.tensors[x].type, part.graph.tensors[x].quantization = kinds.INT8, step
    part.graph.outputs = [x]
    model.signatureDefs[0].outputs = [named("embedding", x)]
    return packed(model)


@pytest.mark.parametrize("integers", [False, True], ids=["float", "integers"])
def test_a_head_stands_behind_a_tflite_encoder(tmp_path, integers):
    bundle = bundle_of(tmp_path, tiny_tflite(integers), "litert")
    x, labels = pictures()
    with Learner.open(tmp_path / "s", bundle=bundle, feature_map="random-relu:32") as learner:
        learner.learn_many(x, labels)
        expected = learner.scores(x)
    made = export_head(tmp_path / "s", tmp_path / "h.tflite", with_encoder=True)
    given = (x ^ 0x80).view(np.int8) if integers else x
    assert ("int8, each pixel less 128" in made.input) == integers
    assert apart(asked(tmp_path / "h.tflite", given), expected) < 1e-5


def test_the_shipped_encoder_and_a_head_are_one_file(tmp_path):
    parity = load_parity(open_bundle(shipped_bundle()))
    x = np.concatenate([parity.inputs, parity.inputs[:, ::-1], parity.inputs[:, :, ::-1]])
    with Learner.open(tmp_path / "s") as learner:
        learner.learn_many(x[:8], [NAMES[i % K] for i in range(8)])
        expected = learner.scores(x)
    before = contents(tmp_path / "s")
    made = export_head(tmp_path / "s", tmp_path / "h.onnx", with_encoder=True)
    assert "uint8 (n, 224, 224, 3)" in made.input
    assert apart(asked(tmp_path / "h.onnx", x, "image"), expected) < 1e-5
    assert contents(tmp_path / "s") == before
    for form in FORMATS:
        export_head(tmp_path / "s", tmp_path / f"alone.{form}")
        features = features_of(x)
        assert apart(asked(tmp_path / f"alone.{form}", features), expected) < 1e-5


def features_of(x):
    return Learner.open().features(x)


@pytest.mark.slow
@pytest.mark.parametrize(("runtime", "precision"), [("onnx", "fp32"), ("litert", "int8")])
def test_a_head_stands_behind_what_the_exporter_makes(exported, tmp_path, runtime, precision):
    from export_samples import blobs

    x, y = blobs(24, seed=3, size=32)
    with Learner.open(
        tmp_path / "s", bundle=exported.path, runtime=runtime, precision=precision, threads=1
    ) as learner:
        learner.learn_many(x, [NAMES[c] for c in y])
        expected = learner.scores(x)
    out = tmp_path / ("h.onnx" if runtime == "onnx" else "h.tflite")
    export_head(tmp_path / "s", out, with_encoder=True)
    assert apart(asked(out, x, "image"), expected) < 1e-5


# -- what the file says -----------------------------------------------------------------------


def metadata(path):
    if path.suffix == ".onnx":
        return {p.key: p.value for p in onnx.load(path).metadata_props}
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    (entry,) = [m for m in model.metadata if m.name == b"edge-cl"]
    return json.loads(bytes(model.buffers[entry.buffer].data))


@pytest.mark.parametrize("form", FORMATS)
def test_the_classes_of_the_scores_stand_in_the_file(tmp_path, form):
    state = taught(tmp_path / "s", "lda")
    made = export_head(state, tmp_path / f"h.{form}")
    found = metadata(tmp_path / f"h.{form}")
    assert json.loads(found["labels"]) == NAMES == list(made.labels)
    assert found["head"] == "lda"
    assert found["input"] == f"features float32 (n, {D})"
    if form == "tflite":
        blob = (tmp_path / "h.tflite").read_bytes()
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            assert archive.infolist()[0].header_offset == blob.index(b"PK\x03\x04")
            assert archive.read("labels.txt").decode().splitlines() == NAMES


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("head", ["ridge", "ncm", LDAOptions(members=4)], ids=str)
def test_some_classes_have_the_scores_they_have_among_all(tmp_path, form, head):
    state, x = taught(tmp_path / "s", head), hard_rows()
    made = export_head(state, tmp_path / f"h.{form}", among=[NAMES[3], NAMES[1]])
    assert made.labels == (NAMES[1], NAMES[3])  # in the learner's order
    expected = learned_scores(state, x)[:, [1, 3]]
    assert apart(asked(tmp_path / f"h.{form}", x), expected) < 1e-5


def test_a_class_without_samples_has_no_score(tmp_path):
    state = taught(tmp_path / "s")
    with Learner.open(state) as learner:
        learner.learn(np.ones(D), "gone")
        learner.undo()
        assert "gone" in learner.labels
    assert export_head(state, tmp_path / "h.onnx").labels == tuple(NAMES)
    with pytest.raises(InputError, match="'gone' has no sample"):
        export_head(state, tmp_path / "h.onnx", among=["gone"])


@pytest.mark.parametrize("form", FORMATS)
def test_the_files_are_what_the_runtime_takes_from_a_bundle(tmp_path, form):
    export_head(taught(tmp_path / "s"), tmp_path / f"h.{form}")
    blob = (tmp_path / f"h.{form}").read_bytes()
    (check_onnx if form == "onnx" else check_tflite)(blob, "h")
    if form == "onnx":
        onnx.checker.check_model(onnx.load_from_string(blob), full_check=True)


def test_weights_lie_in_a_tflite_file_as_its_schema_says(tmp_path):
    for labels in (NAMES, NAMES[:1], NAMES[1:]):  # of several sizes, to begin in several places
        export_head(taught(tmp_path / f"s{len(labels)}"), tmp_path / "h.tflite", among=labels)
        blob = (tmp_path / "h.tflite").read_bytes()
        model = read_flat(blob)
        stored = [bytes(b.data) for b in model.buffers if b.data is not None and len(b.data) > 64]
        assert stored
        assert all(blob.index(data) % 16 == 0 for data in stored)


def test_it_needs_no_torch_and_gives_the_same_bytes_in_every_process(tmp_path):
    state = taught(tmp_path / "s", feature_map="random-relu:64")
    for form in FORMATS:
        export_head(state, tmp_path / f"h.{form}")
    code = (
        "import sys; from pathlib import Path\n"
        "from edge_cl_export.head import export_head\n"
        "for form in ('onnx', 'tflite'): export_head(Path('s'), Path('again.' + form))\n"
        "heavy = {'torch', 'tensorflow', 'onnxscript', 'litert_torch'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)"
    )
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'export'}", "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for form in FORMATS:
        assert (tmp_path / f"again.{form}").read_bytes() == (tmp_path / f"h.{form}").read_bytes()


# -- the gate, and what is refused ------------------------------------------------------------


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def wrong_weights(known, classes):
    from dataclasses import replace

    from edge_cl_export.head.rule import read_rule

    rule = read_rule(known, classes)
    return replace(rule, weights=(rule.weights * np.float32(1 + 1e-4)).astype(np.float32))


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_with_other_scores_is_not_written(tmp_path, form, monkeypatch, capsys):
    state = taught(tmp_path / "s")
    out = tmp_path / f"h.{form}"
    out.write_bytes(b"an older one")
    monkeypatch.setattr(module, "read_rule", wrong_weights)
    with pytest.raises(FidelityError, match="differ from the learner's"):
        export_head(state, out)
    assert exit_code(["export-head", str(state), "--out", str(out)]) == 3
    assert capsys.readouterr().err.count("\n") == 2
    assert out.read_bytes() == b"an older one"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([out.name, "s", "s.edgecl"])


def test_what_is_not_a_number_differs_without_end():
    nothing, one = np.full((1, 2), np.nan), np.ones((1, 2))
    assert difference(nothing, one) == difference(one, nothing) == np.inf
    assert difference(one, one) == 0
    assert difference(one + 1e-3, one) == pytest.approx(1e-3)
    # one row of small scores, one of large ones, and what is usual
    scores = np.array([[1e-6, 0], [1, -2], [1, -2], [0, 0], [1e3, 1]])
    wrong = scores + np.array([[0, 0], [0, 0], [0, 0], [3e-4, 0], [0, 0]])
    assert difference(wrong, scores) == pytest.approx(1.5e-4)
    wrong = scores + np.array([[0, 0], [0, 0], [0, 0], [0, 0], [0, 0.5]])
    assert difference(wrong, scores) == pytest.approx(5e-4)


WRONG = {
    "suffix": ("h.tar", {}, InputError),
    "no folder": ("no/such/h.onnx", {}, InputError),
    "a folder": ("folder.onnx", {}, InputError),
    "unknown head": ("h.onnx", {"head": "perceptron"}, InputError),
    "a head without its sums": ("h.onnx", {"head": "fecam"}, InputError),
    "unknown label": ("h.onnx", {"among": ["teapot"]}, InputError),
    "no label": ("h.onnx", {"among": []}, InputError),
    "no encoder": ("h.onnx", {"with_encoder": True}, InputError),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_what_makes_no_sense_is_one_line_and_leaves_nothing(tmp_path, wrong):
    name, options, kind = wrong
    state = taught(tmp_path / "s")
    (tmp_path / "folder.onnx").mkdir()
    before = contents(tmp_path)
    with pytest.raises(kind) as caught:
        export_head(state, tmp_path / name, **options)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("form", FORMATS)
def test_a_quadratic_head_says_that_it_cannot_be_exported(tmp_path, form):
    state = taught(tmp_path / "s", "fecam")
    with pytest.raises(ExportError, match="quadratic") as caught:
        export_head(state, tmp_path / f"h.{form}")
    assert "--head ridge" in caught.value.hint
    made = export_head(state, tmp_path / f"h.{form}", head="ridge")  # as the hint says
    assert made.head == "ridge"


def test_a_state_that_knows_nothing_has_no_head(tmp_path):
    state = tmp_path / "s"
    with Learner.open(state, bundle=features_bundle(samples(8)[0])) as learner:
        learner.learn(np.ones(D), "a")
        learner.undo()
    with pytest.raises(StateError, match="nothing has been learned"):
        export_head(state, tmp_path / "h.onnx", bundle=None)
    with pytest.raises(EdgeCLError):
        export_head(tmp_path / "nothing", tmp_path / "h.onnx")
    assert not (tmp_path / "nothing").exists()


def test_the_format_of_another_runtime_does_not_take_the_encoder(tmp_path):
    bundle = bundle_of(tmp_path, tiny_onnx(18))
    x, labels = pictures()
    with Learner.open(tmp_path / "s", bundle=bundle) as learner:
        learner.learn_many(x, labels)
    with pytest.raises(InputError, match="other features"):
        export_head(tmp_path / "s", tmp_path / "h.tflite", with_encoder=True)
    export_head(tmp_path / "s", tmp_path / "h.tflite")


@pytest.mark.parametrize(("form", "library"), [("onnx", "onnx"), ("tflite", "ai_edge_litert")])
def test_a_missing_library_names_the_install_line(tmp_path, monkeypatch, form, library):
    state = taught(tmp_path / "s")
    monkeypatch.setitem(sys.modules, library, None)
    for name in ("to_onnx", "to_tflite", "tflite_model"):
        monkeypatch.delitem(sys.modules, f"edge_cl_export.head.{name}", raising=False)
    with pytest.raises(MissingExtraError) as caught:
        export_head(state, tmp_path / f"h.{form}")
    assert "pip install" in caught.value.hint
    assert not (tmp_path / f"h.{form}").exists()


# -- the command ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_the_command_says_what_it_wrote(tmp_path, capsys, form):
    state, out = taught(tmp_path / "s"), tmp_path / f"h.{form}"
    with Learner.open(state):  # held by another one: it is only read
        assert exit_code(["export-head", str(state), "--out", str(out), "--head", "lda"]) == 0
    said = capsys.readouterr().out
    assert str(out) in said
    assert ", ".join(NAMES) in said
    assert "largest difference" in said
    line = ["export-head", str(state), "--out", str(out), "--among", "b", "--json"]
    assert exit_code(line) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["labels"] == ["b"]
    assert found["size_bytes"] == out.stat().st_size
    assert found["difference"] < 1e-5
    assert found["format"] == form


def test_the_command_ends_with_one_for_what_the_user_can_mend(tmp_path, capsys):
    assert exit_code(["export-head", str(tmp_path), "--out", str(tmp_path / "h.onnx")]) == 1
    assert exit_code(["export-head", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("error:") == 2


def test_progress_goes_from_nothing_to_all(tmp_path):
    seen = []
    export_head(
        taught(tmp_path / "s"), tmp_path / "h.onnx", progress=lambda what, share: seen.append(share)
    )
    assert seen[0] == 0
    assert seen[-1] == 1
    assert seen == sorted(seen)
