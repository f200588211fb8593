"""The exporter's promises: time, sizes, speed and accuracy of what it makes of EfficientNet-Lite0.

    python benchmarks/exporting.py

All usual formats are exported in one command, and timed. Every file is then run on one thread,
twenty pictures at a time, in turn with the fp32 file of its runtime. fp32 and int8 features of
Fashion-MNIST (5,000 learned, 10,000 asked) and of the SH3D stream's protocol B
(`data/protocols.py`) are learned by three heads with their defaults. A second export begins
with none of the remedies and is held to a gate that none of them holds, so that each is made
and judged: what each one gains. It writes results and tables. A quarter of an hour on two cores,
once the stream is drawn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from data.encoding import kept_features
from data.fashion import idx_folder, load_features
from data.packages import default_cache
from data.protocols import sh3d_splits
from data.sh3d import index, load_frames
from report import table, write_results, write_section

from edge_cl.arrays import F32, I64
from edge_cl.bundle import Bundle, EncoderSpec, open_bundle
from edge_cl.encoders import Encoder, open_encoder
from edge_cl.features import Identity, feature_map
from edge_cl.heads import HEADS, build_head
from edge_cl.moments import Moments
from edge_cl_export import Asked, ExportResult, Gate, export_command

RESULTS = Path(__file__).parent / "results" / "exporting-x86-64.json"
PAGE = Path(__file__).parent.parent / "docs" / "concepts" / "proven-encoders.md"
HEADS_SHOWN = ("ridge", "lda", "ncm")
COMPARED = (("onnx", "fp32"), ("onnx", "int8"), ("litert", "int8"))
ROUNDS, RUNS = 15, 20
PARTS = ("speed", "accuracy", "remedies")
LEARN = 5_000  # of Fashion-MNIST


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--only", choices=PARTS, nargs="*", default=PARTS, help="keep the others")
    wanted = parser.parse_args()
    asked = Asked(source="efficientnet-lite0")
    with tempfile.TemporaryDirectory() as folder:
        exported = export_command(asked, Path(folder) / "lite0.edgecl", progress=_said)
        bundle = open_bundle(exported.path)
        results: dict[str, object] = {}
        if set(wanted.only) != set(PARTS):
            results = json.loads(wanted.out.read_text(encoding="utf-8"))["results"]
        results["export"] = _exported(exported)
        if "speed" in wanted.only:
            results["speed"] = speed(bundle)
        if "accuracy" in wanted.only:
            results["accuracy"] = accuracy(bundle, wanted.cache)
        if "remedies" in wanted.only:
            results["remedies"] = remedies(asked, Path(folder) / "plain.edgecl")
    write_results(
        wanted.out, results, ("torch", "onnx", "litert-torch", "ai-edge-quantizer", "onnxscript")
    )
    for name, text in tables(results).items():
        print(f"\n{text}")
        write_section(name, text, PAGE)


def speed(bundle: Bundle) -> dict[str, dict[str, float]]:
    """Return milliseconds of one picture on one thread, and the fp32 file's over them.

    Each file takes turns with the fp32 file of its runtime, block after block.
    """
    specs = bundle.manifest.encoders
    encoders = {spec.member: _opened(bundle, spec, 1) for spec in specs}
    picture = np.random.default_rng(0).integers(0, 256, (1, *bundle.manifest.input.shape), np.uint8)
    found: dict[str, dict[str, float]] = {}
    for spec in specs:
        base, ours = encoders[f"encoder-fp32.{_suffix(spec)}"], encoders[spec.member]
        rounds = [(_block(base, picture), _block(ours, picture)) for _ in range(ROUNDS)]
        times = [ms for _, block in rounds for ms in block]
        ratios = [statistics.median(a) / statistics.median(b) for a, b in rounds]
        found[spec.member] = {
            "median_ms": round(statistics.median(times), 3),
            "p99_ms": round(float(np.quantile(times, 0.99)), 3),
            "speedup": round(statistics.median(ratios), 3),
            "speedup_least": round(min(ratios), 3),
            "speedup_most": round(max(ratios), 3),
        }
    return found


def _block(encoder: Encoder, picture: np.ndarray) -> list[float]:
    """Return milliseconds of `RUNS` pictures; two before them bring the network into the cache."""
    times = []
    for _ in range(2 + RUNS):
        start = time.perf_counter()
        encoder.encode(picture)
        times.append(1e3 * (time.perf_counter() - start))
    return times[2:]


def accuracy(bundle: Bundle, cache: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Return accuracies by stream, encoder and head."""
    found: dict[str, dict[str, dict[str, float]]] = {"Fashion": {}, "SH3D B": {}}
    split = sh3d_splits(index())["B"]
    for runtime, precision in COMPARED:
        encoder = open_encoder(bundle, runtime=runtime, precision=precision, threads=1)
        name = f"{runtime}-{precision}"
        fashion = load_features(idx_folder(cache), cache, learn=LEARN, encoder=encoder)
        found["Fashion"][name] = _heads(
            bundle, fashion.x, fashion.y, fashion.x_test, fashion.y_test
        )
        x = kept_features(encoder, load_frames(cache), cache, "sh3d")
        found["SH3D B"][name] = _heads(
            bundle, x[split.learn], split.label[split.learn], x[split.test], split.label[split.test]
        )
    return found


def remedies(asked: Asked, out: Path) -> list[dict[str, object]]:
    """Return what each remedy gains, one after another, on the ONNX int8 file."""
    made = export_command(
        asked,
        out,
        formats=["onnx-int8"],
        recipe="plain",
        gate=Gate(cosine_mean=1.0, cosine_worst=1.0, head_loss=0.0),
        accepted="every remedy is to be tried",
        progress=_said,
    )
    return [asdict(rung) for rung in made.rungs["encoder-int8.onnx"]]


def tables(results: dict[str, object]) -> dict[str, str]:
    """Return the tables by the name of their place in the page."""
    export, timed = results["export"], results["speed"]
    shown = {
        "formats": table(
            ("file", "MB", "cosine, mean", "worst", "ms", "times faster than its fp32"),
            [
                (
                    f"`{e['recipe']}`",
                    f"{e['bytes'] / 1e6:.2f}",
                    f"{e['cosine_mean']:.4f}",
                    f"{e['cosine_worst']:.4f}",
                    f"{timed[member]['median_ms']:.2f}",
                    f"{timed[member]['speedup']:.2f}",
                )
                for member, e in export["encoders"].items()
            ],
        )
    }
    if "accuracy" in results:
        shown["accuracy"] = table(
            ("stream, head", *(f"{r} {p}" for r, p in COMPARED)),
            [
                (
                    f"{stream}, {head}",
                    *(f"{by[f'{r}-{p}'][head]:.4f}" for r, p in COMPARED),
                )
                for stream, by in results["accuracy"].items()
                for head in HEADS_SHOWN
            ],
        )
    if "remedies" in results:
        shown["remedies"] = table(
            ("remedy", "cosine, mean", "worst", "gained", "taken"),
            [
                (
                    r["remedy"],
                    f"{r['cosine_mean']:.4f}",
                    f"{r['cosine_worst']:.4f}",
                    f"{r['gained']:+.4f}",
                    "yes" if r["taken"] else "no",
                )
                for r in results["remedies"]
            ],
        )
    return shown


def _exported(made: ExportResult) -> dict[str, object]:
    return {
        "seconds": made.seconds,
        "skipped": list(made.skipped),
        "encoders": {
            spec.member: {
                "recipe": spec.recipe,
                "bytes": made.encoder_bytes[spec.member],
                **asdict(made.fidelity[spec.member]),
            }
            for spec in made.encoders
        },
    }


def _heads(bundle: Bundle, x: F32, y: I64, x_test: F32, y_test: I64) -> dict[str, float]:
    to_grid = feature_map(Identity(), bundle.manifest.embedding)
    moments = Moments(to_grid.d)
    moments.add(to_grid(x), y)
    asked = to_grid(x_test)
    found = {}
    for name in HEADS_SHOWN:
        head = build_head(
            HEADS[name], moments, scale=to_grid.scale, mean_square_norm=to_grid.mean_square_norm
        )
        found[name] = round(float((head.scores(asked).argmax(1) == y_test).mean()), 5)
    return found


def _opened(bundle: Bundle, spec: EncoderSpec, threads: int) -> Encoder:
    return open_encoder(bundle, runtime=spec.runtime, precision=spec.precision, threads=threads)


def _suffix(spec: EncoderSpec) -> str:
    return "onnx" if spec.runtime == "onnx" else "tflite"


def _said(what: str, share: float) -> None:
    print(f"{share:4.0%} {what}", flush=True)


if __name__ == "__main__":
    main()
