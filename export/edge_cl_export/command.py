"""`edge-cl export`, as functions: arguments already parsed, data returned, nothing printed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge_cl.encoders.onnx_runner import forbid_telemetry
from edge_cl.errors import InputError, MissingExtraError
from edge_cl_export.pictures.calibration import demo_pictures, open_pictures
from edge_cl_export.pictures.material import Material
from edge_cl_export.proof.fidelity import Gate
from edge_cl_export.recipe import USUAL, formats_for, parse_recipe
from edge_cl_export.wanted import Wanted

if TYPE_CHECKING:
    from edge_cl_export.graph.layers import Layer
    from edge_cl_export.graph.preparation import Pool
    from edge_cl_export.network import Network
    from edge_cl_export.pipeline import ExportResult
    from edge_cl_export.ready.entry import Layout
    from edge_cl_export.ready.onnx_network import ReadyOnnx
    from edge_cl_export.ready.tflite_network import ReadyTflite
    from edge_cl_export.sources import Backbone
    from edge_cl_export.steps import Progress
    from edge_cl_export.target.board import Target

__all__ = ["Asked", "export_command", "layers_command"]

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a user typed of the network and its pictures.

    Attributes
    ----------
    source : a name, "timm/NAME", "torchvision/NAME", "hf/ORG/NAME", "FILE.py:FACTORY",
        "FILE.onnx" or "FILE.tflite".
    weights : False: random ones, to try a library's graph.
    size : (height, width) in pixels; mean, std : a value a channel (RGB), 0..255.
    layout : of the input of a network that comes as a file; None: by the place of its 3 channels.
    calibration : a folder, `.zip`, `.npz` or `.npy` of pictures, see `calibration`; None: the
        pictures that ship with edge-cl, for a network that is known by name.
    data_free : whether pictures are distilled from the network instead, see `distil`.
    adapt : labelled pictures to fine-tune on once, see `adapt`; None: it stays as it is.
    adapt_mode : "film" or "body".
    """

    source: str
    weights: bool = True
    size: tuple[int, int] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    layout: Layout | None = None
    calibration: Path | None = None
    data_free: bool = False
    adapt: Path | None = None
    adapt_mode: str = "film"

    @property
    def ready(self) -> Literal["onnx", "litert", ""]:
        """The runtime of a network that comes as a file of its own; empty for others."""
        if self.source.endswith(".onnx"):
            return "onnx"
        return "litert" if self.source.endswith(".tflite") else ""


def export_command(
    asked: Asked,
    out: Path,
    *,
    formats: list[str] | None = None,
    target: str | None = None,
    layer: str | None = None,
    pool: Pool = "mean",
    l2: bool = False,
    project: int | None = None,
    recipe: str = "tuned",
    gate: Gate | None = None,
    accepted: str = "",
    augmented: int = 0,
    parity: int = 4,
    frontier: Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ExportResult:
    """Export a network into the bundle `out`; the keywords are those of `wanted.Wanted`.

    Parameters
    ----------
    formats : some of `recipe.FORMATS`; None: what `target` wants, or the usual, but for those
        whose converter is missing.
    target : name or file of a device profile.
    progress : called with what begins and the share done, 0..1.

    Raises
    ------
    InputError : arguments that contradict each other or name nothing.
    MissingExtraError : a package of the `export` extra is missing.
    ExportError, FidelityError, StorageError : see `pipeline.export`.
    """
    forbid_telemetry()
    board = _target(target)
    wanted = Wanted(
        formats=_formats(asked, formats, board, recipe),
        optional=formats is None and recipe in ("tuned", "plain"),
        recipe=recipe,
        layer=layer,
        pool=pool,
        l2=l2,
        project=project,
        gate=gate or Gate(),
        accepted=accepted,
        augmented=augmented,
        parity=parity,
        frontier=frontier,
        target=board,
        seed=seed,
    )
    if out.suffix != ".edgecl" or not out.parent.is_dir():
        raise InputError(f"expected a file NAME.edgecl in an existing folder, got {out}")
    _refuse_contradictions(asked, wanted)
    if find_spec("torch") is None:
        raise MissingExtraError("exporting", "export")

    from edge_cl_export.pipeline import export

    network, material = _prepared(asked, wanted, progress)
    return export(
        network, material, wanted, out, command=_typed(asked, wanted, formats), progress=progress
    )


def layers_command(asked: Asked) -> tuple[Layer, ...]:
    """Return the layers of a network that a layer can be chosen from, with their shapes.

    Raises
    ------
    InputError : a network that came as a file: its tensors are named in it.
    """
    if asked.ready:
        raise InputError(
            f"{asked.source} is a file, whose tensors have names of their own",
            hint="look at it with a viewer of ONNX or TFLite files, and give --layer TENSOR",
        )
    if find_spec("torch") is None:
        raise MissingExtraError("exporting", "export")
    from edge_cl_export.graph.layers import layers

    backbone = _backbone(asked, seed=0)
    return layers(backbone.module, backbone.preparation)


def _target(name: str | None) -> Target | None:
    if name is None:
        return None
    from edge_cl_export.target.board import choose_target

    return choose_target(name)


def _formats(
    asked: Asked, formats: list[str] | None, target: Target | None, recipe: str
) -> tuple[str, ...]:
    if formats is not None:
        return tuple(formats_for(formats))
    if recipe not in ("tuned", "plain"):
        return (parse_recipe(recipe).format,)
    chosen = list(USUAL) if target is None else target.formats
    if asked.ready:
        chosen = [name for name in chosen if name.startswith(asked.ready)]
        if not chosen:
            raise InputError(f"{asked.source} can become no format that the board wants")
    return tuple(formats_for(chosen))


def _refuse_contradictions(asked: Asked, wanted: Wanted) -> None:
    if asked.calibration is not None and asked.data_free:
        raise InputError("expected either pictures to calibrate on or none, not both")
    if asked.adapt_mode not in ("film", "body"):
        raise InputError(f"expected to adapt by film or body, got {asked.adapt_mode!r}")
    int8 = any("int8" in name for name in wanted.formats)
    known = re.fullmatch(r"[a-z0-9-]+", asked.source) is not None
    if int8 and not known and asked.calibration is None and not asked.data_free:
        raise InputError(
            "int8 needs pictures to calibrate on",
            hint="give --calibration DIR, or --data-free, or ask for float formats only",
        )
    if asked.layout is not None and not asked.ready:
        raise InputError(f"--layout is of a network that comes as a file, not of {asked.source}")
    if asked.ready:
        for name, given in (
            ("--data-free", asked.data_free),
            ("--adapt", asked.adapt is not None),
            ("--project", wanted.project is not None),
            ("--frontier", wanted.frontier is not None),
            ("--random-weights", not asked.weights),
        ):
            if given:
                raise InputError(f"{name} needs a PyTorch network, {asked.source} is a file")
        foreign = [name for name in wanted.formats if not name.startswith(asked.ready)]
        if foreign:
            raise InputError(
                f"{asked.source} cannot become {foreign[0]}",
                hint="export the network that it was made from",
            )


def _prepared(asked: Asked, wanted: Wanted, progress: Progress | None) -> tuple[Network, Material]:
    """Load the network and the pictures, adapt the one, distil the others where asked to."""
    from edge_cl_export.network import of_backbone, of_ready

    if asked.ready:
        material = _material(asked, wanted)
        return of_ready(_ready(asked, wanted), Path(asked.source).name, material), material
    backbone = _backbone(asked, seed=wanted.seed)
    module = backbone.module
    about: dict[str, object] = {}
    notes: tuple[str, ...] = ()
    if asked.adapt is not None:
        from edge_cl_export.adapt import adapt

        adapted = adapt(
            module, backbone.preparation, open_pictures(asked.adapt), mode=asked.adapt_mode,
            seed=wanted.seed, progress=progress,
        )  # fmt: skip
        module = adapted.module
        about["adaptation"], notes = adapted.report, (adapted.sentence,)
    if asked.data_free:
        from edge_cl_export.pictures.distil import distilled_material

        material = distilled_material(module, backbone.preparation, wanted.seed, progress)
    else:
        material = _material(asked, wanted)
    return of_backbone(backbone, module, material.calibration, wanted, about, notes), material


def _ready(asked: Asked, wanted: Wanted) -> ReadyOnnx | ReadyTflite:
    from edge_cl_export.ready.onnx_network import open_onnx
    from edge_cl_export.ready.tflite_network import open_tflite

    path = Path(asked.source)
    opened = open_onnx if asked.ready == "onnx" else open_tflite
    return opened(
        path, layer=wanted.layer, size=asked.size, mean=asked.mean, std=asked.std,
        pool=wanted.pool, l2=wanted.l2, layout=asked.layout,
    )  # fmt: skip


def _material(asked: Asked, wanted: Wanted) -> Material:
    if asked.calibration is None:
        pictures, origin = demo_pictures(), "the training pictures that ship with edge-cl"
    else:
        pictures, origin = open_pictures(asked.calibration), asked.calibration.name
    return Material.of(pictures, origin, seed=wanted.seed, augmented=wanted.augmented)


def _backbone(asked: Asked, seed: int) -> Backbone:
    from edge_cl_export.sources import open_source

    return open_source(
        asked.source, weights=asked.weights, size=asked.size, mean=asked.mean, std=asked.std,
        seed=seed,
    )  # fmt: skip


def _typed(asked: Asked, wanted: Wanted, formats: list[str] | None) -> str:
    """Return the command that makes the same bundle again."""
    source = Path(asked.source).name if asked.ready or ".py:" in asked.source else asked.source
    words = ["edge-cl export", source]
    words += [f"--format {name}" for name in wanted.formats] if formats is not None else []
    if wanted.target is not None:
        words.append(f"--target {wanted.target.profile.name!r}")
    given = {
        "--input-size": asked.size and "{}x{}".format(*asked.size),
        "--mean": asked.mean and ",".join(f"{v:g}" for v in asked.mean),
        "--std": asked.std and ",".join(f"{v:g}" for v in asked.std),
        "--layout": asked.layout,
        "--layer": wanted.layer,
        "--pool": wanted.pool if wanted.pool != "mean" else None,
        "--project": wanted.project,
        "--adapt": asked.adapt and asked.adapt.name,
        "--adapt-mode": asked.adapt_mode if asked.adapt and asked.adapt_mode != "film" else None,
        "--calibration": asked.calibration and asked.calibration.name,
        "--augment": wanted.augmented or None,
        "--recipe": wanted.recipe if wanted.recipe != "tuned" else None,
        "--min-cosine": _unusual(wanted.gate.cosine_mean, Gate().cosine_mean),
        "--min-worst": _unusual(wanted.gate.cosine_worst, Gate().cosine_worst),
        "--max-loss": _unusual(wanted.gate.head_loss, Gate().head_loss),
        "--accept": f'"{wanted.accepted}"' if wanted.accepted else None,
        "--parity": wanted.parity if wanted.parity != 4 else None,
        "--seed": wanted.seed,
    }
    words += [f"{option} {value}" for option, value in given.items() if value is not None]
    for option, chosen in (
        ("--l2", wanted.l2),
        ("--data-free", asked.data_free),
        ("--random-weights", not asked.weights),
    ):
        words += [option] * chosen
    return " ".join(words)


def _unusual(value: float, usual: float) -> str | None:
    return None if value == usual else f"{value:g}"
