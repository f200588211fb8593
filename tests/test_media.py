"""Media that rot, fill up or refuse: nothing wrong is ever taken for right.

The states and the single bits are in `media.py`. EDGE_CL_NIGHTLY=1 runs the larger number.
"""

import os
import time
from collections import Counter
from pathlib import Path

import pytest
from crash.explore import explore, workers
from crash.tracer import trace
from crash.tracer import why_not as why_no_tracing
from full_disk import at_the_start, on_a_sealed_medium, steady, why_not, without_snapshots
from media import FILES, Base, Taught, beside_a_log, flips, verdict, write

from edge_cl.errors import EdgeCLError

NIGHTLY = bool(os.environ.get("EDGE_CL_NIGHTLY"))
FLIPS = 200_000 if NIGHTLY else 50_000
BASES = [
    Base(3, "ncm", 10, "killed"),
    Base(4, "ncm", 70, "killed"),
    Base(8, "ncm", 9, "killed", plain=True, each=3),
    Base(5, "ridge", 23, "killed", plain=True),
    Base(4, "ncm", 2, "left"),
    Base(6, "ridge", 18, "left"),
    Base(3, "ridge", 40, "closed"),
    Base(7, "lda", 4, "closed", plain=True),
    Base(6, "ncm", 21, "left", plain=True, each=3),
    Base(4, "ncm", 3, "left", renamed=True),
]


@pytest.fixture(scope="module")
def pool():
    with workers() as pool:
        yield pool


def in_words(counts):
    return ", ".join(f"{what} {n}" for what, n in sorted(counts.items()))


@pytest.mark.slow
def test_no_flipped_bit_passes_unnoticed(pool, figure):
    parts = 2 * len(BASES)
    jobs = [
        pool.submit(flips, base, -(-FLIPS // parts), seed, opened=5)
        for seed in range(2)
        for base in BASES
    ]
    found, wrong = Counter(), []
    for job in jobs:
        verdicts, told = job.result()
        found += verdicts
        wrong += told
    by_verdict, by_file = Counter(), Counter()
    for what, n in found.items():
        said, _, name = what.rpartition(" ")
        by_verdict[said] += n
        by_file[name] += n
    figure(f"{sum(found.values())} flipped bits, {len(wrong)} unnoticed: {in_words(by_verdict)}")
    assert not wrong, "\n".join(wrong[:20])
    assert sum(found.values()) >= FLIPS
    assert set(by_file) == set(FILES)
    assert min(by_verdict[said] for said in ("right", "mended", "lost", "unfinished")) > 0


@pytest.mark.parametrize("base", [BASES[0], BASES[4]], ids=str)
def test_some_flipped_bits_are_noticed(pool, base):
    """The same as above, in a few seconds."""
    found, wrong = pool.submit(flips, base, 300, 7).result()
    assert not wrong, "\n".join(wrong)
    assert sum(found.values()) == 300


# -- whole files ---------------------------------------------------------------------------------


SAID = {"right", "mended", "lost", "mended, uncounted", "lost, uncounted", "refused"}


CANNOT = "WRONG error: StorageError"


def damaged(taught, folder, name, how, other):
    """Make the state with one file of it spoiled."""
    content = dict(taught.content)
    if how == "missing" or how == "a folder":
        content.pop(name)
    elif how == "empty":
        content[name] = b""
    elif how == "cut":
        content[name] = content[name][: len(content[name]) // 2]
    elif how == "of another state":
        content[name] = other.content[name]
    elif how == "zeros":
        content[name] = bytes(len(content[name]))
    write(content, folder)
    if how == "a folder":
        (folder / name).mkdir()
    elif how == "unreadable":
        (folder / name).unlink()
        (folder / name).symlink_to(folder / "nowhere")


HOW = ["missing", "empty", "cut", "zeros", "of another state", "a folder", "unreadable"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("base", [BASES[1], BASES[5], BASES[6]], ids=lambda base: base.closed)
def test_a_file_that_is_missing_or_foreign_is_noticed(tmp_path, base, how):
    taught, other = Taught(base), Taught(Base(base.d, base.head, base.lessons + 30, base.closed))
    for name in FILES:
        if name in taught.content:
            damaged(taught, tmp_path / "state", name, how, other)
            said = verdict(taught, tmp_path / "state")
            told = said in SAID or said.startswith(CANNOT)
            if name == "events.db-wal" and how == "of another state":
                told = said != "right" and "never there" not in said
            assert told, f"{name} {how}: {said}"


def test_a_log_that_is_left_is_not_taken_for_that_of_a_new_state(tmp_path):
    assert beside_a_log(Taught(BASES[1]), tmp_path / "state") == ""


def test_both_snapshots_of_another_state_are_refused_or_told(tmp_path):
    taught, other = Taught(BASES[5]), Taught(Base(6, "ridge", 48, "left"))
    both = {name: other.content[name] for name in FILES if name.startswith("snapshot")}
    write({**taught.content, **both}, tmp_path / "state")
    try:
        with taught.open(tmp_path / "state") as learner:
            assert learner.recovery.problems
            assert learner.recovery.lost is None
            assert taught.held(learner) in other.sums
    except EdgeCLError:
        pass


# -- a power cut while damage is mended ----------------------------------------------------------


class Mending:
    """Opens a damaged state, and says what it holds."""

    def __init__(self, taught):
        self._taught = taught

    def __call__(self, folder, say):
        self._taught.open(Path(folder, "state")).close(save=False)


class Mended:
    """The check of one state that a cut has left: no less than without the cut."""

    def __init__(self, taught, holds, lost):
        self._taught, self._holds, self._lost = taught, holds, lost

    def __call__(self, folder, marks):
        with self._taught.open(Path(folder, "state")) as learner:
            assert self._taught.held(learner) == self._holds
            lost = learner.recovery.lost
            assert self._lost in (lost, learner.status.lost), f"{lost}, {learner.status.lost}"
            seq = learner.learn(self._taught.x[0], "cup").seq
            assert seq > self._taught.seq, "a number is given twice"


def spoiled(taught, name, where):
    data = bytearray(taught.content[name])
    data[int(where * len(data))] ^= 4
    return {**taught.content, name: bytes(data)}


@pytest.mark.parametrize(
    ("base", "name", "where"),
    [
        (BASES[4], "snapshot-0.safetensors", 0.7),
        (BASES[4], "snapshot-1.safetensors", 0.7),
        (BASES[5], "events.db", 0.52),
        (BASES[5], "events.db", 0.65),
        (BASES[1], "events.db-wal", 0.6),
        (BASES[0], "events.db-wal", 0.0),
    ],
    ids=lambda x: str(x).split("(")[0],
)
def test_mending_can_be_cut_off_at_any_step(pool, tmp_path, base, name, where, figure):
    if reason := pool.submit(why_no_tracing).result():
        pytest.skip(reason)
    report = pool.submit(cut_while_mending, tmp_path, base, name, where).result()
    figure(f"{name} damaged, cut while it is mended: {report}")
    assert not report.failures, "\n".join(report.failures)
    assert report.distinct >= 10


def cut_while_mending(place, base, name, where):
    taught = Taught(base)
    write(spoiled(taught, name, where), place / "once" / "state")
    with taught.open(place / "once" / "state") as learner:
        holds, lost = taught.held(learner), learner.recovery.lost
        assert learner.recovery.problems
    write(spoiled(taught, name, where), place / "again" / "state")
    told = trace(Mending(taught), place / "again")
    assert not told.error, told.error
    return explore(told.log, Mended(taught, holds, lost))


# -- a full disk, a sealed one, a clock that jumps -----------------------------------------------


@pytest.fixture
def small_disks(pool):
    if reason := pool.submit(why_not).result():
        pytest.skip(reason)
    return pool


@pytest.mark.parametrize("run", [at_the_start, steady])
def test_a_full_disk_loses_no_acknowledged_lesson(small_disks, run, figure):
    halves = [small_disks.submit(run, range(i, 40, 2)) for i in range(2)]
    outcomes = [one for half in halves for one in half.result()]
    wrong = [one for one in outcomes if one.wrong]
    refused = sum(one.refused for one in outcomes)
    touched = sum(one.refused > 0 for one in outcomes)
    figure(
        f"disk full {run.__name__.replace('_', ' ')}: {len(outcomes)} levels, {touched} of them "
        f"refused something ({refused} calls), {len(wrong)} lost an acknowledged lesson"
    )
    assert not wrong, "\n".join(map(str, wrong))
    assert len(outcomes) == 40
    assert touched > 2


def test_a_disk_too_full_for_snapshots_takes_what_the_ring_can_hold(small_disks):
    outcome = small_disks.submit(without_snapshots).result()
    assert not outcome.wrong
    assert outcome.refused == 1


@pytest.mark.parametrize("closed", ["killed", "left", "closed"])
def test_a_sealed_medium_is_read_and_says_that_it_cannot_be_written(small_disks, closed):
    holds, message = small_disks.submit(on_a_sealed_medium, closed).result()
    assert holds
    assert "\n" not in message
    assert "Read-only file system" in message or "readonly" in message


@pytest.mark.parametrize("jump_us", [-(10**15), -1, 0, 10**15])
def test_a_clock_that_jumps_changes_no_order(tmp_path, monkeypatch, jump_us):
    clock = iter(range(10**15, 10**18, abs(jump_us) or 1) if jump_us >= 0 else back(jump_us))
    monkeypatch.setattr(time, "time_ns", lambda: 1000 * next(clock))
    taught = Taught(Base(3, "ncm", 0, "closed", plain=True))
    with taught.open(tmp_path / "state") as learner:
        for i in range(12):
            learner.learn(taught.x[i], f"c{i % 2}")
        learner.undo(1)
    with taught.open(tmp_path / "state") as learner:
        records = learner.history()
        assert [record.seq for record in records] == list(range(13, 0, -1))
        assert records[0].kind == "undone"
        assert records[0].target == 12
        assert all(record.when_us >= 0 for record in records)
        assert learner.status.samples == 11


def back(step):
    """Times that run backwards, at last before 1970."""
    now = 3 * abs(step)
    while True:
        yield now
        now += step


def test_verdicts_can_be_bad(tmp_path):
    """What a bit would have done that nobody sees."""
    taught = Taught(BASES[5])
    names = ["snapshot-0.safetensors", "snapshot-1.safetensors", "events.db"]
    for less in (1, 2):
        other = Taught(Base(6, "ridge", 18 - less, "left"))
        content = {**taught.content, **{name: other.content[name] for name in names}}
        write(content, tmp_path / "state")
        assert verdict(taught, tmp_path / "state").startswith("WRONG")
    write({**taught.content}, tmp_path / "state")
    assert verdict(taught, tmp_path / "state") == "right"
