"""Which encoder of a bundle to load: one that fits the wishes, and that can run here.

Without a wish it is one for the CPU. A file that is compiled for one accelerator is taken for
that alone, and before others.
"""

from __future__ import annotations

from typing import NoReturn

from edge_cl.bundle import Bundle, EncoderSpec
from edge_cl.encoders.accelerators import accelerator_for, runtimes_of
from edge_cl.encoders.hailo_runner import hailo_available
from edge_cl.encoders.litert_runner import litert_available
from edge_cl.encoders.onnx_runner import onnx_available
from edge_cl.encoders.rknn_runner import rknn_available
from edge_cl.errors import BackendError, InputError, MissingExtraError

__all__ = [
    "choose_encoder",
    "compiled_for",
    "fitting_encoders",
    "made_for",
    "matching_encoders",
]

_OF_NPUS = ("rknn", "hailo")  # each runs on its own NPU, and nowhere else
# Of what a bundle offers, the first that can run here: the fastest on most boards.
_PREFERENCE = [("onnx", "int8"), ("litert", "int8"), ("onnx", "fp16"), ("litert", "fp16")]


def matching_encoders(
    bundle: Bundle, runtime: str | None = None, precision: str | None = None
) -> tuple[EncoderSpec, ...]:
    """Return the encoders of `bundle` that fit the wishes; none where it holds none.

    Raises
    ------
    InputError : there is a wish, and no encoder that fits it.
    """
    specs = bundle.manifest.encoders
    wanted = tuple(
        s for s in specs if runtime in (None, s.runtime) and precision in (None, s.precision)
    )
    if not specs and (runtime or precision):
        raise InputError(f"{bundle.name} holds no encoder: its features come ready-made")
    if specs and not wanted:
        have = ", ".join(f"{s.runtime} {s.precision}" for s in specs)
        wish = " ".join(w for w in (runtime, precision) if w)
        raise InputError(f"{bundle.name} holds no {wish} encoder", hint=f"it holds: {have}")
    return wanted


def choose_encoder(
    bundle: Bundle,
    runtime: str | None = None,
    precision: str | None = None,
    accelerator: str | None = None,
) -> EncoderSpec | None:
    """Return the encoder of `bundle` that fits the wishes and can run here.

    Without a wish it is one for the CPU, where the bundle holds one.

    Raises
    ------
    InputError : the bundle has no such encoder.
    MissingExtraError, BackendError : it has, but the library that runs it is not installed.
    """
    wanted = matching_encoders(bundle, runtime, precision)
    fitting = fitting_encoders(wanted, accelerator)
    if wanted and not fitting:
        have = ", ".join(f"{s.runtime} {s.precision} for {made_for(s)}" for s in wanted)
        raise InputError(
            f"{bundle.name} holds no encoder for {accelerator or 'cpu'}",
            hint=f"it holds: {have}",
        )
    if not fitting:
        return None
    wanted = fitting
    usable = [s for s in wanted if _available(s.runtime)]
    if not usable:
        _refuse_missing(wanted[0], bundle)
    return min(usable, key=lambda s: (not s.accelerator, _rank(s)))


def fitting_encoders(
    specs: tuple[EncoderSpec, ...], accelerator: str | None
) -> tuple[EncoderSpec, ...]:
    """Return those of `specs` that `accelerator` can be asked to run.

    A file compiled for one accelerator is for that alone; where there is one, it goes first.

    Raises
    ------
    InputError : there is no accelerator of that name.
    """
    if accelerator is None:
        return tuple(s for s in specs if not s.accelerator)
    runtimes = runtimes_of(accelerator)
    fitting = [s for s in specs if s.runtime in runtimes and s.accelerator in ("", accelerator)]
    return tuple(sorted(fitting, key=lambda s: not s.accelerator))


def compiled_for(bundle: Bundle, sha256: str) -> str | None:
    """Return the accelerator that the encoder with this digest is compiled for, if for one."""
    members = bundle.manifest.members
    found = (s for s in bundle.manifest.encoders if members[s.member].sha256 == sha256)
    return next((s.accelerator or None for s in found), None)


def made_for(spec: EncoderSpec) -> str:
    """Return the accelerator that an encoder runs on unless another is asked for."""
    return spec.accelerator or (spec.runtime if spec.runtime in _OF_NPUS else "cpu")


def _available(runtime: str) -> bool:
    if runtime == "onnx":
        return onnx_available()
    if runtime == "litert":
        return litert_available()
    return rknn_available() if runtime == "rknn" else hailo_available()


def _refuse_missing(spec: EncoderSpec, bundle: Bundle) -> NoReturn:
    what = f"the {spec.runtime} encoder of {bundle.name}"
    if spec.runtime in _OF_NPUS:
        install = accelerator_for(spec.runtime, spec.runtime).install
        raise BackendError(f"{what} needs a package that is not installed", hint=install)
    raise MissingExtraError(what, spec.runtime)


def _rank(spec: EncoderSpec) -> int:
    key = (spec.runtime, spec.precision)
    return _PREFERENCE.index(key) if key in _PREFERENCE else len(_PREFERENCE)
