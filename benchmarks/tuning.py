"""Does `edge-cl tune` ever leave a choice slower than ONNX Runtime's own.

    python benchmarks/tuning.py [BUNDLE ...] [--seconds 20] [--repeats 5] [--out FILE]

Each repeat tunes, then measures the choice against ONNX Runtime as it comes anew, in turns. The
bound: the choice is not slower, by more than what two runs of the same thing differ by (2 %).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import perf_counter

import msgspec

from edge_cl import open_bundle
from edge_cl.assets import shipped_bundle
from edge_cl.device import describe_machine
from edge_cl.tuning import tune
from edge_cl.tuning.measure import Workbench
from edge_cl.tuning.race import rounds, standings

BOUND = 1.02


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="*", type=Path, default=[shipped_bundle()])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    results = {}
    for path in asked.bundles:
        bundle = open_bundle(path)
        repeats = []
        for seed in range(asked.repeats):
            found = tune(bundle, seconds=asked.seconds, seed=seed)
            again = _again(bundle, found.chosen, found.baseline, asked.seconds / 2)
            of_run = next(t for t in found.trials if t.setting == found.chosen)
            repeats.append(
                {
                    "chosen": found.chosen.line,
                    "ratio": of_run.ratio,
                    "error": of_run.error,
                    "ratio_again": round(again, 4),
                    "median_ms": of_run.median_ms,
                    "settings": len(found.trials),
                    "not_tried": found.not_tried,
                    "seconds": found.seconds,
                }
            )
            print(repeats[-1])
        results[f"tuning-{bundle.name}-{len(bundle.manifest.encoders)}"] = {
            "baseline": found.baseline.line,
            "ratio": median(r["ratio"] for r in repeats),
            "ratio_again": median(r["ratio_again"] for r in repeats),
            "worst": max(r["ratio"] for r in repeats),
            "repeats": repeats,
        }
    document = {"machine": asdict(describe_machine()), "results": results}
    if asked.out:
        asked.out.write_text(json.dumps(msgspec.to_builtins(document), indent=1) + "\n")
    slow = [n for n, r in results.items() if r["worst"] > 1 or r["ratio_again"] > BOUND]
    print("slower than the default:", ", ".join(slow) or "none")
    return 3 if slow else 0


def _again(bundle, chosen, baseline, seconds: float) -> float:
    if chosen == baseline:
        return 1.0
    bench = Workbench(bundle, bundle.manifest.encoders)
    timed = {setting: bench.timed(setting) for setting in (chosen, baseline)}
    times = rounds(timed, seconds=seconds, clock=perf_counter, seed=99)
    return standings(times, baseline)[chosen].ratio


if __name__ == "__main__":
    sys.exit(main())
