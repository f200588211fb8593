"""The laboratory itself: it records what happens, hits what it aims at, sees careless programs."""

import errno
import mmap
import os
import random
import shutil
import signal
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from crash import toys
from crash.damage import KINDS
from crash.disk import Disk, File
from crash.explore import explore, explore_on, state, states, workers
from crash.oplog import Log, Mark, Names, Resize, Sync, Write
from crash.tracer import MENDED, Fault, trace, why_not
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def pool():
    with workers() as pool:
        if reason := pool.submit(why_not).result():
            pytest.skip(reason)
        yield pool


@pytest.fixture
def traced(pool, tmp_path):
    """Run a workload in an empty folder; return its trace."""
    runs = iter(range(10**6))

    def run(workload, fault=None, **options):
        (folder := tmp_path / f"run-{next(runs)}").mkdir()
        return pool.submit(trace, workload, folder, fault=fault, **options).result()

    run.folder = lambda n=0: tmp_path / f"run-{n}"
    return run


def content(folder):
    """A folder as a `State` holds it."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = None if path.is_dir() else path.read_bytes()
    return found


# --- careless and careful programs ---


@pytest.mark.parametrize("name", toys.CARELESS)
def test_a_careless_program_is_caught(traced, pool, name):
    workload, check = toys.CARELESS[name]
    found = traced(workload)
    assert not found.error
    report = explore_on(pool, 2, found.log, check, seeds=4)
    assert report.failures


@pytest.mark.parametrize("name", toys.CAREFUL)
def test_a_careful_program_has_no_failure(traced, pool, name, figure):
    workload, check = toys.CAREFUL[name]
    found = traced(workload)
    assert not found.error
    report = explore_on(pool, 2, found.log, check, seeds=8)
    figure(f"{name}: {report}")
    assert not report.failures
    assert report.distinct > 100
    assert set(report.checked) == set(KINDS)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("a rename without fsync of the file", ["synced"]),
        ("a rename without fsync of the folder", ["all"]),
        ("SQLite with synchronous=NORMAL", ["synced"]),
        ("told before fsync", ["torn"]),
    ],
)
def test_one_kind_of_damage_is_enough(traced, name, kinds):
    workload, check = toys.CARELESS[name]
    assert explore(traced(workload).log, check, kinds=kinds, seeds=4).failures


def test_a_state_can_be_made_again_by_its_name(traced):
    log = traced(toys.inserted_with_synchronous_normal).log
    for i, found in enumerate(states(log, seeds=3)):
        if i % 20 == 0:
            assert state(log, found.prefix, found.kind, found.seed) == found


# --- what is recorded ---

NAMES = ["a", "b", "folder", "folder/a", "folder/deep", "folder/deep/b", "link"]


def _random_steps(seed, folder, say):
    rng = random.Random(seed)
    os.chdir(folder)
    for i in range(40):
        a, b = rng.choice(NAMES), rng.choice(NAMES)
        step = rng.randrange(14)
        size = rng.choice([0, 1, 500, 5000])
        with suppress(OSError):
            _step(step, a, b, size, rng)
        say(b"%d" % i)


def _step(step, a, b, size, rng):
    data = rng.randbytes(size)
    if step == 0:
        Path(a).write_bytes(data)
    elif step == 1:
        with Path(a).open("ab") as stream:
            stream.write(data)
    elif step == 2:
        descriptor = os.open(a, os.O_RDWR | os.O_CREAT)
        os.pwrite(descriptor, data, rng.randrange(9000))
        os.pwritev(descriptor, [data, b"more"], rng.randrange(9000))
        other = os.dup(descriptor)
        os.close(descriptor)
        os.writev(other, [b"first", data])
        os.close(other)
    elif step == 3:
        os.truncate(a, rng.randrange(9000))
    elif step == 4:
        descriptor = os.open(a, os.O_WRONLY)
        os.posix_fallocate(descriptor, 0, rng.randrange(1, 9000))
        os.ftruncate(descriptor, rng.randrange(9000))
        os.close(descriptor)
    elif step == 5:
        os.rename(a, b)
    elif step == 6:
        os.replace(os.path.abspath(a), b)
    elif step == 7:
        os.link(a, b)
    elif step == 8:
        os.unlink(a)
    elif step == 9:
        os.mkdir(a)
    elif step == 10:
        os.rmdir(a)
    elif step == 11:
        os.symlink(b, a)
    elif step == 12:
        shutil.copyfile(a, b)
    else:
        descriptor = os.open(a, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


class RandomSteps:
    """A workload that can be sent to a worker."""

    def __init__(self, seed):
        self._seed = seed

    def __call__(self, folder, say):
        _random_steps(self._seed, folder, say)


@given(seed=st.integers(0, 10**9))
def test_the_log_leads_to_what_is_really_there(pool, tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("random")
    (folder / "folder").mkdir()
    (folder / "a").write_bytes(b"there before")
    found = pool.submit(trace, RandomSteps(seed), folder).result()
    assert not found.error
    assert len(found.log.marks(len(found.log.ops))) == 40
    assert state(found.log, 0, "all", 0).content == {"a": b"there before", "folder": None}
    assert state(found.log, len(found.log.ops), "all", 0).content == content(folder)


def _from_threads(folder, say):
    def work(i):
        for k in range(20):
            with Path(folder, f"{i}").open("ab") as stream:
                stream.write(b"%d" % k)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_are_followed(traced):
    found = traced(_from_threads)
    assert not found.error
    assert len(found.calls) == 4 * 21  # 4 creations
    last = state(found.log, len(found.log.ops), "all", 0)
    assert last.content == content(traced.folder()) == dict.fromkeys("0123", bytes_of_20())


def bytes_of_20():
    return b"".join(b"%d" % k for k in range(20))


def _maps(folder, say):
    Path(folder, "file").write_bytes(bytes(4096))
    with Path(folder, "file").open("r+b") as stream, closing(mmap.mmap(stream.fileno(), 0)) as m:
        m[0] = 1


def _wal_without_exclusive(folder, say):
    with closing(sqlite3.connect(Path(folder, "db"))) as db:
        db.execute("pragma journal_mode = wal")
        db.execute("create table t (i)")


def _starts_a_process(folder, say):
    if os.fork() == 0:
        os._exit(0)


def _syncs_at_every_write(folder, say):
    os.write(os.open(Path(folder, "file"), os.O_WRONLY | os.O_CREAT | os.O_SYNC), b"1")


def _moves_out(folder, say):
    Path(folder, "file").write_bytes(b"1")
    Path(folder, "file").replace(Path(folder).parent / "file")


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        (_maps, "mapped for shared writing"),
        (_wal_without_exclusive, "mapped for shared writing"),  # its -shm file
        (_starts_a_process, "starts a process"),
        (_syncs_at_every_write, "O_SYNC"),
        (_moves_out, "across the folder's edge"),
    ],
)
def test_a_way_around_the_log_is_an_error(traced, workload, message):
    with pytest.raises(RuntimeError, match=message):
        traced(workload)


def _raises(folder, say):
    say(b"before")
    raise ValueError("this is why")


def test_a_workload_that_fails_says_why(traced):
    found = traced(_raises)
    assert "ValueError: this is why" in found.error
    assert found.log.ops == [Mark(b"before")]


def _waits(folder, say):
    time.sleep(60)


def test_a_workload_that_hangs_is_ended(traced):
    with pytest.raises(TimeoutError):
        traced(_waits, seconds=1)


# --- faults ---


def _few_rows(folder, say):
    toys._inserted(folder, say, "synchronous = full", "wal_autocheckpoint = 4")


@pytest.mark.parametrize("what", ["kill before", "kill after"])
def test_a_kill_leaves_the_state_of_its_moment(traced, pool, what):
    whole = traced(_few_rows)
    for n in range(0, len(whole.calls), 7):
        found = traced(_few_rows, Fault(n, what))
        folder = traced.folder(n // 7 + 1)
        assert found.hit
        assert found.signal == signal.SIGKILL
        assert len(found.calls) == n + 1
        last = state(found.log, len(found.log.ops), "all", 0)
        assert last.content == content(folder)
        toys.check_database(folder, found.log.marks(len(found.log.ops)))
        # Ring of salts in the log's header apart, it is a prefix of the undisturbed run
        kinds = [type(op) for op in found.log.ops]
        assert kinds == [type(op) for op in whole.log.ops[: len(kinds)]]


@pytest.mark.parametrize("code", ["EIO", "ENOSPC", "EROFS"])
def test_every_call_that_can_fail_does(traced, code):
    calls = traced(_few_rows).calls
    aims = [n for n, call in enumerate(calls) if call.can_fail_with(code)]
    assert len(aims) > 50
    for run, n in enumerate(aims[::9], start=1):
        found = traced(_few_rows, Fault(n, code, forever=True))
        assert found.hit
        assert found.signal == 0
        said = found.log.marks(len(found.log.ops))
        # SQLite says nothing of a checkpoint that fails: the rows are in its log
        assert "sqlite3.OperationalError" in found.error or len(said) == toys.LAST
        toys.check_database(traced.folder(run), said)


def _tries(folder, say):
    path = Path(folder, "file")
    for i in range(6):
        try:
            path.write_bytes(b"12345678")
            say(b"ok")
        except OSError as error:
            say(errno.errorcode[error.errno].encode())
        if i == 3:
            say(MENDED)


def test_a_fault_comes_once_or_lasts_until_it_is_mended(traced):
    def told(**options):
        marks = traced(_tries, Fault(call=2, **options)).log.marks(10**6)
        return b" ".join(m for m in marks if m != MENDED)

    # call 0 makes the file, 1 writes; then each turn cuts the file and writes it
    assert told(what="ENOSPC") == b"ok ENOSPC ok ok ok ok"
    assert told(what="EIO", forever=True) == b"ok EIO EIO EIO ok ok"


def test_an_fsync_that_is_tried_again_is_caught(traced):
    aim = 6  # after making the file and syncing its folder: write, fsync, write, fsync ...
    whole = traced(toys.appended_until_fsync_is_content)
    assert [call.name for call in whole.calls[aim - 1 : aim + 1]] == ["fsync", "write"]
    found = traced(toys.appended_until_fsync_is_content, Fault(aim - 1, "EIO"))
    assert not found.error
    assert not explore(whole.log, toys.check_lines, seeds=2).failures
    assert explore(found.log, toys.check_lines, seeds=2).failures


def _two_files(folder, say):
    for _ in range(3):
        for name in ("one", "two"):
            try:
                Path(folder, name).write_bytes(b"1")
            except OSError:
                say(name.encode())


def test_a_fault_can_be_of_some_files_only(traced):
    found = traced(_two_files, Fault(2, "EIO", forever=True, only="two"))
    assert found.log.marks(10**6) == [b"two"] * 3


def _writes_once(folder, say):
    descriptor = os.open(Path(folder, "file"), os.O_WRONLY | os.O_CREAT)
    say(b"%d" % os.write(descriptor, b"12345678"))


def test_a_short_write_is_short(traced):
    found = traced(_writes_once, Fault(1, "short"))
    assert found.log.marks(9) == [b"4"]
    assert content(traced.folder()) == {"file": b"1234"}


# --- what a disk may hold ---


def disk(*ops, start=None):
    made = Disk(start or {0: {"old": 1}, 1: b"o" * 1000})
    for op in ops:
        made.apply(op)
    return made


def log_of(*ops):
    return Log({0: {"old": 1}, 1: b"o" * 1000}, list(ops))


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_synced_is_safe(kind):
    log = log_of(
        Write(1, 500, b"x" * 9000), Sync(1), Names(((0, "new", 2),), b""), Sync(0), Mark(b"")
    )
    for seed in range(20):
        found = state(log, 5, kind, seed).content
        assert found == {"old": b"o" * 500 + b"x" * 9000, "new": b""}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "all"])
def test_bytes_beside_a_write_are_safe(kind):
    file = File(b"o" * 20000)
    file.apply(Write(1, 5000, b"x" * 5000))
    outcomes = {KINDS[kind](file, random.Random(seed)) for seed in range(30)}
    for data in outcomes:
        assert data[:5000] == b"o" * 5000
        assert data[10000:] == b"o" * 10000
    assert outcomes != {bytes(file.now)}


def test_a_unit_is_old_or_new_or_between():
    file = File(b"0" * 4096 * 3)
    for digit in (b"1", b"2"):
        file.apply(Write(1, 0, digit * 4096 * 3))
    for kind, unit in (("blocks", 4096), ("sectors", 512)):
        seen = set()
        for seed in range(60):
            data = KINDS[kind](file, random.Random(seed))
            units = [data[i : i + unit] for i in range(0, len(data), unit)]
            assert all(u in (b"0" * unit, b"1" * unit, b"2" * unit) for u in units)
            seen |= {u[:1] for u in units}
        assert seen == {b"0", b"1", b"2"}


def test_a_file_that_is_cut_and_written_may_be_empty_old_or_new():
    file = File(b"old" * 100)
    file.apply(Resize(1, 0))
    file.apply(Write(1, 0, b"new" * 100))
    seen = {KINDS["blocks"](file, random.Random(seed)) for seed in range(200)}
    assert {b"", b"old" * 100, b"new" * 100} <= seen


def test_a_file_grows_by_zeros():
    file = File(b"old")
    file.apply(Write(1, 3, b"new" * 3000))
    assert b"old" + bytes(9000) in {KINDS["zeros"](file, random.Random(seed)) for seed in range(20)}


def test_a_synced_file_may_lose_its_name_and_keep_an_older_one():
    log = log_of(
        Names(((0, "temporary", 2),), b""),
        Write(2, 0, b"new"),
        Sync(2),
        Names(((0, "temporary", None), (0, "old", 2))),
    )
    seen = {tuple(sorted(state(log, 4, "all", seed).content.items())) for seed in range(60)}
    old = ("old", b"o" * 1000)
    assert seen == {(old,), (old, ("temporary", b"new")), (("old", b"new"),)}


def test_names_are_lost_one_by_one_until_their_folder_is_synced():
    made = [Names(((0, name, i),), b"") for i, name in enumerate("abc", start=2)]
    seen = {"".join(sorted(state(log_of(*made), 3, "all", s).content)) for s in range(200)}
    assert len(seen) == 8
    assert disk(*made, Sync(0)).tree([]) == {"old": 1, "a": 2, "b": 3, "c": 4}


def test_a_folder_that_loses_its_name_takes_its_files_with_it():
    log = log_of(
        Names(((0, "sub", 2),), {}), Names(((2, "file", 3),), b""), Write(3, 0, b"1"), Sync(3)
    )
    log.ops.append(Sync(2))
    seen = {tuple(sorted(state(log, 5, "all", seed).content)) for seed in range(20)}
    assert seen == {("old",), ("old", "sub", "sub/file")}


def test_syncing_one_folder_settles_a_rename_between_two():
    made = disk(
        Names(((0, "sub", 2),), {}),
        Sync(0),
        Names(((0, "temporary", 3),), b""),
        Names(((0, "temporary", None), (2, "file", 3))),
        Sync(2),
    )
    assert made.tree([]) == made.tree(made.pending) == {"old": 1, "sub": 2, "sub/file": 3}
