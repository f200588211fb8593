"""No lesson is lost: every state that a power cut can leave of a learner, opened and checked.

The laboratory is in `crash/`; what is promised, and checked in every state, in `crash/lessons.py`.
EDGE_CL_NIGHTLY=1 runs the larger numbers.
"""

import functools
import os
import random
import sqlite3
import stat
import tempfile
import time
from pathlib import Path

import pytest
from crash.explore import explore_on, state, workers
from crash.lessons import Promise, Teach, course, progress
from crash.tracer import trace, why_not
from crash.twice import again, continued, killed_then_cut

NIGHTLY = bool(os.environ.get("EDGE_CL_NIGHTLY"))
CASES = {  # course, head, calls a commit
    "ncm": ("everything", "ncm", 1),
    "ridge": ("everything", "ridge", 1),
    "kalman, in order": ("in order", "kalman", 1),
    "groups of four": ("everything", "ncm", 4),
}
SEEDS = 75 if NIGHTLY else 10
# Distinct states at least, and at night
BARS = {"one cut": (20_000, 100_000), "two cuts": (10_000, 50_000), "kill and cut": (2_000, 10_000)}
KINDS_AGAIN = ["all", "torn", "blocks", "sectors", "zeros", "garbage", "synced"]


def bar(name):
    return BARS[name][NIGHTLY]


@pytest.fixture(scope="module")
def pool():
    with workers() as pool:
        if reason := pool.submit(why_not).result():
            pytest.skip(reason)
        yield pool


@pytest.fixture(scope="module")
def logs(pool, tmp_path_factory):
    """The log of each case."""
    found = {}
    for name, case in CASES.items():
        told = pool.submit(trace, Teach(*case), tmp_path_factory.mktemp("taught")).result()
        assert not told.error, told.error
        assert told.log.marks(len(told.log.ops))[-1] == b"done %d" % len(course(case[0]))
        found[name] = told.log
    return found


@pytest.fixture
def show(figure):
    begin = time.monotonic()

    def show(name, report):
        figure(f"{name}: {report}, {time.monotonic() - begin:.0f} s so far")

    return show


def shared(pool, work, log, items, *arguments, **options):
    """Let two workers each do `work` on half of the items; return one report."""
    halves = [pool.submit(work, log, items[i::2], *arguments, **options) for i in range(2)]
    report = halves[0].result()
    report.add(halves[1].result())
    return report


@pytest.mark.slow
def test_a_power_cut_loses_no_lesson(pool, logs, show, figure):
    total = 0
    for name, case in CASES.items():
        report = explore_on(pool, 2, logs[name], Promise(*case), seeds=SEEDS)
        show(name, report)
        assert not report.failures, "\n".join(report.failures)
        total += report.distinct
    figure(f"in all {total} distinct states, 0 failures (at least {bar('one cut')})")
    assert total >= bar("one cut")


@pytest.mark.slow
def test_a_second_cut_while_recovering_loses_no_lesson(pool, logs, show, figure):
    rng, total = random.Random(11), 0
    for name, bases in (("ncm", 44), ("kalman, in order", 22), ("groups of four", 16)):
        case, log = CASES[name], logs[name]
        n, bases = len(log.ops), bases * (2 if NIGHTLY else 1)
        names = [
            (i * n // bases + rng.randrange(n // bases), rng.choice(KINDS_AGAIN), rng.randrange(9))
            for i in range(bases)
        ]
        after = After(*case)
        seeds = 14 if NIGHTLY else 3
        report = shared(pool, again, log, names, Teach(*case, most=3), after, seeds=seeds)
        show(name, report)
        assert not report.failures, "\n".join(report.failures)
        total += report.distinct
    figure(f"in all {total} distinct states, 0 failures (at least {bar('two cuts')})")
    assert total >= bar("two cuts")


class After:
    """The check of what comes after a first cut, which left some operations acknowledged."""

    def __init__(self, *case):
        self._case = case

    def __call__(self, marks):
        return Promise(*self._case, before=progress(marks))


@pytest.mark.slow
def test_a_cut_after_a_killed_process_was_started_again_loses_no_lesson(pool, logs, show, figure):
    """What the second process has shown, or called a duplicate, must be on the disk."""
    total = 0
    for name, kills in (("ncm", 24), ("groups of four", 12)):
        case, log = CASES[name], logs[name]
        kills *= 5 if NIGHTLY else 1
        prefixes = [7 + i * (len(log.ops) - 7) // kills for i in range(kills)]
        teach, check = Teach(*case, most=2), Promise(*case)
        report = shared(pool, killed_then_cut, log, prefixes, teach, check)
        show(name, report)
        assert not report.failures, "\n".join(report.failures)
        total += report.distinct
    figure(f"in all {total} distinct states, 0 failures (at least {bar('kill and cut')})")
    assert total >= bar("kill and cut")


# --- a learner that is less careful is caught ---


class WithoutFsync(Teach):
    """Files are written and renamed, never synced; SQLite is left alone."""

    def __call__(self, folder, say):
        os.fsync = lambda descriptor: None  # in a process of its own
        super().__call__(folder, say)


class WithoutFsyncOfFolders(Teach):
    """New names are not made durable."""

    def __call__(self, folder, say):
        fsync = os.fsync
        os.fsync = lambda fd: None if stat.S_ISDIR(os.fstat(fd).st_mode) else fsync(fd)
        super().__call__(folder, say)


class Hasty(sqlite3.Connection):
    """Hears FULL, and understands NORMAL."""

    def execute(self, text, *values):
        return super().execute(text.replace("synchronous=FULL", "synchronous=NORMAL"), *values)


class WithHastyCommits(Teach):
    """The write-ahead log is not synced at a commit."""

    def __call__(self, folder, say):
        sqlite3.connect = functools.partial(sqlite3.connect, factory=Hasty)
        super().__call__(folder, say)


@pytest.mark.parametrize("careless", [WithoutFsync, WithoutFsyncOfFolders, WithHastyCommits])
def test_a_careless_learner_is_caught(pool, tmp_path, careless):
    told = pool.submit(trace, careless("everything", "ncm"), tmp_path).result()
    assert not told.error, told.error
    report = explore_on(pool, 2, told.log, Promise("everything", "ncm"), most_failures=1)
    # A lesson is missing, or what is left is no state
    assert any("I1-I3" in one or "StateError" in one for one in report.failures), report.failures


def test_a_log_is_continued_by_the_process_that_came_after(pool, logs):
    """The state at its end is what the two processes have really left."""
    case, log = CASES["ncm"], logs["ncm"]
    for prefix in (60, 250, 400):
        end = pool.submit(left_by_two, case, log, prefix).result()
        assert end[0] == end[1]


def left_by_two(case, log, prefix):
    with tempfile.TemporaryDirectory() as folder:
        state(log, prefix, "all", 0).write(folder)
        whole = continued(log, prefix, trace(Teach(*case, most=4), folder).log)
        files = {
            str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in sorted(Path(folder).rglob("*"))
        }
        return state(whole, len(whole.ops), "all", 0).content, files
