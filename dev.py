#!/usr/bin/env python3
"""Set edge-cl up in a fresh checkout, and run it. Needs Python >= 3.10 and nothing else.

    python3 dev.py demo [OPTIONS]    the demonstration; what follows goes to `edge-cl demo`
    python3 dev.py test [OPTIONS]    lint, types and all tests; what follows goes to pytest

Each command has its own virtual environment under `.venv/`, made when it is first needed and
brought up to date when `pyproject.toml` has changed. Running again does no harm.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
KERNEL_TESTS = ["tests/test_kernels.py"]
ON_KERNELS = [f"tests/test_{name}.py" for name in ("ridge", "kalman", "head_contract")]
PARALLEL = ["-n", "auto", "--dist", "worksteal"]  # the whole suite, a process a core
KERNELS = "kernels or ridge or kalman"  # in a test's name, its file or its head: who uses them
REQUIREMENTS = {
    "demo": ["-e", ".[plot]"],
    "test": ["-e", ".[backbones,camera,export,litert,plot,sign,update]", "--group", "dev"],
}


def main() -> int:
    """Run one command and return its exit status."""
    if sys.version_info < (3, 10):
        return fail(f"edge-cl needs Python 3.10 or newer, this is {sys.version.split()[0]}")
    command, options = (sys.argv[1:] or [""])[0], sys.argv[2:]
    if command not in REQUIREMENTS:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    python = environment(command)
    if python is None:
        return 1
    if command == "demo":
        return run([python, "-m", "edge_cl", "demo", *options])
    for check in (
        ["-m", "ruff", "check", "."],
        ["-m", "ruff", "format", "--check", "."],
        ["-m", "mypy"],
    ):
        status = run([python, *check])
        if status:
            return status
    if not options:
        status = run_kernels_otherwise(python)
        if status:
            return status
        return run([python, "-m", "pytest", *PARALLEL], {"OPENBLAS_NUM_THREADS": "1"})
    return run([python, "-m", "pytest", *options])


def run_kernels_otherwise(python: str) -> int:
    """Test the kernels uncompiled, with bounds checks, and in NumPy with the heads on them."""
    with tempfile.TemporaryDirectory() as cache:
        few = {"OPENBLAS_NUM_THREADS": "1", "HYPOTHESIS_PROFILE": "few"}  # all of them run below
        for variables, tests in (
            ({"NUMBA_DISABLE_JIT": "1"}, KERNEL_TESTS),
            ({"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": cache}, KERNEL_TESTS),
            ({"EDGE_CL_KERNELS": "numpy"}, [*KERNEL_TESTS, *ON_KERNELS]),
        ):
            chosen = ["-m", "not slow", "-k", KERNELS, *tests]
            status = run([python, "-m", "pytest", "-q", *PARALLEL, *chosen], variables | few)
            if status:
                return status
    return 0


def environment(name: str) -> str | None:
    """Return the Python of the environment `name`, made or updated as needed."""
    folder = ROOT / ".venv" / name
    python = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
    stamp = folder / "made-from"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    say(f"setting up {folder.relative_to(ROOT)} (a few minutes the first time)")
    try:
        venv.create(folder, with_pip=True, clear=True)
    except subprocess.CalledProcessError:
        fail("this Python cannot make virtual environments; on Debian: apt install python3-venv")
        return None
    pip = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-compile",
    ]  # most is never imported
    # --group and per-file metadata need a recent pip
    if run([*pip, "--upgrade", "pip>=25.1"]) or run([*pip, *REQUIREMENTS[name]]):
        fail("installing failed; see above. Run the same command again to retry")
        return None
    stamp.write_text(wanted, encoding="utf-8")
    return python


def run(command: list[str], variables: dict[str, str] | None = None) -> int:
    """Run `command` in the checkout, with `variables` set, and return its exit status."""
    variables = variables or {}
    say(" ".join(["$", *(f"{name}={value}" for name, value in variables.items()), *command]))
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables, check=False).returncode


def say(text: str) -> None:
    """Tell the user what happens, apart from the output."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def fail(text: str) -> int:
    """Say what is wrong; the exit status of a user's error."""
    say(f"error: {text}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
