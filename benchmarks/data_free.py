"""Int8 without data: calibrated on real pictures, on distilled ones, and on noise.

    python benchmarks/data_free.py --out benchmarks/results/data-free-x86-64.json

EfficientNet-Lite0 as ONNX int8, judged on Fashion-MNIST test pictures: cosine to the float
features, and the accuracy of heads that learned one half and answer the other. "real" are the
training pictures that ship with edge-cl, which hold some of Fashion-MNIST's training pictures;
"distilled" see `edge_cl_export.pictures.distil`; "photo noise" is what these start from.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from data.fashion import idx_folder, read_idx
from data.packages import default_cache
from report import write_results

from edge_cl.arrays import U8
from edge_cl_export import demo_pictures, load_named
from edge_cl_export.graph.embedding import Embedding, embed
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.pictures.calibration import Pictures
from edge_cl_export.pictures.distil import COUNT, distil
from edge_cl_export.pictures.photo_noise import PHOTO_MEAN, PHOTO_STD, photo_noise
from edge_cl_export.proof.fidelity import Fidelity, Reference
from edge_cl_export.proof.judge import Judge
from edge_cl_export.recipe import parse_recipe
from edge_cl_export.workshop import TracedWorkshop
from edge_cl_export.write import embedding_spec

BACKBONE = "efficientnet-lite0"
RECIPES = tuple(
    parse_recipe(f"onnx-int8-qdq-u8s8-perchannel-percentile99.99-{rounding}")
    for rounding in ("gptq", "corrected")
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Pictures to calibrate on; `about`: how they came to be, with seconds."""

    pictures: Pictures
    about: dict[str, object]


def sources(embedding: Embedding, preparation: Preparation, seed: int) -> dict[str, Source]:
    """Return what is compared, by name."""
    real = demo_pictures().split(seed).calibration
    wall, cpu = time.perf_counter(), time.process_time()
    made = distil(embedding, preparation, seed=seed)
    about = {
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "threads": torch.get_num_threads(),
        "loss_before": made.before,
        "loss_after": made.after,
    }
    rng = np.random.default_rng(seed)
    shape = (COUNT, *preparation.size, 3)
    photo = photo_noise(COUNT, preparation.size, torch.Generator().manual_seed(seed))
    noises = {
        "photo noise": photo.permute(0, 2, 3, 1).numpy(),
        "Gaussian noise": rng.normal(PHOTO_MEAN, PHOTO_STD, shape),
        "uniform noise": rng.uniform(-0.5, 255.5, shape),
    }
    return {
        "real": Source(pictures=real, about={}),
        "distilled": Source(pictures=made.served(seed), about=about),
        **{
            name: Source(pictures=_arrays(name, np.rint(x).clip(0, 255).astype(np.uint8)), about={})
            for name, x in noises.items()
        },
    }


def judge_of(embedding: Embedding, preparation: Preparation, folder: Path, most: int) -> Judge:
    """Return `most` test pictures of Fashion-MNIST, with what the float network gives for them."""
    grey = read_idx(folder, "t10k-images-idx3-ubyte")[:most]
    labels = read_idx(folder, "t10k-labels-idx1-ubyte")[:most].astype(np.int64)
    asked = _arrays("fashion", np.repeat(grey[..., None], 3, axis=3))
    batches = list(asked.batches(preparation.spec, 8))
    reference = np.concatenate([embed(embedding, batch) for batch in batches])
    grid = embedding_spec(reference)
    known = Reference(reference, labels, embedding=grid)
    return Judge(np.concatenate(batches), reference, known, grid)


def _arrays(name: str, images: U8) -> Pictures:
    names = tuple(f"{name}[{i}]" for i in range(len(images)))
    return Pictures(names, None, lambda i: images[i])


def _line(name: str, rounding: str, found: Fidelity) -> str:
    judged = {"ncm": found.nearest_mean, "lda": found.lda, "ridge": found.ridge}
    heads = ", ".join(
        f"{head} {accuracy.deployed:.4f} ({-100 * accuracy.loss:+.2f})"
        for head, accuracy in judged.items()
        if accuracy is not None
    )
    cosines = f"cosine {found.cosine_mean:.4f} worst {found.cosine_worst:.4f}"
    return f"{name:16} {rounding:10} {cosines}; {heads}"


def main() -> None:
    """Measure, print, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cache", type=Path, default=default_cache(), help="for what is fetched")
    parser.add_argument("--pictures", type=int, default=1000, help="of Fashion-MNIST's test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the results here, as JSON")
    options = parser.parse_args()
    backbone = load_named(BACKBONE)
    preparation = backbone.preparation
    embedding = Embedding(backbone.module, preparation).eval()
    compared = sources(embedding, preparation, options.seed)
    print(f"distilled: {compared['distilled'].about}", flush=True)
    judge = judge_of(embedding, preparation, idx_folder(options.cache), options.pictures)
    results: dict[str, object] = {"pictures": len(judge.pictures), "seed": options.seed}
    for name, source in compared.items():
        shop = TracedWorkshop(embedding, preparation, source.pictures)
        found: dict[str, object] = {"pictures": len(source.pictures), **source.about}
        for recipe in RECIPES:
            fidelity = judge(shop.make(recipe), recipe)
            found[recipe.name] = asdict(fidelity)
            print(_line(name, recipe.rounding, fidelity), flush=True)
        results[name] = found
    if options.out:
        write_results(options.out, {"data-free": results}, ["torch", "onnx"])


if __name__ == "__main__":
    main()
