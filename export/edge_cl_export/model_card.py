"""The model card: what a person should know before using the encoder."""

from __future__ import annotations

from collections.abc import Mapping

from edge_cl.bundle import EmbeddingSpec, EncoderSpec
from edge_cl_export.backbones import Backbone
from edge_cl_export.fidelity import Fidelity, HeadAccuracy

__all__ = ["model_card"]


def model_card(
    backbone: Backbone,
    embedding: EmbeddingSpec,
    encoders: tuple[EncoderSpec, ...],
    sizes: Mapping[str, int],
    fidelity: Mapping[str, Fidelity],
    command: str,
) -> str:
    """Return the card as Markdown; `sizes` (bytes) and `fidelity` by member."""
    p = backbone.preparation
    rows = [
        f"| `{e.member}` | `{e.recipe}` | {sizes[e.member] / 1e6:.2f} "
        f"| {fidelity[e.member].cosine_mean:.4f} | {fidelity[e.member].cosine_worst:.4f} "
        f"| {_accuracy(fidelity[e.member].nearest_mean)} "
        f"| {_accuracy(fidelity[e.member].ridge)} |"
        for e in encoders
    ]
    judged = fidelity[encoders[0].member].pictures
    return "\n".join(
        [
            f"# {backbone.name}",
            "",
            f"{backbone.description}.",
            "",
            f"- Licence of the weights: {backbone.licence}",
            f"- Source: {backbone.source}",
            f"- Made by: `{command}`",
            "",
            "## Input and output",
            "",
            f"A uint8 RGB picture of {p.size[0]} x {p.size[1]} pixels, height x width x channel "
            f"({p.resize}, {p.fit}). The network itself applies (x - mean) / std with mean "
            f"{_numbers(p.mean)} and std {_numbers(p.std)}, in pixel units. Out come "
            f"{embedding.d} float32 features, put on a grid of {embedding.scale:g}.",
            "",
            "## Fidelity",
            "",
            f"Against the float model, on {judged} pictures that were not calibrated on. Heads: "
            "accuracy with these features (with float features), learned and tested on halves.",
            "",
            "| file | recipe | MB | cosine, mean | cosine, worst | nearest mean | ridge |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            "## Limits",
            "",
            "The encoder is frozen. What it does not tell apart, no head can learn. Integer "
            "results differ by rounding between runtimes and processors; the parity vectors in "
            "this bundle say what the float model gives.",
            "",
        ]
    )


def _accuracy(found: HeadAccuracy | None) -> str:
    return "" if found is None else f"{found.deployed:.3f} ({found.float_features:.3f})"


def _numbers(values: tuple[float, ...]) -> str:
    distinct = values[:1] if len(set(values)) == 1 else values
    return ", ".join(f"{v:g}" for v in distinct)
