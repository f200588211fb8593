"""What a network is asked to run on, and what is said when it does not run there."""

import hashlib
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import flatbuffers
import model_bytes as mb
import numpy as np
import pytest
from test_canary import INPUTS, a_bundle
from test_encoders import LITERT

from edge_cl.assets import shipped_bundle
from edge_cl.bundle import open_bundle
from edge_cl.encoders import accelerators, open_encoder, proven
from edge_cl.encoders.accelerators import (
    Accelerator,
    accelerator_for,
    accelerator_names,
    runtimes_of,
)
from edge_cl.encoders.litert_runner import LiteRTRunner, litert_available
from edge_cl.encoders.onnx_providers import (
    assigned_kinds,
    assigned_nodes,
    fallbacks,
    offered,
    session_on,
)
from edge_cl.encoders.onnx_runner import OnnxRunner
from edge_cl.encoders.route import Route
from edge_cl.errors import BackendError, InputError
from edge_cl.verify import verify

STUBS = Path(__file__).parent / "vendor_stubs"
SHIPPED = open_bundle(shipped_bundle())
ONNX = SHIPPED.manifest.encoders[0]
# In every package of ONNX Runtime on PyPI for x86-64 and arm64, and it takes no node
AZURE = Accelerator(
    name="azure",
    runtime="onnx",
    engine="AzureExecutionProvider",
    reports="AzureExecutionProvider",
    install="nothing to install",
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(proven, "_here", set())


def one_line(caught):
    return "\n" not in str(caught.value) + caught.value.hint and bool(caught.value.hint)


# -- the table -----------------------------------------------------------------------------------


def test_every_accelerator_says_what_it_is():
    for name in accelerator_names():
        for runtime in runtimes_of(name):
            found = accelerator_for(name, runtime)
            assert (found.name, found.runtime) == (name, runtime)
            assert found.install and found.hardware
            assert found.engine or runtime in ("litert", "rknn", "hailo")
    assert accelerator_names()[0] == "cpu"


def test_what_was_run_on_hardware_is_processors():
    ran = {e.name for e in accelerators._TABLE if e.hardware != accelerators.NOT_RUN}
    assert ran == {"cpu", "xnnpack", "openvino"}
    assert "CPU" in accelerator_for("openvino", "onnx").hardware


def test_a_delegate_is_named_by_its_path():
    found = accelerator_for("delegate:/opt/libnpu.so", "litert")
    assert (found.engine, found.hardware) == ("/opt/libnpu.so", accelerators.NOT_RUN)


@pytest.mark.parametrize("name", ["", "abacus", "delegate:", "CPU"])
def test_another_name_is_refused(name):
    with pytest.raises(InputError, match="unknown accelerator") as caught:
        runtimes_of(name)
    assert "edgetpu" in caught.value.hint and "delegate:PATH" in caught.value.hint


def test_an_accelerator_of_another_runtime_is_refused():
    with pytest.raises(InputError, match="edgetpu runs networks of litert, not of onnx"):
        accelerator_for("edgetpu", "onnx")
    with pytest.raises(InputError, match="holds no encoder for edgetpu") as caught:
        open_encoder(SHIPPED, accelerator="edgetpu")
    assert "onnx int8 for cpu" in caught.value.hint


def test_options_that_nobody_would_get_are_refused():
    with pytest.raises(InputError, match="unknown option 'fast' of cpu: it takes none"):
        open_encoder(SHIPPED, accelerator_options={"fast": "yes"})


# -- what is counted -----------------------------------------------------------------------------


def part(where, *kinds):
    """As `OrtEpAssignedSubgraph` and `OrtEpAssignedNode` answer."""
    nodes = [SimpleNamespace(op_type=k, name=f"n{i}", domain="") for i, k in enumerate(kinds)]
    return SimpleNamespace(ep_name=where, get_nodes=lambda: nodes)


QNN = accelerator_for("qnn", "onnx")
RECORDED = SimpleNamespace(
    get_provider_graph_assignment_info=lambda: [
        part("QNNExecutionProvider", *["Conv"] * 40),
        part("CPUExecutionProvider", "Softmax"),
        part("CPUExecutionProvider", "Softmax"),
        part("CPUExecutionProvider", "Gelu"),
        part("QNNExecutionProvider", "Gemm"),
    ]
)


def test_nodes_are_counted_by_who_got_them():
    nodes = assigned_nodes(RECORDED)
    assert nodes == {"QNNExecutionProvider": 41, "CPUExecutionProvider": 3}
    assert fallbacks(nodes, assigned_kinds(RECORDED, QNN), QNN) == (
        "3 of 44 nodes run on CPUExecutionProvider, not on qnn (Softmax 2, Gelu 1)",
    )
    assert fallbacks({"QNNExecutionProvider": 44}, [], QNN) == ()


def test_the_names_in_the_record_are_those_of_onnx_runtime():
    import onnxruntime

    found = {
        name
        for kind in ("OrtEpAssignedSubgraph", "OrtEpAssignedNode")
        for name in dir(getattr(onnxruntime, kind, None) or part(""))
    }
    assert {"ep_name", "get_nodes"} <= found
    real = OnnxRunner(SHIPPED.files[ONNX.member], ONNX, 1)._session
    assert sum(assigned_nodes(real).values()) == len(
        assigned_kinds(real, QNN)  # none of them is on QNN
    )


def test_a_version_that_does_not_tell_is_told():
    older = SimpleNamespace()
    assert assigned_nodes(older) == {}
    (line,) = fallbacks(assigned_nodes(older), assigned_kinds(older, QNN), QNN)
    assert "not known what runs on qnn" in line


def test_many_kinds_are_cut_short():
    (line,) = fallbacks({"CPUExecutionProvider": 6}, list("abcdef"), QNN)
    assert line.endswith("(a 1, b 1, c 1, d 1, ...)")


class Library:
    """As `onnxruntime`, with providers that load only where `loads` names them."""

    __version__ = "1.31.1"

    def __init__(self, *loads):
        self.loads, self.asked = loads, {}

    def get_available_providers(self):
        return ["XnnpackExecutionProvider", "QNNExecutionProvider", "CPUExecutionProvider"]

    GraphOptimizationLevel = SimpleNamespace(ORT_DISABLE_ALL=0)

    def InferenceSession(self, blob, options, providers, enable_fallback=1):  # noqa: N802
        self.asked = {"providers": providers, "again": enable_fallback}
        return SimpleNamespace(
            get_providers=lambda: [*self.loads, "CPUExecutionProvider"],
            get_inputs=lambda: [SimpleNamespace(shape=["n", 224, 224, 3])],
        )

    def SessionOptions(self):  # noqa: N802
        return Options()


class Options(SimpleNamespace):
    def __init__(self):
        super().__init__(entries={}, fixed={})

    def add_free_dimension_override_by_name(self, name, value):
        self.fixed[name] = value

    def add_session_config_entry(self, name, value):
        self.entries[name] = value


def test_a_provider_that_onnx_runtime_leaves_out_is_an_error():
    library = Library()
    with pytest.raises(BackendError, match="QNNExecutionProvider did not load") as caught:
        session_on(library, b"", Options(), QNN, Route(accelerator="qnn"), 2)
    assert caught.value.hint == QNN.install
    assert library.asked["again"] == 0  # else it tries the CPU alone


def test_options_threads_and_order_reach_onnx_runtime():
    xnnpack, options = accelerator_for("xnnpack", "onnx"), Options()
    library = Library(xnnpack.engine, QNN.engine)
    session_on(library, b"", options, xnnpack, Route(accelerator="xnnpack"), 3)
    wanted = (xnnpack.engine, {"intra_op_num_threads": "3"})
    assert library.asked["providers"] == [wanted, "CPUExecutionProvider"]
    assert options.intra_op_num_threads == 1 and not options.entries  # one budget: its own
    assert options.fixed == {"n": 1}  # NPUs compile for one picture
    route = Route(accelerator="qnn", options={"htp_arch": "68"}, strict=True)
    session_on(library, b"", options, QNN, route, 3)
    (only,) = library.asked["providers"]  # no CPU beside it
    assert only == (QNN.engine, {"backend_path": "libQnnHtp.so", "htp_arch": "68"})
    assert options.entries == {"session.disable_cpu_ep_fallback": "1"}


# -- ONNX Runtime, for real ----------------------------------------------------------------------


@pytest.fixture
def azure(monkeypatch):
    import onnxruntime

    assert AZURE.engine in onnxruntime.get_available_providers()
    monkeypatch.setattr(accelerators, "_TABLE", (*accelerators._TABLE, AZURE))


def test_a_provider_that_takes_nothing_is_told_and_with_strict_refused(azure):
    blob = SHIPPED.files[ONNX.member]
    runner = OnnxRunner(blob, ONNX, 1, Route(accelerator="azure"))
    (line,) = runner.fallbacks
    whole = sum(runner.nodes.values())
    assert line.startswith(f"{whole} of {whole} nodes run on CPUExecutionProvider, not on azure")
    picture = np.arange(3 * 224 * 224 * 3, dtype=np.uint8).reshape(3, 224, 224, 3)
    np.testing.assert_array_equal(runner.run(picture), OnnxRunner(blob, ONNX, 1).run(picture))
    with pytest.raises(BackendError, match="azure does not run all of the network") as caught:
        OnnxRunner(blob, ONNX, 1, Route(accelerator="azure", strict=True))
    assert one_line(caught)
    assert runner._session.get_inputs()[0].shape[0] == 1  # for NPUs, which compile for a size


def test_the_cpu_is_no_fallback_where_it_was_asked_for():
    encoder = open_encoder(SHIPPED, accelerator="cpu", strict=True, threads=1)
    assert encoder.placement.fallbacks == ()


ELSEWHERE = [name for name in accelerator_names() if "onnx" in runtimes_of(name) and name != "cpu"]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_provider_that_is_not_there_is_never_replaced(name):
    import onnxruntime

    with pytest.raises(BackendError, match=r"this ONNX Runtime has no \w+") as caught:
        open_encoder(SHIPPED, accelerator=name)
    assert caught.value.hint == accelerator_for(name, "onnx").install
    assert accelerator_for(name, "onnx").engine in onnxruntime.get_all_providers()  # so spelled


def test_a_plugin_that_is_no_library_is_one_line(monkeypatch):
    monkeypatch.syspath_prepend(STUBS)
    with pytest.raises(BackendError, match=r"ONNX Runtime cannot load .*providers_qnn") as caught:
        OnnxRunner(SHIPPED.files[ONNX.member], ONNX, 1, Route(accelerator="qnn"))
    assert "\n" not in str(caught.value)
    with pytest.raises(BackendError, match="takes no execution provider as a plugin"):
        offered(SimpleNamespace(get_available_providers=list, __version__="1.20.0"), QNN)


def test_a_proof_holds_for_what_the_network_ran_on():
    bundle = a_bundle(mb.IDENTITY)
    spec = bundle.manifest.encoders[0]
    routes = [
        Route(),
        Route(accelerator="cuda"),
        Route(accelerator="cuda", options={"device_id": "1"}),
        Route(accelerator="tensorrt"),
    ]
    keys = {proven.key(bundle, spec, route) for route in routes}
    assert len(keys) == len(routes)
    assert proven.key(bundle, spec, Route(strict=True)) in keys  # that is asked each time


def test_verify_tells_where_each_encoder_ran(azure):
    found = verify(SHIPPED, accelerator="cpu")
    assert found.encoders[0].placement.accelerator == "cpu" and not found.misses
    with pytest.raises(InputError, match="holds no encoder for vx"):
        verify(SHIPPED, accelerator="vx")
    assert "no TensorrtExecutionProvider" in verify(SHIPPED, accelerator="tensorrt").misses[0]


# -- LiteRT, for real ----------------------------------------------------------------------------


def chain(count):
    """A `.tflite` network of so many operators, one behind the other, on (1, 3)."""
    from ai_edge_litert import schema_py_generated as schema

    number = schema.BuiltinOperator.RELU
    tensors = [
        schema.TensorT(shape=np.array([1, 3], np.int32), name=f"t{i}") for i in range(count + 1)
    ]
    operators = [
        schema.OperatorT(inputs=np.array([i], np.int32), outputs=np.array([i + 1], np.int32))
        for i in range(count)
    ]
    graph = schema.SubGraphT(
        tensors=tensors,
        inputs=np.array([0], np.int32),
        outputs=np.array([count], np.int32),
        operators=operators,
    )
    code = schema.OperatorCodeT(deprecatedBuiltinCode=number, version=1, builtinCode=number)
    model = schema.ModelT(
        version=3, operatorCodes=[code], subgraphs=[graph], buffers=[schema.BufferT()]
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def delegate(tmp_path):
    """Build the delegate beside this file; None where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    library = tmp_path / "libsome_delegate.so"
    source = Path(__file__).with_name("some_delegate.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return f"delegate:{library}"


if litert_available():

    def test_xnnpack_is_what_litert_runs_on_anyway():
        cpu, asked = (
            LiteRTRunner(chain(3), LITERT, 1, Route(accelerator=a)) for a in ("cpu", "xnnpack")
        )
        assert cpu.nodes == asked.nodes and sum(cpu.nodes.values()) == 3
        assert cpu.fallbacks == ()
        assert bool(asked.fallbacks) == (set(asked.nodes) != {"XNNPACK"})

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("edgetpu", "libedgetpu.so.1"),
            ("hexagon", "libhexagon_delegate.so"),
            ("vx", "libvx_delegate.so"),
            ("delegate:/nowhere/at/all.so", "/nowhere/at/all.so"),
            (f"delegate:{__file__}", "cannot be loaded"),
            ("delegate:libc.so.6", "tflite_plugin_create_delegate"),
        ],
    )
    def test_a_delegate_that_is_none_is_one_line(name, why):
        bundle = a_bundle(mb.tflite(), runtime="litert")
        with pytest.raises(BackendError, match=why) as caught:
            open_encoder(bundle, accelerator=name)
        assert one_line(caught)

    if shutil.which("gcc") or shutil.which("cc"):

        def test_nodes_that_a_delegate_leaves_are_told(tmp_path):
            name = delegate(tmp_path)
            for takes, left in ((3, 0), (2, 1), (0, 3)):
                route = Route(accelerator=name, options={"takes": str(takes)})
                runner = LiteRTRunner(chain(3), LITERT, 1, route)
                library = name.removeprefix("delegate:")
                assert runner.nodes.get(library, 0) == takes
                assert sum(runner.nodes.values()) == 3
                strict = Route(accelerator=name, options=route.options, strict=True)
                if not left:
                    assert runner.fallbacks == ()
                    LiteRTRunner(chain(3), LITERT, 1, strict)
                    continue
                (line,) = runner.fallbacks
                assert f"{left} of 3 nodes run on " in line and f"(RELU {left})" in line
                with pytest.raises(BackendError, match=f"{left} of 3 nodes") as caught:
                    LiteRTRunner(chain(3), LITERT, 1, strict)
                assert one_line(caught)

        def test_why_a_delegate_fails_is_told(tmp_path):
            route = Route(accelerator=delegate(tmp_path), options={"fail": "no such device"})
            with pytest.raises(BackendError, match="no such device"):
                LiteRTRunner(mb.tflite(), LITERT, 1, route)

        def test_a_delegate_that_crashes_ends_no_learner(tmp_path):
            bundle, name = a_bundle(mb.tflite(), runtime="litert"), delegate(tmp_path)
            with pytest.raises(BackendError, match=r"SIGABRT .* \(LiteRT on delegate:"):
                open_encoder(bundle, accelerator=name, accelerator_options={"crash": "1"})
            found = open_encoder(bundle, accelerator=name)
            assert found.placement.fallbacks and found.encode(INPUTS).shape == (2, 3)
            with pytest.raises(BackendError, match="1 of 1 nodes"):
                open_encoder(bundle, accelerator=name, strict=True)


# -- files for one accelerator -------------------------------------------------------------------


def test_the_shipped_bundle_keeps_its_bytes():
    data = Path(shipped_bundle()).read_bytes()
    again = SHIPPED.archive()
    assert hashlib.sha256(again).digest() == hashlib.sha256(data).digest()
