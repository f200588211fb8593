"""Findings about what runs: the kernels, the libraries of encoders, their accelerators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edge_cl.device.profile import Execution
from edge_cl.doctor.board.probes import Outcome
from edge_cl.doctor.finding import Finding, note, ok, problem, warning

__all__ = ["library_findings"]

_NAMES = {"onnx": "ONNX Runtime", "litert": "LiteRT"}
_PACKAGES = {"onnx": "onnxruntime", "litert": "ai-edge-litert"}
_ON_CPU = ("cpu", "xnnpack", "acl")
_DO = {
    "SIGILL": "this CPU lacks an instruction that it uses: install {package} of another version",
    "SIGKILL": "the system may have run out of memory: end other programs",
}
_NO_NUMBA = "set EDGE_CL_KERNELS=numpy to do without Numba; or install another version of numba"
_REINSTALL = "install {package} again, or another version of it"


def library_findings(
    outcomes: list[Outcome], executions: Sequence[Execution] = ()
) -> list[Finding]:
    """Say what runs; a library that does not is a problem only where no other can take its place.

    executions : what the board's profile says that a network can run on.

    What is not among `outcomes` is not installed. Nothing takes the place of broken kernels on
    its own: every command would end as the trial did.
    """
    found = {one.what: one for one in outcomes}
    findings = [_kernels(found["kernels"])] if "kernels" in found else []
    any_runs = any(found[what].runs for what in _NAMES if what in found)
    for what in _NAMES:
        findings.append(_runtime(what, found.get(what), any_runs=any_runs))
        findings += _accelerators(what, outcomes)
    return [*findings, *_left_out(outcomes, executions)]


def _kernels(one: Outcome) -> Finding:
    report = one.report
    if report is None:
        return problem("kernels", f"a process that tried Numba {one.died}", _NO_NUMBA)
    if report.error:
        return problem("kernels", report.error, report.hint or _NO_NUMBA)
    if report.backend != "numba":
        says = "NumPy's, up to 4 times slower than Numba's"
        return note("kernels", says, "pip install numba, and leave out EDGE_CL_KERNELS")
    if not report.cache:
        says = (
            f"Numba {report.version} runs, and nothing it compiles is kept: each start takes long"
        )
        return warning("kernels", says, "set NUMBA_CACHE_DIR to a folder that can be written")
    how = "loaded" if report.cached else "compiled"
    says = f"Numba {report.version} runs; {how} in {report.seconds:.2f} s, kept in {report.cache}"
    return ok("kernels", says)


def _runtime(what: str, one: Outcome | None, *, any_runs: bool) -> Finding:
    name, package = _NAMES[what], _PACKAGES[what]
    if one is None:
        install = "pip install onnxruntime" if what == "onnx" else "pip install 'edge-cl[litert]'"
        if any_runs:
            return note(name, "not installed", f"for encoders of its kind: {install}")
        if what == "litert":
            return note(name, "not installed", f"another way to run encoders: {install}")
        return problem(name, "not installed, and nothing else runs encoders here", install)
    report = one.report
    if one.runs and report is not None:
        return ok(name, f"{report.version} runs".strip())
    bad = warning if any_runs else problem
    if report is not None:
        return bad(name, report.error, report.hint or _REINSTALL.format(package=package))
    do = _DO.get(one.signal, _REINSTALL)
    return bad(name, f"a process that tried it {one.died}", do.format(package=package))


def _accelerators(runtime: str, outcomes: list[Outcome]) -> Iterator[Finding]:
    for one in outcomes:
        own, _, accelerator = one.what.partition(":")
        if own != runtime or not accelerator:
            continue
        what, report = f"{accelerator} of {_NAMES[runtime]}", one.report
        leave = f"do not ask for --accelerator {accelerator} until its driver and library fit"
        if report is None:
            yield warning(what, f"a process that tried it {one.died}", leave)
        elif report.error:
            yield warning(what, report.error, report.hint or leave)
        elif report.fallbacks:
            yield note(what, f"loads; {report.fallbacks[0]}")
        else:
            yield ok(what, "loads and runs")


def _left_out(outcomes: list[Outcome], executions: Sequence[Execution]) -> Iterator[Finding]:
    """Name what the profile has for the board's accelerators, and the libraries do not offer."""
    for one in executions:
        tried = any(o.what == f"{one.runtime}:{one.accelerator}" for o in outcomes)
        if one.runtime in _NAMES and one.accelerator not in _ON_CPU and not tried:
            says = "the board's profile lists it, and the library installed here does not offer it"
            yield note(f"{one.accelerator} of {_NAMES[one.runtime]}", says, one.needs)
