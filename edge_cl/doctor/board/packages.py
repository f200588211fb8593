"""Findings about the Python that runs, and versions that are known not to get along."""

from __future__ import annotations

from collections.abc import Iterator

from edge_cl.device.software import Software, version_numbers
from edge_cl.doctor.finding import Finding, ok, problem, warning

__all__ = ["package_findings"]

_OLDEST_GLIBC = (2, 28)  # what today's wheels of onnxruntime ask for


def package_findings(software: Software, isa: tuple[str, ...]) -> list[Finding]:
    """Look at Python, its C library and the packages; `isa`: see `isa_flags`."""
    return [*_python(software), *_packages(software, isa)]


def _python(software: Software) -> Iterator[Finding]:
    libc = f"{software.libc} {software.libc_version}".strip() or "an unknown C library"
    says = f"{software.python}, {software.bits}-bit, {software.architecture}, {libc}"
    if software.bits != 64:
        do = "install the 64-bit system: there are no wheels of onnxruntime for 32 bits"
        yield problem("Python", says, do)
    elif software.libc == "musl":
        do = "take a system with glibc (Debian, Ubuntu, Raspberry Pi OS): there are no wheels"
        yield problem("Python", says, f"{do} of onnxruntime for musl")
    elif software.libc == "glibc" and version_numbers(software.libc_version) < _OLDEST_GLIBC:
        do = (
            "update the system: today's wheels of onnxruntime want glibc 2.28, older ones still run"
        )
        yield warning("Python", says, do)
    else:
        yield ok("Python", says)


def _packages(software: Software, isa: tuple[str, ...]) -> Iterator[Finding]:
    have = software.packages
    onnx, numpy = have.get("onnxruntime", ""), have.get("numpy", "")
    armv8_0 = software.architecture in ("aarch64", "arm64") and "dotprod" not in isa
    if version_numbers(onnx) == (1, 21, 0) and armv8_0:
        says = "onnxruntime 1.21.0 ends with an illegal instruction on cores without dotprod"
        yield warning("packages", says, "pip install 'onnxruntime!=1.21.0'")
    if (tflite := have.get("tflite-runtime", "")) and version_numbers(numpy) >= (2,):
        says = f"tflite-runtime {tflite} was built for NumPy 1, numpy is {numpy}"
        yield warning("packages", says, "pip install ai-edge-litert in its place, or 'numpy<2'")
    listed = ", ".join(f"{name} {version}" for name, version in have.items())
    yield ok("packages", listed or "none that matter")
