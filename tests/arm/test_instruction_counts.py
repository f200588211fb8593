"""The plugin counts what is executed, and the gate of the benchmark closes."""

import json
import re
import sys
from pathlib import Path

import pytest
from arm.emulated_board import CPUS, UnavailableError, board

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import instructions

N = 256
PRODUCT = f"""
import os, numpy as np
a = np.ones(({N}, {N}), np.float32)
def mark(which):
    try:
        os.sched_get_priority_max(0x51AB00 + which)
    except OSError:
        pass
for product in (lambda: None, lambda: a @ a):
    product()
    mark(0)
    product()
    mark(1)
"""


@pytest.mark.arm
@pytest.mark.slow
@pytest.mark.parametrize("cpu", CPUS)
def test_a_product_takes_one_fused_multiply_add_for_four_numbers(cpu, tmp_path):
    out = tmp_path / "counts"
    try:
        there = board(cpu)
        plugin = instructions.plugin(there)
    except UnavailableError as error:
        pytest.skip(str(error))
    done = there.run("-c", PRODUCT, cwd=tmp_path, env={"PLUGIN": f"{plugin},out={out}"})
    assert done.returncode == 0, done.stderr
    nothing, product = (
        {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}
        for line in out.read_text().splitlines()
    )
    assert product["fma"] - nothing["fma"] == N**3 / 4
    assert sum(nothing.values()) < 50_000
    assert product["sve"] == product["dot"] == product["matrix"] == product["other"] == 0


@pytest.mark.parametrize(("change", "status"), [(0.019, 0), (0.021, 3), (-0.5, 0)])
def test_more_instructions_than_two_percent_are_a_failure(tmp_path, capsys, change, status):
    recorded = tmp_path / "recorded.json"
    recorded.write_text(json.dumps({"results": {"learn": {"total": 1000.0}}}))
    found = {"learn": {"total": 1000.0 * (1 + change)}, "new": {"total": 1.0}}
    assert instructions.check(found, recorded) == status
    assert ("MORE learn: +2.1%" in capsys.readouterr().out) == (status == 3)
