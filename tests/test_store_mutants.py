"""Harm done to the store is caught by the tests that look for it: every mutant of `mutants/`."""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from crash.explore import workers
from crash.tracer import why_not
from mutants.harm import MUTANTS

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {
    **os.environ,
    "EDGE_CL_KERNELS": "numpy",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
AT_LEAST = 25


def harmed(mutant, place):
    """Make a tree with one mutant; return its root."""
    root = Path(place, str(MUTANTS.index(mutant)))
    skip = shutil.ignore_patterns("assets", "demo", "cli", "*.nbi", "*.nbc")
    shutil.copytree(ROOT / "edge_cl", root / "edge_cl", ignore=skip)
    for name in ("assets", "demo", "cli"):
        (root / "edge_cl" / name).symlink_to(ROOT / "edge_cl" / name)
    (root / "tests").symlink_to(ROOT / "tests")
    for name, before, after in mutant.changes:
        path = root / "edge_cl" / name
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1, (
            f"{mutant.name}: {name} has {text.count(before)} of {before!r}"
        )
        path.write_text(text.replace(before, after), encoding="utf-8")
    return root


def probed(root, probes):
    """Run probes in a tree; return the exit status and what was said."""
    done = subprocess.run(
        [sys.executable, "-m", "mutants.probe", *probes],
        cwd=root,
        env={**ENVIRONMENT, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


@pytest.fixture(scope="module")
def traced():
    with workers(1) as pool:
        if reason := pool.submit(why_not).result():
            pytest.skip(reason)


def test_the_mutants_fit_the_text(tmp_path):
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= AT_LEAST
    for mutant in MUTANTS:
        for name, before, _ in mutant.changes:
            text = (ROOT / "edge_cl" / name).read_text(encoding="utf-8")
            assert text.count(before) == 1, f"{mutant.name}: {name}: {before!r}"


@pytest.mark.slow
def test_every_harmful_mutant_of_the_store_is_caught(traced, tmp_path, figure):
    begin = time.monotonic()
    with ThreadPoolExecutor(2) as two:
        found = list(two.map(lambda one: probed(harmed(one, tmp_path), one.probes), MUTANTS))
    missed = [one.name for one, (code, _) in zip(MUTANTS, found, strict=True) if code == 0]
    odd = [told for code, told in found if code not in (0, 1) or "Traceback" in told]
    seconds = time.monotonic() - begin
    caught = len(MUTANTS) - len(missed)
    figure(f"{caught} of {len(MUTANTS)} harmful mutants of the store caught, {seconds:.0f} s")
    assert not missed, missed
    assert not odd, odd
    assert caught >= AT_LEAST


@pytest.mark.slow
def test_the_probes_find_nothing_in_what_is_whole(traced, tmp_path):
    probes = sorted({probe for mutant in MUTANTS for probe in mutant.probes})
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (tmp_path / "edge_cl").symlink_to(ROOT / "edge_cl")
    with ThreadPoolExecutor(2) as two:
        halves = list(two.map(lambda half: probed(tmp_path, half), (probes[::2], probes[1::2])))
    assert [code for code, _ in halves] == [0, 0], halves
