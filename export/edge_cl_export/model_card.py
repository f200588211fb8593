"""The model card: what a person should know before using the encoder."""

from __future__ import annotations

from collections.abc import Sequence

from edge_cl.bundle import EmbeddingSpec
from edge_cl_export.encoder_file import EncoderFile
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.network import Network
from edge_cl_export.pictures.material import Material
from edge_cl_export.proof.fidelity import HeadAccuracy
from edge_cl_export.wanted import Wanted

__all__ = ["model_card"]

WORST_STAGES = 3


def model_card(
    network: Network,
    embedding: EmbeddingSpec,
    files: Sequence[EncoderFile],
    material: Material,
    wanted: Wanted,
    skipped: Sequence[str],
    command: str,
) -> str:
    """Return the card as Markdown."""
    lines = [
        f"# {network.name}",
        "",
        f"{network.description}.",
        "",
        f"- Licence of the weights: {network.licence}",
        f"- Source: {network.source}",
        f"- Made by: `{command}`",
        *(f"- {note[:1].upper()}{note[1:]}." for note in network.notes),
        "",
        "## Input and output",
        "",
        _input(network.preparation, embedding, wanted),
        "",
        "## Fidelity",
        "",
        *_fidelity(files, material, wanted),
        *_remedies(files),
        *_stages(files),
    ]
    if skipped:
        lines += ["## Not made", "", *(f"- {line}" for line in skipped), ""]
    lines += [
        "## Limits",
        "",
        "The encoder is frozen. What it does not tell apart, no head can learn. Integer "
        "results differ by rounding between runtimes and processors; the parity vectors in "
        "this bundle say what the float model gives and what each file gave where it was made: "
        "`edge-cl verify` compares.",
        "",
    ]
    return "\n".join(lines)


def _input(p: Preparation, embedding: EmbeddingSpec, wanted: Wanted) -> str:
    share = "" if p.spec.share == 1.0 else f", its centred {p.spec.share:.1%} of each side"
    length = " of length one" if wanted.l2 else ""
    return (
        f"A uint8 RGB picture of {p.size[0]} x {p.size[1]} pixels, height x width x channel "
        f"({p.resize}, {p.fit}{share}). The network itself applies (x - mean) / std with mean "
        f"{_numbers(p.mean)} and std {_numbers(p.std)}, in pixel units. Out come "
        f"{embedding.d} float32 features{length}, put on a grid of {embedding.scale:g}."
    )


def _fidelity(files: Sequence[EncoderFile], material: Material, wanted: Wanted) -> list[str]:
    first = files[0].fidelity
    apart = {
        "group": "of other clips or objects than those calibrated on",
        "picture": "that were not calibrated on",
        "seed": "distilled by another seed: no real picture was seen",
    }[material.apart]
    rows = [
        f"| `{f.spec.member}` | `{f.spec.recipe}` | {len(f.data) / 1e6:.2f} "
        f"| {f.fidelity.cosine_mean:.4f} | {f.fidelity.cosine_worst:.4f} "
        f"| {_accuracy(f.fidelity.nearest_mean)} | {_accuracy(f.fidelity.lda)} "
        f"| {_accuracy(f.fidelity.ridge)} |"
        for f in files
    ]
    gate = wanted.gate
    lines = [
        f"Calibrated on {len(material.calibration)} pictures ({material.origin}). Against the "
        f"float model, on {first.pictures} pictures {apart}. Heads: accuracy with these features "
        "(with float features), learned and tested on halves"
        + (f" parted by {first.held_out}." if first.held_out else "."),
        "",
        "| file | recipe | MB | cosine, mean | cosine, worst | nearest mean | LDA | ridge |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"The gate: mean cosine {gate.cosine_mean:g}, worst {gate.cosine_worst:g}, a loss of "
        f"accuracy of at most {gate.head_loss:g} or what chance explains.",
        "",
    ]
    missed = [f"- `{f.spec.member}`: {line}" for f in files for line in f.misses]
    if missed:
        lines += [f"**Accepted although it was missed** ({wanted.accepted}):", "", *missed, ""]
    return lines


def _remedies(files: Sequence[EncoderFile]) -> list[str]:
    climbed = [f for f in files if len(f.rungs) > 1]
    if not climbed:
        return []
    lines = ["## What it took", ""]
    for f in climbed:
        lines += [
            f"`{f.spec.member}`:",
            "",
            "| tried | cosine, mean | cosine, worst | gained | taken |",
            "|---|---|---|---|---|",
            *(
                f"| {r.remedy} | {r.cosine_mean:.4f} | {r.cosine_worst:.4f} | {r.gained:+.4f} "
                f"| {'yes' if r.taken else 'no'} |"
                for r in f.rungs
            ),
            "",
        ]
        if f.float_layers:
            lines += [f"In float: {', '.join(f'`{name}`' for name in f.float_layers)}.", ""]
    return lines


def _stages(files: Sequence[EncoderFile]) -> list[str]:
    lines: list[str] = []
    for f in files:
        if f.spec.precision != "int8" or not f.stages:
            continue
        worst = sorted(f.stages, key=lambda stage: stage.snr_db)[:WORST_STAGES]
        said = "; ".join(
            f"{stage.kind} {stage.layer or ''}".strip() + f" {stage.snr_db:.1f} dB"
            for stage in worst
        )
        lines.append(f"- `{f.spec.member}`, stages with the most noise: {said}")
    return ["## Where the error arises", "", *lines, ""] if lines else []


def _accuracy(found: HeadAccuracy | None) -> str:
    return "" if found is None else f"{found.deployed:.3f} ({found.float_features:.3f})"


def _numbers(values: tuple[float, ...]) -> str:
    distinct = values[:1] if len(set(values)) == 1 else values
    return ", ".join(f"{v:g}" for v in distinct)
