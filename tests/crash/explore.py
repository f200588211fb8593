"""Walk through every state that a power cut could have left, and check each.

    log = trace(workload, folder).log
    report = explore(log, check, seeds=4)

`check(folder, marks)` gets a folder as it would be found, and what the workload had said by then;
it may change the folder, and fails by raising. A state has a name, such as
"after 118 operations, torn, seed 2", and `state(log, 118, "torn", 2)` makes it again.
"""

import hashlib
import multiprocessing
import os
import random
import shutil
import tempfile
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from crash.damage import KINDS
from crash.disk import Disk
from crash.oplog import Mark

MEMORY = "/dev/shm"


@dataclass(frozen=True)
class State:
    """A folder as found after a power cut.

    `content` is {path: bytes}; a link's target as text, None for a folder.
    """

    prefix: int
    kind: str
    seed: int
    content: dict
    key: bytes  # the same for the same content

    def __str__(self):
        return f"after {self.prefix} operations, {self.kind}, seed {self.seed}"

    def write(self, folder):
        """Make the folder hold this state and nothing else."""
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        for path, content in self.content.items():
            full = f"{folder}/{path}"
            if content is None:
                os.mkdir(full, 0o700)
            elif isinstance(content, str):
                os.symlink(content, full)
            else:
                descriptor = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                os.write(descriptor, content)
                os.close(descriptor)


@dataclass
class Report:
    """How many states were checked, which were different on the disk, and what failed."""

    checked: Counter = field(default_factory=Counter)  # kind -> states
    keys: set = field(default_factory=set)
    failures: list[str] = field(default_factory=list)

    @property
    def distinct(self):
        return len(self.keys)

    def add(self, other):
        self.checked += other.checked
        self.keys |= other.keys
        self.failures += other.failures

    def __str__(self):
        kinds = ", ".join(f"{kind} {n}" for kind, n in self.checked.items())
        return f"{self.distinct} distinct states ({kinds}), {len(self.failures)} failures"


def state(log, prefix, kind, seed):
    """Return one state by its name."""
    disk = Disk(log.start)
    for op in log.ops[:prefix]:
        disk.apply(op)
    return _state(disk, prefix, kind, seed, {})


def states(log, *, kinds=KINDS, seeds=1, wanted=lambda prefix: True):
    """Yield the states after every prefix of the log that are different from one another.

    Two that look alike are both there where the workload said something in between.
    """
    disk, known, digests = Disk(log.start), set(), {}
    for prefix in range(len(log.ops) + 1):
        if prefix:
            op = log.ops[prefix - 1]
            disk.apply(op)
            if isinstance(op, Mark):
                known.clear()
        if not wanted(prefix):
            continue
        for kind in kinds:
            for seed in range(seeds):
                found = _state(disk, prefix, kind, seed, digests)
                if found.key not in known:
                    known.add(found.key)
                    yield found


def _state(disk, prefix, kind, seed, digests):
    """Seed 0 loses no name (or all unsynced, where only the synced is left); others some."""
    rng = random.Random(f"{prefix} {kind} {seed}")
    if seed:
        kept = [op for op in disk.pending if rng.random() < 0.5]
    else:
        kept = [] if kind == "synced" else disk.pending
    content, key = {}, hashlib.sha256()
    for path, node in sorted(disk.tree(kept).items()):
        key.update(f"|{path}|".encode())
        if node in disk.links:
            content[path] = disk.links[node]
            key.update(content[path].encode())
        elif node not in disk.files:
            content[path] = None
        elif (file := disk.files[node]).pending:
            content[path] = data = KINDS[kind](file, rng)
            key.update(hashlib.sha256(data).digest())
        else:
            if digests.get(node, (None,))[0] != file.version:
                data = bytes(file.now)
                digests[node] = file.version, data, hashlib.sha256(data).digest()
            _, content[path], digest = digests[node]
            key.update(digest)
    return State(prefix, kind, seed, content, key.digest()[:16])


def explore(log, check, *, kinds=KINDS, seeds=1, first=0, share=(0, 1), most_failures=20):
    """Check every state of a log from a prefix on, or the i-th of n shares; return a `Report`."""
    i, n = share
    report = Report()

    def wanted(prefix):
        return prefix >= first and prefix // 8 % n == i

    with tempfile.TemporaryDirectory(dir=MEMORY if os.path.isdir(MEMORY) else None) as folder:
        for found in states(log, kinds=kinds, seeds=seeds, wanted=wanted):
            place = Path(folder, "state")
            place.mkdir(mode=0o700, exist_ok=True)
            found.write(place)
            report.checked[found.kind] += 1
            report.keys.add(found.key)
            try:
                check(place, log.marks(found.prefix))
            except Exception as error:  # noqa: BLE001, whatever it is, it is reported
                report.failures.append(f"{found}: {told(error)}")
                if len(report.failures) >= most_failures:
                    break
    return report


def told(error):
    """Say in one line what went wrong and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text} ({Path(last.filename).name}:{last.lineno})"


@contextmanager
def workers(count=2):
    """Processes of one thread each, in which tracing and checking run."""
    before = {name: os.environ.get(name) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
    os.environ.update(dict.fromkeys(before, "1"))
    try:
        with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
            yield pool
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def explore_on(pool, count, log, check, **options):
    """Check every state of a log on several workers."""
    jobs = [pool.submit(explore, log, check, share=(i, count), **options) for i in range(count)]
    report = Report()
    for job in jobs:
        report.add(job.result())
    return report
