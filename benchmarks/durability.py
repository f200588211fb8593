"""What it costs that a lesson survives the plug: time, bytes, flushes, size, recovery.

    python benchmarks/durability.py [--lessons N]

d = 1280, 100 classes, vectors, one thread; a lesson is timed whole, from the call of `learn` until
it is answered. As root, where Linux has loop devices, the state is on an ext4 of its own, and what
its device was given is counted there; else the kernel's account of this process is shown, which
counts no flushes and no journal of the file system. What a bare append of as many bytes costs on
the same disk is measured around it: on a machine that is shared, that is what the tail is made of.
It writes results and table, takes a few minutes, and ends with 3 where a bar is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from report import short, table, write_results, write_section
from threadpoolctl import threadpool_limits

from edge_cl import Durability, Learner, features_bundle

RESULTS = Path(__file__).parent / "results" / "durability-x86-64.json"
HEADS = ("ridge", "ncm")
MODES = ("lesson", "group:8", "save")
_D, _K = 1280, 100
_X = np.random.default_rng(0).standard_normal((2000, _D)).astype(np.float32)
_BUNDLE = features_bundle(_X[:200])
_INSIDE = "EDGE_CL_BENCHMARK_MOUNTS"  # set where mounts are this process's own

# scenario -> (metric, what it may be at most)
BARS = {
    "learn": [("p99_ms", 5.0)],
    "device": [("bytes_a_lesson", 24_000.0), ("flushes_a_lesson", 1.1)],
    "size": [("closed_after_20000_mb", 40.0), ("open_after_20000_mb", 40.0)],
    "opening": [("recovery_1000_s", 1.0)],
}

_CHANGES = ("undo", "forget_lesson", "rename_class", "rollback")

Metrics = dict[str, float]


def main() -> int:
    """Measure, check the bars, and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lessons", type=int, default=5000, help="of each way to learn")
    parser.add_argument("--image", type=Path, help="folder for the disk's image; /dev/shm: no disk")
    chosen = parser.parse_args()
    lessons = chosen.lessons
    if os.geteuid() == 0 and _INSIDE not in os.environ and shutil.which("unshare"):
        os.environ[_INSIDE] = "1"
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        return subprocess.run(command, check=False).returncode
    results: dict[str, Metrics] = {}
    with threadpool_limits(1), place(chosen.image) as (folder, device):
        where = f"ext4 on {device}" if device else "the folder for temporary files"
        print(f"states on {where}", flush=True)
        before = bare_appends(folder)
        for head in HEADS:
            for mode in MODES:
                learned = partial(learn, folder, head, mode, device, lessons)
                told = results[f"durability-learn-{head}-{mode}-d{_D}"] = learned()
                print(head, mode, told, flush=True)
            for name, run in (("size", size), ("opening", opening), ("changes", changes)):
                told = results[f"durability-{name}-{head}-d{_D}"] = run(folder, head)
                print(head, name, told, flush=True)
        results[f"durability-bare-append-d{_D}"] = {
            name: max(value, before[name]) for name, value in bare_appends(folder).items()
        }
        print(results[f"durability-bare-append-d{_D}"], flush=True)
    missed = list(broken(results, counted=bool(device)))
    if chosen.image is None:
        write_results(RESULTS, dict(results), [])
        write_section("durability", tables(results, where))
    for one in missed:
        print(f"MISSED {one}")
    return 3 if missed else 0


def broken(results: dict[str, Metrics], *, counted: bool) -> Iterator[str]:
    """Yield the bars that are missed."""
    for name, metrics in results.items():
        kinds = ["learn", "device"] if "-lesson-" in name else [name]
        for kind in kinds if "-learn-" not in name or "-lesson-" in name else []:
            for metric, limit in BARS.get(kind.removeprefix("durability-").split("-")[0], []):
                if metrics.get(metric, 0.0) > limit and (counted or kind != "device"):
                    yield f"{name}: {metric} {metrics[metric]:.4g} > {limit:g}"


# -- what is measured ----------------------------------------------------------------------------


def learn(folder: Path, head: str, mode: str, device: str | None, lessons: int) -> Metrics:
    """Learn one by one, and count what reaches the device, snapshots included."""
    with state(folder) as at, opened(at, head, durability=mode) as learner:
        for i in range(1200):  # past the first snapshot, and the first round of the log
            teach(learner, i)
        learner.flush()
        os.sync()
        before, taken = written(device), []
        for i in range(lessons):
            start = time.perf_counter()
            teach(learner, 1200 + i)
            taken.append(time.perf_counter() - start)
        learner.flush()
        os.sync()
        after = written(device)
    taken.sort()
    metrics = {
        "p50_ms": statistics.median(taken) * 1e3,
        "p99_ms": taken[int(0.99 * lessons)] * 1e3,
        "p999_ms": taken[int(0.999 * lessons)] * 1e3,
        "max_ms": taken[-1] * 1e3,
        "mean_ms": statistics.mean(taken) * 1e3,
        "bytes_a_lesson": (after[0] - before[0]) / lessons,
    }
    if device:
        metrics["flushes_a_lesson"] = (after[1] - before[1]) / lessons
    return metrics


def bare_appends(folder: Path) -> Metrics:
    """Write two pages and have them synced, over and over in a file that is there."""
    path, size, taken = folder / "bare", 2 * 4120, []
    with path.open("wb") as stream:
        stream.write(bytes(500 * size))
        stream.flush()
        os.fsync(stream.fileno())
        for i in range(2000):
            start = time.perf_counter()
            os.pwrite(stream.fileno(), os.urandom(size), i % 500 * size)
            os.fdatasync(stream.fileno())
            taken.append(time.perf_counter() - start)
    path.unlink()
    taken.sort()
    return {"p50_ms": taken[1000] * 1e3, "p99_ms": taken[1980] * 1e3, "max_ms": taken[-1] * 1e3}


def size(folder: Path, head: str) -> Metrics:
    """Measure the folder after so many lessons, open and closed."""
    metrics = {}
    with state(folder) as at:
        learner = opened(at, head)
        for i in range(20_000):
            teach(learner, i)
            if i + 1 in (5000, 20_000):
                metrics[f"open_after_{i + 1}_mb"] = occupied(at)
        learner.close()
        metrics["closed_after_20000_mb"] = occupied(at)
    return metrics


def opening(folder: Path, head: str) -> Metrics:
    """Open a closed state, and one that was killed with 1000 lessons behind its snapshot."""
    clean, killed = [], []
    with state(folder) as at:
        durability = Durability(ring=4096, snapshot_every=1365)
        learner = opened(at, head, durability=durability)
        for i in range(1000):
            teach(learner, i)
        learner.save()
        for i in range(1000):
            teach(learner, i)
        shutil.copytree(at, folder / "killed")
        learner.close()
        for _ in range(7):
            clean.append(seconds(lambda: opened(at, head, durability=durability).close()))
            shutil.copytree(folder / "killed", folder / "again")
            start = time.perf_counter()
            learner = opened(folder / "again", head, durability=durability)
            learner.scores(_X[:1])
            killed.append(time.perf_counter() - start)
            if learner.recovery.replayed != 1000:
                raise SystemExit(f"expected 1000 lessons to be replayed, got {learner.recovery}")
            learner.close()
            shutil.rmtree(folder / "again")
        shutil.rmtree(folder / "killed")
    return {
        "clean_s": statistics.median(clean),
        "recovery_1000_s": statistics.median(killed),
        "recovery_1000_max_s": max(killed),
    }


def changes(folder: Path, head: str) -> Metrics:
    """Time what takes back, and what replaces both snapshots."""
    with state(folder) as at, opened(at, head) as learner:
        for i in range(1000):
            teach(learner, i)
        learner.save_version("v")
        runs: dict[str, Callable[[int], object]] = {
            "undo": lambda i: learner.undo(),
            "forget": lambda i: learner.forget(_X[i], f"c{i % _K}"),
            "forget_lesson": lambda i: learner.forget_lesson(301 + i),
            "rename_class": lambda i: learner.rename_class(*("c1", "x")[:: 1 - 2 * (i % 2)]),
            "save_version": lambda i: learner.save_version("w"),
            "rollback": lambda i: learner.rollback("v"),
        }
        return {
            f"{name}_ms": statistics.median(seconds(partial(run, i)) for i in range(12)) * 1e3
            for name, run in runs.items()
        }


# -- how ----------------------------------------------------------------------------------------


def opened(at: Path, head: str, durability: str | Durability = "lesson") -> Learner:
    return Learner.open(at, bundle=_BUNDLE, head=head, durability=durability)


def teach(learner: Learner, i: int) -> None:
    learner.learn(_X[i % len(_X)], f"c{i % _K}")


@contextlib.contextmanager
def state(folder: Path) -> Iterator[Path]:
    """Give a folder for one state, and remove it."""
    at = folder / "state"
    try:
        yield at
    finally:
        shutil.rmtree(at, ignore_errors=True)


@contextlib.contextmanager
def place(image: Path | None) -> Iterator[tuple[Path, str | None]]:
    """Give a folder, and the name of its own block device where it can have one."""
    with tempfile.TemporaryDirectory(dir=image) as outside:
        folder = Path(outside, "disk")
        folder.mkdir()
        try:
            device = _mounted(Path(outside, "image"), folder) if _INSIDE in os.environ else None
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"no file system of its own: {error}")
            device = None
        try:
            yield folder, device
        finally:
            if device:
                subprocess.run(["umount", folder], check=True)


def _mounted(image: Path, folder: Path) -> str:
    with image.open("wb") as stream:
        stream.truncate(1 << 30)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    text = Path("/proc/self/mountinfo").read_text()
    found = re.search(rf" {re.escape(str(folder))} .* /dev/(loop\d+) ", text)
    if not found:
        subprocess.run(["umount", folder], check=True)
        raise OSError("the mount has no loop device")
    return found[1]


def written(device: str | None) -> tuple[int, int]:
    """Return bytes written so far, and flushes."""
    if device:
        fields = [int(v) for v in Path(f"/sys/block/{device}/stat").read_text().split()]
        return 512 * fields[6], fields[15]
    text = Path("/proc/self/io").read_text()
    return int(dict(line.split(": ") for line in text.splitlines())["write_bytes"]), 0


def occupied(folder: Path) -> float:
    """Return what the files of a folder take on the disk, in MB."""
    return sum(p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file()) / 1e6


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def tables(results: dict[str, Metrics], where: str) -> str:
    """Return what was measured, in markdown."""
    rows = []
    for head in HEADS:
        for mode in MODES:
            r = results[f"durability-learn-{head}-{mode}-d{_D}"]
            flushes = f"{r['flushes_a_lesson']:.2f}" if "flushes_a_lesson" in r else ""
            times = [f"{r[name]:.2f}" for name in ("p50_ms", "p99_ms", "max_ms")]
            rows.append([f"{head}, `{mode}`", *times, f"{r['bytes_a_lesson'] / 1e3:.1f}", flushes])
    bare = results[f"durability-bare-append-d{_D}"]
    times = [f"{bare[name]:.2f}" for name in ("p50_ms", "p99_ms", "max_ms")]
    rows.append(["two pages appended and synced, no more", *times, "", ""])
    header = ["a lesson", "p50, ms", "p99, ms", "max, ms", "KB to the device", "flushes"]
    parts = [f"States on {where.split(' on ')[0]}.", "", table(header, rows), ""]
    rows = []
    for head in HEADS:
        s, o, c = (results[f"durability-{n}-{head}-d{_D}"] for n in ("size", "opening", "changes"))
        rows.append(
            [
                head,
                f"{s['open_after_5000_mb']:.1f}",
                f"{s['open_after_20000_mb']:.1f}",
                f"{s['closed_after_20000_mb']:.1f}",
                f"{o['clean_s'] * 1e3:.0f}",
                f"{o['recovery_1000_s'] * 1e3:.0f}",
                *(
                    short(c[f"{n}_ms"])
                    for n in ("undo", "forget_lesson", "rename_class", "rollback")
                ),
            ]
        )
    header = ["", "MB after 5,000", "after 20,000", "closed", "open, ms", "1,000 to replay, ms"]
    header += ["undo, ms", "forget by number", "rename", "roll back"]
    return "\n".join([*parts, table(header, rows)])


if __name__ == "__main__":
    sys.exit(main())
