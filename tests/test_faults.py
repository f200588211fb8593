"""A real process that is killed, or whose disk fails, at each of its system calls.

See `crash/faults.py`; what must hold afterwards is in `crash/lessons.py`. EDGE_CL_NIGHTLY=1 takes
every call instead of some.
"""

import os
from collections import Counter

import pytest
from crash.explore import workers
from crash.faults import struck_by
from crash.lessons import Promise, Teach, course
from crash.tracer import Fault, trace, why_not

NIGHTLY = bool(os.environ.get("EDGE_CL_NIGHTLY"))
CASE = ("everything", "ncm", 1)
DONE = b"done %d" % len(course(CASE[0]))
RUNS, WRONG = Counter(), Counter()  # over all tests of this file


@pytest.fixture(scope="module")
def pool():
    with workers() as pool:
        if reason := pool.submit(why_not).result():
            pytest.skip(reason)
        yield pool


@pytest.fixture(scope="module")
def calls(pool, tmp_path_factory):
    """The calls of an undisturbed run."""
    run = pool.submit(trace, Teach(*CASE), tmp_path_factory.mktemp("taught")).result()
    assert not run.error, run.error
    return run.calls


@pytest.fixture
def strike(pool, calls, figure):
    """Strike about so many of the calls that can be struck so; return what came of it."""

    def strike(what, count, *, forever=False, refused="end", only=lambda call: True):
        aims = [n for n, call in enumerate(calls) if can_be(call, what) and only(call)]
        step = 1 if NIGHTLY else max(1, len(aims) // count)
        faults = [Fault(n, what, forever=forever) for n in aims[len(what) % step :: step]]
        work = Teach(*CASE, refused=refused)
        halves = [pool.submit(struck_by, faults[i::2], work, Promise(*CASE)) for i in range(2)]
        outcomes = [outcome for half in halves for outcome in half.result()]
        wrong = [str(outcome) for outcome in outcomes if outcome.wrong]
        text = f"{what}{' for ever' if forever else ''}: {len(outcomes)} runs"
        figure(f"{text}, {len(wrong)} failures")
        RUNS[what] += len(outcomes)
        WRONG[what] += len(wrong)
        assert not wrong, "\n".join(wrong)
        return outcomes

    return strike


def can_be(call, what):
    if what == "short":
        return call.size > 1
    return what.startswith("kill") or call.can_fail_with(what)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["kill before", "kill after"])
def test_a_killed_process_loses_no_lesson(strike, what):
    strike(what, 80)


@pytest.mark.slow
@pytest.mark.parametrize("forever", [False, True])
def test_an_error_of_the_disk_loses_no_lesson(strike, forever):
    """Once the ring's file has failed, nobody knows what is in it: nothing more is accepted."""
    refused = 0
    for outcome in strike("EIO", 60, forever=forever, refused="defy"):
        words = [mark.split()[0] for mark in outcome.marks]
        in_the_ring = os.path.basename(outcome.path) in ("events.db", "events.db-wal")
        if in_the_ring and b"refused" in words and b"done" in words[: words.index(b"refused")]:
            assert outcome.error, str(outcome)
            assert words[-1] == b"refused", str(outcome)
            refused += 1
    assert refused > 10


@pytest.mark.slow
def test_a_failed_move_of_the_log_into_the_file_is_noticed(strike):
    """SQLite does not say so by itself, and begins the log anew over the only good copy."""

    def moves(call):
        return os.path.basename(call.path) == "events.db" and call.name in ("fsync", "fdatasync")

    outcomes = strike("EIO", 100, refused="defy", only=moves)
    assert len(outcomes) >= 4
    assert any(outcome.error for outcome in outcomes)


@pytest.mark.slow
def test_a_disk_that_is_full_for_a_while_costs_nothing(strike):
    """What was refused is learned when it is tried again; everything else was never refused."""
    for outcome in strike("ENOSPC", 90, forever=True, refused="mend"):
        assert not outcome.error, str(outcome)
        assert outcome.marks[-1] == DONE


@pytest.mark.slow
def test_snapshots_that_cannot_be_written_for_long_end_learning_in_time(pool, figure):
    """The ring takes what snapshots cannot, and refuses before it overwrites what nothing holds."""
    case = ("lessons only", "ncm", 1)
    # From before any lesson on it would not even begin; then from different moments
    faults = [Fault(n, "ENOSPC", forever=True, only="snapshot-") for n in range(80, 320, 30)]
    halves = [pool.submit(struck_by, faults[i::2], Teach(*case), Promise(*case)) for i in range(2)]
    outcomes = [outcome for half in halves for outcome in half.result()]
    wrong = [str(outcome) for outcome in outcomes if outcome.wrong]
    RUNS["snapshots"] += len(outcomes)
    WRONG["snapshots"] += len(wrong)
    figure(f"{len(outcomes)} runs, {len(wrong)} failures")
    assert not wrong, "\n".join(wrong)
    assert any("could not be written for long" in outcome.error for outcome in outcomes)


@pytest.mark.slow
def test_a_disk_that_turned_read_only_loses_no_lesson(strike):
    strike("EROFS", 40, forever=True)


@pytest.mark.slow
def test_a_short_write_is_finished(strike):
    for outcome in strike("short", 30):
        assert not outcome.error, str(outcome)
        assert outcome.marks[-1] == DONE


@pytest.mark.slow
def test_the_runs_were_enough(figure):
    """Runs last; of a part of this file it is about that part."""
    least = 500 if NIGHTLY else 200
    text = f"in all {sum(RUNS.values())} runs, {sum(WRONG.values())} failures (at least {least})"
    figure(text)
    assert not sum(WRONG.values()), text
    assert sum(RUNS.values()) >= least or len(RUNS) < 6, text
