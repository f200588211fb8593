"""What a board wants, and what its oldest runtime can load."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_cl.device import Profile, load_profile, profile_names
from edge_cl.errors import ExportError, InputError
from edge_cl_export.recipe import FORMATS
from edge_cl_export.target.board import check_runtime, choose_target

BOARD = """
name = "a board"
soc = "s"
{more}
[[clusters]]
core = "c"
cores = 4
max_mhz = 0
isa = [{isa}]
source = "here"
verified = false
{besides}
{runtimes}
"""
STANDING = 'source = "here"\nverified = false'
BOTH = f'[runtimes]\nonnxruntime = "1.17"\ntflite = "2.14"\n{STANDING}'


@pytest.fixture
def board(tmp_path):
    def write(isa=(), more="", accelerator="", runtimes=BOTH):
        path = tmp_path / "board.toml"
        flags = ", ".join(f'"{flag}"' for flag in isa)
        besides = f'[[accelerators]]\nname = "n"\nkind = "{accelerator}"\n{STANDING}'
        text = BOARD.format(
            isa=flags, more=more, besides=besides if accelerator else "", runtimes=runtimes
        )
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def an_onnx(opset, ir, domain=""):
    node = helper.make_node("Relu", ["x"], ["y"], domain=domain)
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([node], "g", value[:1], value[1:])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("odd", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir).SerializeToString()


def a_tflite(kind, version, *, int8=False, scales=1):
    from ai_edge_litert import schema_py_generated as schema

    from edge_cl_export.quantise.flatbuffer import write_flat

    number = getattr(schema.BuiltinOperator, kind)
    code = schema.OperatorCodeT(
        deprecatedBuiltinCode=min(number, 127), version=version, builtinCode=number
    )
    step = schema.QuantizationParametersT(
        scale=np.ones(scales, np.float32), zeroPoint=np.zeros(scales, np.int64)
    )
    tensors = [
        schema.TensorT(
            shape=np.array([2, 2], np.int32),
            type=schema.TensorType.INT8 if int8 else schema.TensorType.FLOAT32,
            name=name,
            quantization=step,
        )
        for name in "xwy"
    ]
    operator = schema.OperatorT(inputs=np.array([0, 1], np.int32), outputs=np.array([2], np.int32))
    graph = schema.SubGraphT(
        tensors=tensors,
        inputs=np.array([0], np.int32),
        outputs=np.array([2], np.int32),
        operators=[operator],
    )
    model = schema.ModelT(
        version=3, operatorCodes=[code], subgraphs=[graph], buffers=[schema.BufferT()]
    )
    return write_flat(model)


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_leads_to_formats_each_with_a_reason(name):
    target = choose_target(name)
    assert set(target.formats) <= set(FORMATS)
    assert len(set(target.formats)) == len(target.formats)
    assert all(choice.why for choice in target.choices)
    assert any("int8" in f for f in target.formats)
    assert load_profile(name).runtimes.source


def test_half_precision_only_where_something_computes_in_it(board):
    plain = choose_target(board()).formats
    assert plain == ["onnx-fp32", "onnx-int8", "litert-fp32", "litert-int8"]
    half = choose_target(board(isa=["fp16"])).formats
    assert half == ["onnx-fp16", "onnx-int8", "litert-fp16", "litert-int8"]


def test_a_gpu_gets_half_precision_and_symmetric_integers(board):
    formats = choose_target(board(accelerator="gpu")).formats
    assert {"onnx-fp16", "onnx-int8-s8s8"} <= set(formats)
    assert "onnx-fp16" not in choose_target(board()).formats


def test_only_an_npu_gets_integers_throughout(board):
    assert "litert-int8-full" in choose_target(board(accelerator="npu")).formats
    assert "litert-int8-full" not in choose_target(board(accelerator="gpu")).formats


@pytest.mark.parametrize("isa", [[], ["dotprod"], ["dotprod", "i8mm"]])
@pytest.mark.parametrize("architecture", ["aarch64", "x86_64"])
def test_a_cpu_gets_u8s8(board, isa, architecture):
    formats = choose_target(board(isa=isa, more=f'architecture = "{architecture}"')).formats
    assert "onnx-int8" in formats and "onnx-int8-s8s8" not in formats


def test_a_runtime_that_is_not_there_gets_nothing(board):
    only = choose_target(board(runtimes=f'[runtimes]\ntflite = "2.14"\n{STANDING}')).formats
    assert only == ["litert-fp32", "litert-int8"]
    with pytest.raises(InputError, match="no runtime"):
        choose_target(board(runtimes=f"[runtimes]\n{STANDING}"))


def test_a_profile_of_before_runtimes_were_named_loads_and_checks_nothing(board):
    target = choose_target(board(runtimes=""))
    assert len(target.formats) == 4
    check_runtime(an_onnx(21, 10), target.profile)


def test_a_version_that_is_none_is_one_clear_error(board):
    with pytest.raises(InputError, match="latest"):
        choose_target(board(runtimes=f'[runtimes]\ntflite = "latest"\n{STANDING}'))


def with_runtimes(onnxruntime="", tflite=""):
    import msgspec

    profile = load_profile("raspberry-pi-5")
    runtimes = msgspec.structs.replace(profile.runtimes, onnxruntime=onnxruntime, tflite=tflite)
    changed: Profile = msgspec.structs.replace(profile, runtimes=runtimes)
    return changed


@pytest.mark.parametrize(
    ("opset", "ir", "oldest"),
    [(15, 8, "1.10"), (17, 8, "1.12"), (18, 8, "1.14"), (19, 8, "1.15"), (18, 9, "1.16"),
     (20, 9, "1.17"), (21, 9, "1.18"), (18, 10, "1.18")],
)  # fmt: skip
def test_an_onnx_file_needs_the_runtime_of_its_opset_and_ir_version(opset, ir, oldest):
    major, minor = oldest.split(".")
    check_runtime(an_onnx(opset, ir), with_runtimes(onnxruntime=oldest))
    check_runtime(an_onnx(opset, ir), with_runtimes(onnxruntime="1.31.1"))
    older = with_runtimes(onnxruntime=f"{major}.{int(minor) - 1}")
    with pytest.raises(ExportError, match=f"opset {opset}, IR {ir}") as error:
        check_runtime(an_onnx(opset, ir), older)
    assert oldest in error.value.hint


def test_an_operator_of_a_foreign_domain_is_named():
    with pytest.raises(ExportError, match="odd::Relu"):
        check_runtime(an_onnx(18, 8, domain="odd"), with_runtimes(onnxruntime="1.31"))


@pytest.mark.parametrize(
    ("kind", "version", "oldest"),
    [("CONV_2D", 8, "2.15"), ("GELU", 1, "2.9"), ("PAD", 5, "2.20"), ("ADD", 5, "2.13")],
)
def test_a_tflite_file_needs_the_runtime_of_its_operators(kind, version, oldest):
    major, minor = oldest.split(".")
    check_runtime(a_tflite(kind, version), with_runtimes(tflite=f"{oldest}.0"))
    with pytest.raises(ExportError, match=f"{kind} of version {version}"):
        check_runtime(a_tflite(kind, version), with_runtimes(tflite=f"{major}.{int(minor) - 1}"))


def test_operators_of_old_run_everywhere():
    for kind in ("CONV_2D", "ADD", "MEAN", "QUANTIZE"):
        check_runtime(a_tflite(kind, 1), with_runtimes(tflite="2.6"))


def test_integer_forms_that_came_late_are_seen_though_the_quantiser_raises_no_version():
    channels = a_tflite("FULLY_CONNECTED", 1, int8=True, scales=2)
    with pytest.raises(ExportError, match="a scale a channel"):
        check_runtime(channels, with_runtimes(tflite="2.14"))
    check_runtime(channels, with_runtimes(tflite="2.17"))
    check_runtime(a_tflite("FULLY_CONNECTED", 1, int8=True), with_runtimes(tflite="2.14"))
    with pytest.raises(ExportError, match="SQRT on 8 bits"):
        check_runtime(a_tflite("SQRT", 1, int8=True), with_runtimes(tflite="2.14"))
    check_runtime(a_tflite("SQRT", 1), with_runtimes(tflite="2.14"))


def test_an_operator_that_no_release_is_known_for_is_named():
    with pytest.raises(ExportError, match="CUSTOM"):
        check_runtime(a_tflite("CUSTOM", 1), with_runtimes(tflite="2.23"))


def test_what_onnx_itself_says_of_opsets_agrees():
    """onnx pairs each opset with the IR version of its release: none may need more than ours."""
    from edge_cl_export.target.runtime_versions import oldest_onnxruntime

    for opset, ir in ((15, 8), (18, 8), (19, 9), (20, 9), (21, 10)):
        assert helper.find_min_ir_version_for([helper.make_opsetid("", opset)]) == ir
        assert oldest_onnxruntime(onnx.load_from_string(an_onnx(opset, ir))).release
