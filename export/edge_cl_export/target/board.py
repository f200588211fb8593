"""What a board wants: formats and integer types by its profile, and files its runtime can load.

What decides (instructions of one picture of EfficientNet-Lite0, in millions, counted on
emulated cores; fewer is not yet faster, but half is):

                        ONNX fp32  fp16   U8S8   S8S8    LiteRT fp32  int8
    A72: no dotprod       326       -     146    158        158       141
    A76: dotprod, fp16    326      136     79     75        154        64
    i8mm                  326      136     69     75        154        57

- ONNX int8: U8S8 everywhere on a CPU. On ARM both fuse into integer convolutions and cost the
  same; on x86 only U8S8 does (S8S8 leaves float ones, and is slower than fp32 there). U8S8 also
  keeps one bit more of what comes out of a ReLU.
- S8S8, symmetric, is for a GPU: its integer units know no zero point.
- fp16 where the CPU computes in it, or a GPU does; elsewhere it is unpacked to fp32 first, and
  fp32 is taken. One float format a runtime: what int8 falls back on.
- An NPU wants a LiteRT network of integers throughout: each float operator goes back to the CPU.

A profile can name the oldest version of each runtime; one that it leaves out there is taken not
to be on the board. A file that the oldest named runtime cannot load is refused: opset, IR
version and operators of ONNX, operators and their versions of LiteRT (`runtime_versions`). A
profile that names none gets the formats of both, unchecked.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from edge_cl.device import Profile, load_profile
from edge_cl.errors import ExportError, InputError
from edge_cl_export.target.runtime_versions import oldest_onnxruntime, oldest_tflite, parts

__all__ = ["Choice", "Target", "check_runtime", "choose_target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A format of `recipe.FORMATS`, and why the board wants it."""

    format: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A board, and what is to be made for it."""

    profile: Profile
    choices: tuple[Choice, ...]

    @property
    def formats(self) -> list[str]:
        """Names of the formats."""
        return [choice.format for choice in self.choices]


def choose_target(name: str) -> Target:
    """Return the board of a profile, by its name or the path of a TOML file, and its formats.

    Raises
    ------
    InputError : there is no such profile, it does not fit, or it names no runtime.
    """
    profile = load_profile(name)
    oldest = profile.runtimes
    for version in (oldest.onnxruntime, oldest.tflite) if oldest is not None else ():
        if version and not all(part.isdecimal() for part in version.split(".")):
            raise InputError(f"the profile {name}: expected a version as 1.17, got {version!r}")
    choices = (*_onnx(profile), *_litert(profile))
    if not choices:
        raise InputError(
            f"the profile {name} names no runtime, so there is nothing to export for it",
            hint='name one under [runtimes]: onnxruntime = "1.17" or tflite = "2.14"',
        )
    return Target(profile=profile, choices=choices)


def check_runtime(blob: bytes, profile: Profile) -> None:
    """Do nothing if the oldest runtime of the board loads an encoder file.

    Raises
    ------
    ExportError : it does not; says what asks for a newer one, and which that is.
    """
    if profile.runtimes is None:
        return
    litert = blob[4:8] == b"TFL3"
    named = profile.runtimes.tflite if litert else profile.runtimes.onnxruntime
    if not named:
        return
    runtime = "TensorFlow Lite" if litert else "ONNX Runtime"
    needed = oldest_tflite(blob) if litert else oldest_onnxruntime(onnx.load_from_string(blob))
    if needed.release is None:
        raise ExportError(
            f"no known {runtime} surely runs this file on {profile.name}: {needed.because}",
            hint="export the other runtime's format, or a network without it",
        )
    if parts(needed.release) > parts(named):
        raise ExportError(
            f"{profile.name} may have {runtime} {named}, this file needs {needed.release}: "
            f"{needed.because}",
            hint=f"have {needed.release} on the board and say so under [runtimes], "
            "or export the other runtime's format",
        )


def _onnx(profile: Profile) -> list[Choice]:
    if profile.runtimes is not None and not profile.runtimes.onnxruntime:
        return []
    if profile.architecture == "x86_64":
        int8 = "U8S8: only it fuses on x86"
    elif "dotprod" in profile.isa:
        int8 = "U8S8: a quarter of fp32's instructions, by dotprod"
    else:
        int8 = "U8S8: half of fp32's instructions"
    found = [_float("onnx", profile), Choice(format="onnx-int8", why=int8)]
    if profile.accelerator == "gpu":
        found.append(Choice(format="onnx-int8-s8s8", why="S8S8, symmetric, for the GPU"))
    return found


def _litert(profile: Profile) -> list[Choice]:
    if profile.runtimes is not None and not profile.runtimes.tflite:
        return []
    fast = profile.architecture == "x86_64" or "dotprod" in profile.isa
    int8 = "less than half of fp32's instructions" if fast else "a third of fp32's size"
    found = [_float("litert", profile), Choice(format="litert-int8", why=int8)]
    if profile.accelerator == "npu":
        found.append(Choice(format="litert-int8-full", why="integers throughout, for the NPU"))
    return found


def _float(runtime: str, profile: Profile) -> Choice:
    if "fp16" in profile.isa:
        return Choice(format=f"{runtime}-fp16", why="the CPU computes in float16")
    if runtime == "onnx" and profile.accelerator == "gpu":
        return Choice(format=f"{runtime}-fp16", why="the GPU computes in float16")
    return Choice(format=f"{runtime}-fp32", why="nothing there computes in float16")
