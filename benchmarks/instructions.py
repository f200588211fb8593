"""How many instructions a Raspberry Pi 4 and 5 execute to encode, to learn and to predict.

    python benchmarks/instructions.py                  # count twice, and write the results
    python benchmarks/instructions.py --check [FILE]   # compare; 3 where more are needed
    python benchmarks/instructions.py --bundle all.edgecl [--cpu cortex-a72]

The CPUs are emulated (`tests/arm/emulated_board.py`), and a plugin (`instructions.c`) counts what
they execute. Counts repeat to a few parts in 100,000, whatever else the machine does, so a change
of 2 % is a change of the code. They are no times: an emulator knows neither caches nor memory, nor
how many instructions a CPU executes at once.

Counted are, on one thread and once warm: one picture encoded by the shipped bundle; one lesson
and one prediction of ridge at d = 1280 with 100 classes, as a program that calls the learner sees
them, Python included. A lesson is the mean of 256, because so many rows enter the sums together.
Needs a C compiler besides what the emulated boards need.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tests"))

from arm.emulated_board import CPUS, PACKAGES, Board, UnavailableError, board  # noqa: E402

from edge_cl.assets import shipped_bundle  # noqa: E402
from edge_cl.demo.pictures import household  # noqa: E402

RESULTS = HERE / "results" / "instructions-arm64.json"
TOLERANCE = 0.02
_REPEATS = 2
_MATTER = ("numpy", "numba", "llvmlite", "onnxruntime", "ai-edge-litert")

Counts = dict[str, float]


def main() -> int:
    """Count, show, and compare or write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cpu", choices=list(CPUS), action="append", help="default: both")
    parser.add_argument("--bundle", type=Path, help="count its encoders; default: the shipped one")
    parser.add_argument("--check", type=Path, nargs="?", const=RESULTS, help="compare with this")
    options = parser.parse_args()
    results: dict[str, Counts] = {}
    try:
        for cpu in options.cpu or CPUS:
            there = board(cpu, print)
            there.run("-m", "edge_cl", "warmup", cwd=HERE)  # compiled code is counted, no compiler
            runs = [count(there, options.bundle or shipped_bundle()) for _ in range(_REPEATS)]
            results |= {f"{name}-{cpu}": of(name, runs) for name in runs[0]}
    except UnavailableError as error:
        sys.exit(f"error: {error}")
    for name, counts in results.items():
        print(f"{name}: {counts['total'] / 1e6:.3f} M instructions, spread {counts['spread']:.1e}")
    if options.check:
        return check(results, options.check)
    if options.bundle is None and options.cpu is None:
        write(results, there)
    return 0


def count(there: Board, bundle: Path | None) -> dict[str, Counts]:
    """Return what each region executes, by class, and in total."""
    with tempfile.TemporaryDirectory() as folder:
        out, inputs = Path(folder, "counts"), Path(folder, "inputs.npz")
        rng = np.random.default_rng(0)
        y = np.arange(400) % 100
        x = rng.standard_normal((len(y), 1280)) + 2 * rng.standard_normal((100, 1280))[y]
        picture = household(limit=1).train.pictures[0]
        np.savez(inputs, picture=picture, x=x.astype(np.float32), y=y)
        done = there.run(
            *([HERE / "instructions_guest.py", inputs] + ([bundle.resolve()] if bundle else [])),
            cwd=Path(folder),
            env={"PLUGIN": f"{plugin(there)},out={out}", "PYTHONHASHSEED": "0"},
            timeout=3600,
        )
        if done.returncode:
            sys.exit(f"error: the emulated program ended with {done.returncode}: {done.stderr}")
        lines = out.read_text(encoding="ascii").splitlines()
    found = {}
    for told, line in zip(done.stdout.splitlines(), lines, strict=True):
        name, divisor = told.rsplit(" ", 1)
        classes = {k: int(v) / int(divisor) for k, v in re.findall(r"(\w+)=(\d+)", line)}
        found[name] = {"total": sum(classes.values()), **{k: v for k, v in classes.items() if v}}
    return found


def of(name: str, runs: list[dict[str, Counts]]) -> Counts:
    """Return the counts of the first run, and by how much the others differ."""
    totals = [run[name]["total"] for run in runs]
    return {**runs[0][name], "spread": (max(totals) - min(totals)) / max(totals)}


def check(results: dict[str, Counts], path: Path) -> int:
    """Say what needs more instructions than before; 3 where one does."""
    before = json.loads(path.read_text(encoding="utf-8"))["results"]
    status = 0
    for name, counts in results.items():
        if name not in before or name.startswith("nothing-"):
            continue
        change = counts["total"] / before[name]["total"] - 1
        if change > TOLERANCE:
            print(f"MORE {name}: {change:+.1%}, expected at most {TOLERANCE:+.0%}")
            status = 3
        elif change < -TOLERANCE:
            print(f"fewer {name}: {change:+.1%}; write the results anew to keep it")
    return status


def plugin(there: Board) -> Path:
    """Return the compiled plugin, made when its source is new."""
    source = HERE / "instructions.c"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    library = there.folder / f"instructions-{digest}.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not library.exists():
        if compiler is None:
            raise UnavailableError("no instruction counts: there is no C compiler here")
        made = library.with_suffix(".part")
        flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run([compiler, *flags, source, "-o", made], check=True)
        made.rename(library)
    return library


def write(results: dict[str, Counts], there: Board) -> None:
    """Write the results with the versions of what was counted."""
    pinned = re.findall(r"^([\w-]+)==(\S+)", PACKAGES.read_text(encoding="utf-8"), re.MULTILINE)
    document = {
        "what": "instructions executed on emulated CPUs, one thread; no times",
        "tools": {
            "emulator": there.emulator_version(),
            "python": there.run("-V", cwd=HERE).stdout.split()[-1],
            **{name: version for name, version in pinned if name in _MATTER},
        },
        "results": results,
    }
    RESULTS.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
