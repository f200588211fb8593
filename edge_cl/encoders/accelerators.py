"""What a network can be asked to run on, by name: a plain table.

ONNX Runtime calls these execution providers, LiteRT delegates; RKNN and HailoRT are libraries of
their own. Which of them a board has, and with which options, its profile tells. Run on hardware
were "cpu", "xnnpack" of LiteRT and "openvino" on a CPU; `hardware` says so, and what shows an
accelerator shows that.
"""

from __future__ import annotations

import msgspec

from edge_cl.errors import InputError

__all__ = ["Accelerator", "accelerator_for", "accelerator_names", "runtimes_of"]

NOT_RUN = "not run on hardware"
_DELEGATE = "delegate:"


class Accelerator(msgspec.Struct, frozen=True, kw_only=True):
    """One way to run a network.

    runtime : the library that runs it: "onnx", "litert", "rknn" or "hailo".
    engine : name of the execution provider, or file of the delegate; empty where there is none
        to name.
    reports : under which name the library counts nodes that run there.
    options : that it is given, unless others are asked for.
    threads_option : the option that takes a number of threads, where it has threads of its own.
    plugin : package that brings the execution provider along as a library.
    install : what to do where it is missing.
    hardware : on what it was run; `NOT_RUN` where it was not.
    """

    name: str
    runtime: str
    engine: str = ""
    reports: str = ""
    options: dict[str, str] = {}
    threads_option: str = ""
    plugin: str = ""
    install: str = ""
    hardware: str = NOT_RUN


_BUILD = "build ONNX Runtime with it: its packages on PyPI leave it out"

_TABLE = (
    Accelerator(
        name="cpu",
        runtime="onnx",
        engine="CPUExecutionProvider",
        reports="CPUExecutionProvider",
        install="pip install onnxruntime",
        hardware="x86-64",
    ),
    Accelerator(
        name="cpu",
        runtime="litert",
        install="pip install 'edge-cl[litert]'",
        hardware="x86-64",
    ),
    Accelerator(
        name="xnnpack",
        runtime="litert",
        reports="XNNPACK",
        install="pip install 'edge-cl[litert]'",
        hardware="x86-64",
    ),
    Accelerator(
        name="xnnpack",
        runtime="onnx",
        engine="XnnpackExecutionProvider",
        reports="XnnpackExecutionProvider",
        threads_option="intra_op_num_threads",
        install=f"{_BUILD} (--use_xnnpack)",
    ),
    Accelerator(
        name="acl",
        runtime="onnx",
        engine="ACLExecutionProvider",
        reports="ACLExecutionProvider",
        install=f"{_BUILD} (--use_acl)",
    ),
    Accelerator(
        name="qnn",
        runtime="onnx",
        engine="QNNExecutionProvider",
        reports="QNNExecutionProvider",
        options={"backend_path": "libQnnHtp.so"},
        plugin="onnxruntime_qnn",
        install="pip install onnxruntime-qnn, on a board of Qualcomm",
    ),
    Accelerator(
        name="tensorrt",
        runtime="onnx",
        engine="TensorrtExecutionProvider",
        reports="TensorrtExecutionProvider",
        install="install the onnxruntime-gpu of your JetPack or CUDA, and TensorRT",
    ),
    Accelerator(
        name="cuda",
        runtime="onnx",
        engine="CUDAExecutionProvider",
        reports="CUDAExecutionProvider",
        install="install the onnxruntime-gpu of your JetPack or CUDA, and cuDNN",
    ),
    Accelerator(
        name="openvino",
        runtime="onnx",
        engine="OpenVINOExecutionProvider",
        reports="OpenVINOExecutionProvider",
        options={"device_type": "CPU"},
        threads_option="num_of_threads",
        install="pip install onnxruntime-openvino, in the place of onnxruntime",
        hardware="x86-64, its device CPU, version 1.24.1",
    ),
    Accelerator(
        name="coreml",
        runtime="onnx",
        engine="CoreMLExecutionProvider",
        reports="CoreMLExecutionProvider",
        install="the onnxruntime of macOS has it",
    ),
    Accelerator(
        name="edgetpu",
        runtime="litert",
        engine="libedgetpu.so.1",
        reports="libedgetpu.so.1",
        install="install libedgetpu1-std, and plug in or switch on the Edge TPU",
    ),
    Accelerator(
        name="hexagon",
        runtime="litert",
        engine="libhexagon_delegate.so",
        reports="libhexagon_delegate.so",
        install="copy libhexagon_delegate.so and the Hexagon libraries onto the board",
    ),
    Accelerator(
        name="vx",
        runtime="litert",
        engine="libvx_delegate.so",
        reports="libvx_delegate.so",
        install="install the vendor's libvx_delegate.so, which the BSP of NXP brings",
    ),
    Accelerator(
        name="rknn",
        runtime="rknn",
        reports="RKNPU",
        options={"core_mask": "NPU_CORE_AUTO"},
        install="pip install rknn-toolkit-lite2, on a board of Rockchip",
    ),
    Accelerator(
        name="hailo",
        runtime="hailo",
        reports="Hailo",
        install="apt install hailo-all, and make the environment with --system-site-packages",
    ),
)


def accelerator_names() -> tuple[str, ...]:
    """Return the names there are, "cpu" first; besides these there is "delegate:PATH"."""
    return tuple(dict.fromkeys(entry.name for entry in _TABLE))


def runtimes_of(name: str) -> tuple[str, ...]:
    """Return the runtimes that can be asked to run a network on `name`.

    Raises
    ------
    InputError : there is no accelerator of that name.
    """
    if name.startswith(_DELEGATE) and len(name) > len(_DELEGATE):
        return ("litert",)
    found = tuple(entry.runtime for entry in _TABLE if entry.name == name)
    if not found:
        known = ", ".join(accelerator_names())
        raise InputError(f"unknown accelerator {name!r}", hint=f"one of: {known}, {_DELEGATE}PATH")
    return found


def accelerator_for(name: str, runtime: str) -> Accelerator:
    """Return how `runtime` runs a network on `name`.

    Raises
    ------
    InputError : it does not.
    """
    if runtime not in runtimes_of(name):
        where = " and ".join(runtimes_of(name))
        raise InputError(f"the accelerator {name} runs networks of {where}, not of {runtime}")
    if name.startswith(_DELEGATE):
        library = name.removeprefix(_DELEGATE)
        install = "give the path of a LiteRT delegate built for this machine"
        return Accelerator(
            name=name, runtime=runtime, engine=library, reports=library, install=install
        )
    return next(e for e in _TABLE if (e.name, e.runtime) == (name, runtime))
