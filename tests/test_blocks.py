"""Power cuts below a real ext4: see `crash/blocks.py`. EDGE_CL_NIGHTLY=1 runs the larger number."""

import os
import time

import pytest
from crash import toys
from crash.blocks import explore_blocks, record, why_not
from crash.explore import workers
from crash.lessons import Promise, Teach

NIGHTLY = bool(os.environ.get("EDGE_CL_NIGHTLY"))
STATES = 2_000 if NIGHTLY else 500


@pytest.fixture(scope="module")
def pool():
    with workers() as pool:
        if reason := pool.submit(why_not).result():
            pytest.skip(reason)
        yield pool


def checked(pool, log, check, **options):
    jobs = [pool.submit(explore_blocks, log, check, share=(i, 2), **options) for i in range(2)]
    report = jobs[0].result()
    report.add(jobs[1].result())
    return report


@pytest.mark.slow
def test_a_power_cut_below_ext4_loses_no_lesson(pool, figure):
    begin, total = time.monotonic(), 0
    cases = [("everything", "ncm", 1), ("in order", "kalman", 1)]
    for case in cases:
        log = pool.submit(record, Teach(*case)).result()
        wanted = STATES // len(cases) + 10
        report = checked(pool, log, Promise(*case), states=wanted, seeds=8 if NIGHTLY else 2)
        figure(f"{case[1]}: {report}, {time.monotonic() - begin:.0f} s so far")
        assert not report.failures, "\n".join(report.failures)
        total += report.distinct
    figure(f"in all {total} distinct states, 0 failures (at least {STATES})")
    assert total >= STATES


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["a rename without fsync of the folder", "SQLite with synchronous=NORMAL"]
)
def test_a_careless_program_is_caught_below_ext4(pool, name):
    workload, check = toys.CARELESS[name]
    assert checked(pool, pool.submit(record, workload).result(), check, states=80).failures


@pytest.mark.slow
@pytest.mark.parametrize("name", toys.CAREFUL)
def test_a_careful_program_has_no_failure_below_ext4(pool, name):
    workload, check = toys.CAREFUL[name]
    report = checked(pool, pool.submit(record, workload).result(), check, states=40)
    assert not report.failures
    assert report.distinct >= 30


def fails(folder, say):
    raise ValueError("on purpose")


def test_nothing_stays_mounted(pool):
    with pytest.raises(RuntimeError, match="on purpose"):
        pool.submit(record, fails).result()
    assert not pool.submit(leftovers).result()


def leftovers():
    """Return what this process has mounted of ours."""
    with open("/proc/self/mounts") as stream:
        return [line for line in stream if "edge-cl" in line or "/dev/loop" in line]
