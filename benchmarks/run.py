"""Run scenarios, print a table, and write the results as JSON with the machine's description.

    python benchmarks/run.py --out benchmarks/results/x86-64.json \
        --precisions all.edgecl --fashion /usr/share/fashion-mnist [ID ...]

Without the resources that a scenario needs it is left out, and the table says so. The exit
status is 3 when a bound is broken.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from scenarios import SCENARIOS, Resources, Scenario, to_json

from edge_cl.device import describe_machine


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("ids", nargs="*", metavar="ID", help=f"of: {', '.join(SCENARIOS)}")
    parser.add_argument("--precisions", type=Path, help="a bundle with fp32 and int8 ONNX encoders")
    parser.add_argument("--fashion", type=Path, help="folder with the idx files of Fashion-MNIST")
    parser.add_argument("--out", type=Path, help="write the results here; others in it are kept")
    options = parser.parse_args()
    unknown = set(options.ids) - set(SCENARIOS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    resources = Resources(precisions=options.precisions, fashion=options.fashion)
    results: dict[str, dict[str, object]] = {}
    for name in options.ids or SCENARIOS:
        scenario = SCENARIOS[name]
        missing = [r for r in scenario.needs.split() if getattr(resources, r) is None]
        if missing:
            print(f"{name}: left out, needs --{' --'.join(missing)}")
            continue
        metrics = scenario.measure(resources)
        broken = _broken(scenario, metrics)
        results[name] = {"what": scenario.what, "metrics": metrics, "broken": broken}
        values = ", ".join(f"{k} {v:.4g}" for k, v in metrics.items())
        print(f"{name}: {'BROKEN ' + ', '.join(broken) if broken else 'ok'}: {values}", flush=True)
    if options.out:
        _write(options.out, results)
    return 3 if any(r["broken"] for r in results.values()) else 0


def _broken(scenario: Scenario, metrics: dict[str, float]) -> list[str]:
    return [
        f"{metric} {relation} {limit}"
        for metric, (relation, limit) in scenario.bounds.items()
        if not (metrics[metric] < limit if relation == "<" else metrics[metric] >= limit)
    ]


def _write(path: Path, results: dict[str, dict[str, object]]) -> None:
    import json

    kept = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": asdict(describe_machine()), "results": {**kept, **results}}
    path.write_text(to_json(document), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
