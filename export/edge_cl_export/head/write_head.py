"""`edge-cl export-head`, as a function: arguments already parsed, data returned.

The state is opened as `predict` opens it: nothing in it changes, and nothing waits for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_cl import files
from edge_cl.arrays import F64
from edge_cl.encoders.onnx_runner import forbid_telemetry
from edge_cl.errors import FidelityError, InputError, MissingExtraError
from edge_cl.knowledge import Knowledge
from edge_cl.onnx_file import check_onnx
from edge_cl.pipeline import Pipeline
from edge_cl.specs import described
from edge_cl.state import Wishes, open_state
from edge_cl.tflite_file import check_tflite
from edge_cl_export.head import proof
from edge_cl_export.head.rule import chosen_classes, read_rule
from edge_cl_export.head.steps import map_steps

__all__ = ["LARGEST_DIFFERENCE", "ExportedHead", "Progress", "export_head"]

LARGEST_DIFFERENCE = 1e-5  # of scores, in units of their own size; see `proof`

Progress = Callable[[str, float], None]  # what begins, and the share that is done


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedHead:
    """What was written.

    labels : the class of each score, in order.
    input : name, dtype and shape of what goes in.
    difference : to the learner's scores, measured on `compared` rows; see `proof`.
    """

    path: Path
    size_bytes: int
    sha256: str
    format: str
    head: str
    map: str
    with_encoder: bool
    input: str
    labels: tuple[str, ...]
    difference: float
    compared: int


def export_head(
    state: Path,
    out: Path,
    *,
    with_encoder: bool = False,
    head: str | None = None,
    among: Sequence[str] | None = None,
    bundle: Path | None = None,
    require_signature: Path | None = None,
    progress: Progress = lambda text, share: None,
) -> ExportedHead:
    """Write the head of a state as one ONNX or TFLite file: features, or a picture, to scores.

    Parameters
    ----------
    out : a `.onnx` or a `.tflite` file, in a folder that is there.
    with_encoder : put the encoder in front, the one that the state was learned with.
    head : another head over what was learned, by name; None: the one that serves.
    among : only these classes; None: all that have samples.
    bundle, require_signature : see `edge_cl.Learner.open`.

    Raises
    ------
    InputError : a path, a head or a label that cannot be.
    StateError : nothing was learned.
    ExportError : a head or a map that the format cannot hold.
    FidelityError : the file does not score as the learner does; nothing was written.
    MissingExtraError : the library that writes the format, or runs it, is not installed.
    """
    tflite = _is_tflite(out)
    progress("opening the state", 0.0)
    wishes = Wishes(
        bundle=bundle, head=head, compare=None, feature_map=None, preset=None, forgetting=None,
        durability="lesson", archive=False, thumbnails=False, runtime=None, precision=None,
        threads=1, require_signature=require_signature, read_only=True,
    )  # fmt: skip
    pipeline, journal, _, _ = open_state(state, wishes)
    journal.close(save=False)
    known = journal.knowledge
    classes = chosen_classes(known, among)
    labels = tuple(known.labels[c] for c in classes)
    encoder = _encoder_of(pipeline, tflite) if with_encoder else None

    progress("writing the graph", 0.2)
    signed = tflite and encoder is not None and _writer("to_tflite").takes_int8(encoder)
    facts = _facts(pipeline, known, labels, with_encoder, signed=signed)
    blob = _written(pipeline, known, classes, labels, facts, encoder, tflite)
    (check_tflite if tflite else check_onnx)(blob, out.name)

    progress("comparing its scores with the learner's", 0.6)
    spec = pipeline.encoder.spec
    name = spec.input_name if encoder is not None and spec is not None else "features"
    found, expected = _compared(blob, pipeline, known, classes, encoder is not None, tflite, name)
    apart = proof.difference(found, expected)
    if not apart <= LARGEST_DIFFERENCE:
        raise FidelityError(
            f"the scores of {out.name} differ from the learner's by {apart:.1e} of their size, "
            f"at most {LARGEST_DIFFERENCE:.0e} may be; nothing was written",
            hint="float32 does not hold it: choose its strength (edge-cl tune-head), or take "
            "another --head",
        )
    files.write_atomically(out, blob)
    progress("done", 1.0)
    return ExportedHead(
        path=out,
        size_bytes=len(blob),
        sha256=hashlib.sha256(blob).hexdigest(),
        format="tflite" if tflite else "onnx",
        head=facts["head"],
        map=facts["map"],
        with_encoder=with_encoder,
        input=facts["input"],
        labels=labels,
        difference=apart,
        compared=len(found),
    )


def _is_tflite(out: Path) -> bool:
    if out.suffix not in (".onnx", ".tflite"):
        raise InputError(f"expected a file that ends in .onnx or .tflite, got {out}")
    if out.is_dir():
        raise InputError(f"{out} is a folder")
    if not out.parent.is_dir():
        raise InputError(f"no such folder: {out.parent}")
    return out.suffix == ".tflite"


def _encoder_of(pipeline: Pipeline, tflite: bool) -> bytes:
    spec, bundle = pipeline.encoder.spec, pipeline.bundle
    if spec is None:
        raise InputError(
            f"{bundle.name} holds no encoder: its features come ready-made",
            hint="export the head alone, without --with-encoder",
        )
    if (spec.runtime == "litert") != tflite:
        wanted, suffix = ("LiteRT", "onnx") if tflite else ("ONNX", "tflite")
        raise InputError(
            f"the state was learned with the encoder {spec.member}; a {wanted} one has other "
            "features, and the head would not fit them",
            hint=f"--out FILE.{suffix}, or the head alone, without --with-encoder",
        )
    return bundle.files[spec.member]


def _written(
    pipeline: Pipeline,
    known: Knowledge,
    classes: Sequence[int],
    labels: Sequence[str],
    facts: dict[str, str],
    encoder: bytes | None,
    tflite: bool,
) -> bytes:
    embedding, spec = pipeline.bundle.manifest.embedding, pipeline.encoder.spec
    rule, steps = read_rule(known, classes), map_steps(pipeline.map_spec, embedding)
    if tflite:
        made = _writer("to_tflite").head_tflite(steps, rule, embedding.d, facts, labels, encoder)
    else:
        front = (encoder, spec.output_name) if encoder is not None and spec is not None else None
        made = _writer("to_onnx").head_onnx(steps, rule, embedding.d, facts, front)
    return bytes(made)


def _writer(name: str) -> Any:
    forbid_telemetry()
    try:
        return import_module(f"edge_cl_export.head.{name}")
    except ModuleNotFoundError as error:
        feature = "a head as TFLite" if name == "to_tflite" else "a head as ONNX"
        raise MissingExtraError(feature, "export-head") from error


def _facts(
    pipeline: Pipeline,
    known: Knowledge,
    labels: Sequence[str],
    with_encoder: bool,
    *,
    signed: bool,
) -> dict[str, str]:
    """Return what whoever runs the file must know, for the metadata of the file."""
    m = pipeline.bundle.manifest
    given = f"features float32 (n, {m.embedding.d})"
    if with_encoder:
        i, shape = m.input, ", ".join(str(n) for n in m.input.shape)
        kind = "int8, each pixel less 128," if signed else i.dtype
        used = f", of that the middle {i.share:g}" if i.share < 1.0 else ""
        given = f"{i.colour} {kind} (n, {shape}), resized {i.resize}, {i.fit}{used}"
    return {
        "bundle": pipeline.bundle.name,
        "encoder_sha256": pipeline.encoder.sha256,
        "head": described(known.options[0]),
        "input": given,
        "labels": json.dumps(list(labels), ensure_ascii=False),
        "map": described(pipeline.map_spec),
    }


def _compared(
    blob: bytes,
    pipeline: Pipeline,
    known: Knowledge,
    classes: Sequence[int],
    with_encoder: bool,
    tflite: bool,
    inputs: str,
) -> tuple[F64, F64]:
    """Return the scores of the file and those of the learner, for the same rows."""
    embedding = pipeline.bundle.manifest.embedding
    scorer = proof.scores_of_learner(known, pipeline.map_spec, embedding, classes)
    rows: NDArray[Any]
    if with_encoder:
        rows = proof.encoder_inputs(pipeline.bundle)
        x = np.concatenate([pipeline.encoder.encode(one[None]) for one in rows])
    else:
        rows = x = proof.feature_rows(pipeline.bundle)
    return proof.scores_of_file(blob, tflite=tflite, inputs=inputs, rows=rows), scorer(x)
