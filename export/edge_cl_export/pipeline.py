"""The export itself: make every file that was asked for, judge it, write only what passed.

    network ─ workshop ─┬ float files ─ judge
                        └ int8 files  ─ judge ─ remedies, until the gate holds
    judged files, parity vectors, report, card ─ bundle

Every file is judged through the runtime's own runners, the code that a device runs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_cl.bundle import EmbeddingSpec, EncoderSpec
from edge_cl.errors import BackendError, ExportError, FidelityError, MissingExtraError
from edge_cl_export.encoder_file import EncoderFile
from edge_cl_export.making import Maker
from edge_cl_export.network import Network
from edge_cl_export.pictures.material import Material
from edge_cl_export.proof.fidelity import Fidelity, Reference
from edge_cl_export.proof.judge import Judge, Latency, latency
from edge_cl_export.remedy.climb import Rung
from edge_cl_export.remedy.frontier_picture import draw_frontier
from edge_cl_export.steps import Progress, Steps
from edge_cl_export.wanted import Wanted
from edge_cl_export.workshop import TracedWorkshop
from edge_cl_export.write import embedding_spec, write_export

__all__ = ["ExportResult", "export"]

CREATED = "1980-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What was written; by member: its bytes, fidelity, the way there, latency on this machine.

    latency : not in the bundle, for it is of this machine, and differs from run to run.
    misses : of the gate, where they were accepted by name.
    skipped : what was not made, and why, a line each.
    notes : what else is worth knowing, a sentence each.
    """

    path: Path
    size_bytes: int
    embedding: EmbeddingSpec
    encoders: tuple[EncoderSpec, ...]
    encoder_bytes: dict[str, int]
    fidelity: dict[str, Fidelity]
    rungs: dict[str, tuple[Rung, ...]]
    misses: dict[str, tuple[str, ...]]
    latency: dict[str, Latency]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    calibration_pictures: int
    seconds: float


def export(
    network: Network,
    material: Material,
    wanted: Wanted,
    out: Path,
    *,
    command: str = "",
    created: str = CREATED,
    progress: Progress | None = None,
) -> ExportResult:
    """Export `network` into one bundle at `out`, as `wanted`.

    Parameters
    ----------
    material : pictures to calibrate and to judge on.
    command : what a user types to get the same; stands in the model card.
    created : ISO time that stands in the manifest; fixed, for equal bytes.

    Raises
    ------
    InputError : a picture cannot be read.
    ExportError : the network cannot be converted.
    FidelityError : an encoder file misses the gate and no remedy is left; nothing was written.
    MissingExtraError : a converter or a runtime is not installed.
    StorageError : the disk refused.
    """
    started = time.monotonic()
    step = Steps(progress, 3 + 3 * len(wanted.formats))
    step("running the float model")
    judge = _judge(network, material)
    maker = Maker(network.workshop, judge, wanted, step)
    files: list[EncoderFile] = []
    skipped: list[str] = []
    for format_ in maker.formats:
        made = _made(maker, format_, wanted)
        if isinstance(made, EncoderFile):
            files.append(made)
        else:
            skipped.append(f"{format_}: {made}")
    if not files:
        raise ExportError(f"no format could be made; {skipped[0]}")
    step("timing")
    timed = {
        file.spec.member: latency(file.data, file.recipe, judge.pictures[:1]) for file in files
    }
    if wanted.frontier is not None and isinstance(network.workshop, TracedWorkshop):
        step("sensitivity of each layer")
        _draw(network.workshop, files, wanted.frontier)
    step("writing")
    write_export(
        out, network, judge, files, material, wanted, skipped=skipped, command=command,
        created=created,
    )  # fmt: skip
    return ExportResult(
        path=out,
        size_bytes=out.stat().st_size,
        embedding=judge.embedding,
        encoders=tuple(f.spec for f in files),
        encoder_bytes={f.spec.member: len(f.data) for f in files},
        fidelity={f.spec.member: f.fidelity for f in files},
        rungs={f.spec.member: f.rungs for f in files},
        misses={f.spec.member: f.misses for f in files if f.misses},
        latency=timed,
        skipped=tuple(skipped),
        notes=(*network.notes, *_reasons(wanted)),
        calibration_pictures=len(material.calibration),
        seconds=round(time.monotonic() - started, 2),
    )


def _made(
    maker: Maker, format_: str, wanted: Wanted
) -> EncoderFile | MissingExtraError | ExportError | BackendError:
    """Return the file, or why there is none where it may be left out: never for its quality."""
    try:
        return maker.make(format_)
    except FidelityError:
        raise
    except (MissingExtraError, ExportError, BackendError) as error:
        if wanted.optional:
            return error
        raise


def _reasons(wanted: Wanted) -> tuple[str, ...]:
    """Say why the board wants what was made."""
    choices = () if wanted.target is None else wanted.target.choices
    return tuple(f"{c.format}: {c.why}" for c in choices if c.format in wanted.formats)


def _draw(workshop: TracedWorkshop, files: list[EncoderFile], path: Path) -> None:
    """Draw the frontier; marked is what the last int8 file was made of."""
    kept = [file.recipe.kept for file in files if file.recipe.integer]
    chosen = next(
        (c for c in workshop.frontier if kept and workshop.counted(c) == kept[-1]),
        workshop.frontier[0],
    )
    draw_frontier(workshop.sensitivities, workshop.frontier, chosen, path)


def _judge(network: Network, material: Material) -> Judge:
    """Run the float network on all pictures; what it gives on some sets the grid."""
    workshop, spec = network.workshop, network.preparation.spec
    seen = [workshop.features(b) for b in material.calibration.batches(spec, workshop.batch)]
    shown = list(material.validation.batches(spec, workshop.batch))
    embedding = embedding_spec(np.concatenate(seen))
    features = np.concatenate([workshop.features(batch) for batch in shown])
    validation = material.validation
    reference = Reference(features, validation.labels, validation.groups, embedding=embedding)
    return Judge(
        pictures=np.concatenate(shown), features=features, reference=reference, embedding=embedding
    )
