"""Power cuts one layer down: a real ext4 on a disk that remembers blocks and flushes.

    log = record(workload)                    # mkfs, loop device, mount, run
    report = explore_blocks(log, check, states=500)

A state is an image: what was flushed, and of the blocks written since all, none or some. It is
mounted as after a power cut, the kernel replays its journal, and `check(folder, marks)` looks.
Needs root, /dev/fuse, loop devices and mkfs.ext4; `why_not` says what is missing. Mounts live in a
namespace of the process's own, so that none outlives it.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import random
import shutil
import subprocess
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

from crash.explore import MEMORY, Report, told
from crash.fuse import RECORD, RecordingFile, mount, unmount

LOOP_SET_FD, LOOP_CLEAR_FD, LOOP_SET_STATUS, LOOP_GET_FREE = 0x4C00, 0x4C01, 0x4C04, 0x4C82
AUTOCLEAR, STATUS_BYTES, STATUS_FLAGS_AT = 4, 232, 52
NEW_MOUNTS, RECURSIVE_PRIVATE = 0x20000, 0x4000 | 0x40000
BLOCK = 4096
TOOLS = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


@dataclass
class BlockLog:
    """An image, and what was done to it: (b"w", offset, bytes), (b"f", 0, b""), (b"m", 0, said)."""

    image: bytes
    ops: list


def why_not():
    """Return why no block layer can be had here, or ""."""
    if os.geteuid() != 0:
        return "block level: not root"
    for path in ("/dev/fuse", "/dev/loop-control"):
        if not os.path.exists(path):
            return f"block level: no {path}"
    if not shutil.which("mkfs.ext4", path=TOOLS):
        return "block level: no mkfs.ext4"
    try:
        record(lambda folder, say: None)
    except OSError as error:
        return f"block level: {error}"
    return ""


def own_mounts():
    """Give this process, once, mounts that nobody else sees and that end with it."""
    if not getattr(own_mounts, "done", False):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(NEW_MOUNTS):
            raise OSError(ctypes.get_errno(), "unshare of the mounts")
        mount("none", "/", "none", RECURSIVE_PRIVATE)
        own_mounts.done = True


@contextlib.contextmanager
def loop_device(path):
    """A block device whose content is a file."""
    while True:
        control = os.open("/dev/loop-control", os.O_RDWR)
        number = fcntl.ioctl(control, LOOP_GET_FREE)
        os.close(control)
        device = f"/dev/loop{number}"
        if not os.path.exists(device):
            os.mknod(device, 0o600 | 0o060000, os.makedev(7, number))
        loop, content = os.open(device, os.O_RDWR), os.open(path, os.O_RDWR)
        try:
            fcntl.ioctl(loop, LOOP_SET_FD, content)
        except OSError as error:
            os.close(loop)
            if error.errno != errno.EBUSY:  # else another process took it meanwhile
                raise
            continue
        finally:
            os.close(content)
        break
    try:
        status = bytearray(STATUS_BYTES)
        status[STATUS_FLAGS_AT] = AUTOCLEAR  # it goes with its last user, whatever happens
        fcntl.ioctl(loop, LOOP_SET_STATUS, status)
        yield device
    finally:
        os.close(loop)


@contextlib.contextmanager
def mounted(image, folder):
    """An ext4 in a file, mounted."""
    with loop_device(image) as device:
        mount(device, folder, "ext4")
    try:
        yield folder
    finally:
        unmount(folder)


def new_ext4(megabytes):
    """Return the bytes of an empty ext4."""
    with tempfile.NamedTemporaryFile(dir=_memory()) as stream:
        stream.truncate(megabytes << 20)
        subprocess.run(
            [shutil.which("mkfs.ext4", path=TOOLS), "-q", "-F", "-b", str(BLOCK)]
            + ["-J", "size=4", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"]
            + ["-m", "0", "-O", "^resize_inode", stream.name],
            check=True,
            capture_output=True,
        )
        return Path(stream.name).read_bytes()


def record(workload, *, megabytes=12):
    """Run `workload(folder, say)` on an ext4 of its own; return the `BlockLog`."""
    own_mounts()
    image = new_ext4(megabytes)
    with tempfile.TemporaryDirectory(dir=_memory()) as place:
        disk, folder, log = (Path(place, name) for name in ("disk", "folder", "log"))
        disk.touch()
        folder.mkdir()
        file = RecordingFile(disk, image, log)
        try:
            with mounted(disk, folder):
                file.say(b"mounted")
                error = _in_a_child(workload, folder, file.say)
        finally:
            file.close()
        ops = list(_read(log.read_bytes()))
    if error:
        raise RuntimeError(f"the workload failed:\n{error}")
    begin = ops.index((b"m", 0, b"mounted"))
    disk = bytearray(image)
    for kind, offset, data in ops[:begin]:
        if kind == b"w":
            disk[offset : offset + len(data)] = data
    return BlockLog(bytes(disk), ops[begin + 1 :])


def _in_a_child(workload, folder, say):
    """Run it where no file it forgets to close keeps the disk busy; return its traceback."""
    report, tell = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            workload(folder, say)
            code = 0
        except BaseException:  # noqa: BLE001, the parent tells
            os.write(tell, traceback.format_exc()[-60_000:].encode())
        finally:
            os._exit(code)
    os.close(tell)
    with os.fdopen(report) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return text


def _read(log):
    at = 0
    while at < len(log):
        kind, offset, size = RECORD.unpack_from(log, at)
        at += RECORD.size
        yield kind, offset, log[at : at + size]
        at += size


@dataclass(frozen=True)
class BlockState:
    """An image as found after a power cut: what was flushed, and these blocks on top of it."""

    prefix: int
    kind: str
    seed: int
    flushed: bytearray
    blocks: list  # (offset, bytes)
    key: tuple  # the same for the same image

    def __str__(self):
        return f"after {self.prefix} blocks and flushes, {self.kind}, seed {self.seed}"

    def write(self, path):
        with path.open("wb") as stream:
            stream.write(self.flushed)
            for at, data in self.blocks:
                stream.seek(at)
                stream.write(data)


def block_states(log, *, seeds=1):
    """Yield what differs: after each write all of it, what was flushed, and random halves."""
    flushed, since, epoch, known = bytearray(log.image), [], 0, set()
    for prefix, (what, offset, data) in enumerate(log.ops, start=1):
        if what == b"f":
            for at, block in since:
                flushed[at : at + len(block)] = block
            since, epoch = [], epoch + bool(since)
        elif what == b"w":
            since += [(offset + at, data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
        else:
            known.clear()  # the same images must now hold more
        for kind, seed in [("all", 0), ("flushed", 0), *(("some", i) for i in range(seeds))]:
            if kind == "some":
                rng = random.Random(f"{prefix} {seed}")
                kept = [i for i in range(len(since)) if rng.random() < 0.5]
            else:
                kept = list(range(len(since))) if kind == "all" else []
            key = (epoch, *kept)
            if key not in known:
                known.add(key)
                yield BlockState(prefix, kind, seed, flushed, [since[i] for i in kept], key)


def explore_blocks(log, check, *, states, seeds=1, share=(0, 1), most_failures=10):
    """Mount and check so many states, spread evenly over the log; return a `Report`."""
    own_mounts()
    total = sum(1 for _ in block_states(log, seeds=seeds))
    step = max(1.0, total / states)
    report = Report()
    with tempfile.TemporaryDirectory(dir=_memory()) as place:
        folder, image = Path(place, "folder"), Path(place, "image")
        folder.mkdir()
        for i, found in enumerate(block_states(log, seeds=seeds)):
            if i // step == (i - 1) // step or int(i // step) % share[1] != share[0]:
                continue
            found.write(image)
            report.checked[found.kind] += 1
            report.keys.add(found.key)
            try:
                with mounted(image, folder):
                    check(folder, [data for k, _, data in log.ops[: found.prefix] if k == b"m"])
            except Exception as error:  # noqa: BLE001, whatever it is, it is reported
                report.failures.append(f"{found}: {told(error)}")
                image.unlink()  # a file left open may keep the old one alive
                if len(report.failures) >= most_failures:
                    break
    return report


def _memory():
    return MEMORY if os.path.isdir(MEMORY) else None
