"""From system calls to a log: which file or name under one folder a call changes, and how.

Each call is a generator: at the entry it looks at what it will change and yields a `Call`, or
returns where the folder is not concerned; at the exit it is sent the result and writes to the log.
Descriptors and paths are resolved through /proc, so nothing needs to be known of `open`, `dup` and
`close`. The bytes of a write are read back from the file: what arrived, not what was meant.
"""

import ctypes
import errno
import os
import stat
from dataclasses import dataclass

from crash.oplog import Failed, Log, Mark, Names, Resize, Sync, Write

AT_FDCWD = -100
RENAME_EXCHANGE = 2
MAP_SHARED = 1
FALLOC_KEEP_SIZE = 1


class NotModelledError(RuntimeError):
    """The workload changed the disk in a way that the laboratory cannot replay."""


@dataclass(frozen=True)
class Call:
    """One system call that is about to change the folder, or to make a change durable."""

    name: str
    path: str
    size: int = 0  # bytes to be written

    def can_fail_with(self, code):
        """Say whether the kernel could answer this errno name here."""
        syncs = self.name in ("fsync", "fdatasync", "syncfs")
        frees = self.name in ("unlink", "unlinkat", "rmdir", "truncate", "ftruncate")
        return {"EROFS": not syncs, "ENOSPC": not syncs and not frees}.get(code, True)


class Recorder:
    """The folder as a tree of nodes, and the log of what happens to it."""

    def __init__(self, folder, process, mark):
        self._process = process
        self._mark = mark
        self._memory = os.open(f"/proc/{process}/mem", os.O_RDONLY)
        self._nodes = {}  # (device, inode) -> node
        self._folders = {}  # node -> {name: node}
        self._next = 0
        self.log = Log({})
        self._walk(folder)

    def close(self):
        os.close(self._memory)

    def enter(self, name, arguments):
        """Return what follows this call: a generator that has yielded its `Call`, or None."""
        step = getattr(self, f"_{name}")(name, *arguments)
        try:
            return step, next(step)
        except StopIteration:
            return None

    # --- what is where ---

    def _walk(self, path):
        node = self._new(path)
        self.log.start[node] = entries = {}
        self._folders[node] = entries.copy()
        for entry in sorted(os.scandir(path), key=lambda e: e.name):
            if entry.is_dir(follow_symlinks=False):
                entries[entry.name] = self._walk(entry.path)
            else:
                entries[entry.name] = n = self._new(entry.path)
                if entry.is_symlink():
                    self.log.start[n] = os.readlink(entry.path)
                else:
                    with open(entry.path, "rb") as stream:
                        self.log.start[n] = stream.read()
        self._folders[node] = dict(entries)
        return node

    def _new(self, path):
        found = os.lstat(path)
        self._nodes[found.st_dev, found.st_ino] = node = self._next
        self._next += 1
        return node

    def _descriptor(self, fd):
        """Return the node behind a descriptor and its path now, or None."""
        path = f"/proc/{self._process}/fd/{ctypes.c_int(fd).value}"
        try:
            found = os.stat(path)
        except OSError:
            return None
        node = self._nodes.get((found.st_dev, found.st_ino))
        return None if node is None else (node, os.readlink(path), found)

    def _text(self, address):
        text = b""
        while b"\0" not in text:  # page by page: the next one need not be there
            text += os.pread(self._memory, 4096 - (address + len(text)) % 4096, address + len(text))
        return os.fsdecode(text[: text.index(b"\0")])

    def _path(self, at, address):
        at = ctypes.c_int(at).value
        base = "cwd" if at == AT_FDCWD else f"fd/{at}"
        base = os.readlink(f"/proc/{self._process}/{base}")
        return os.path.join(base, self._text(address)).rstrip("/")

    def _place(self, at, address):
        """Return (folder's node, name, full path), or None outside of the folder."""
        return self._locate(self._path(at, address))

    def _locate(self, full):
        try:
            found = os.stat(os.path.dirname(full))
        except OSError:
            return None
        folder = self._nodes.get((found.st_dev, found.st_ino))
        return (folder, os.path.basename(full), full) if folder in self._folders else None

    def _flags(self, fd):
        with open(f"/proc/{self._process}/fdinfo/{ctypes.c_int(fd).value}", "rb") as stream:
            told = dict(line.split(b":", 1) for line in stream.read().splitlines() if b":" in line)
        return int(told[b"pos"]), int(told[b"flags"], 8)

    def _change(self, *changes, made=None):
        for folder, name, node in changes:
            if node is None:
                self._folders[folder].pop(name, None)
            else:
                self._folders[folder][name] = node
        self.log.ops.append(Names(changes, made))

    def _made(self, folder, name, full, content):
        node = self._new(full)
        if isinstance(content, dict):
            self._folders[node] = {}
        self._change((folder, name, node), made=content)

    # --- writing ---

    def _arrived(self, name, fd, size, offset=None):
        """Follow a call that writes at `offset`, or at the descriptor's own."""
        place = self._descriptor(fd)
        if place is None:
            return
        node, path, found = place
        position, flags = self._flags(fd)
        if flags & os.O_DSYNC:
            raise NotModelledError(f"{path} is open with O_SYNC or O_DSYNC")
        offset = position if offset is None else offset
        if flags & os.O_APPEND:
            offset = found.st_size
        result = yield Call(name, path, size)
        if result > 0:
            reader = os.open(f"/proc/{self._process}/fd/{ctypes.c_int(fd).value}", os.O_RDONLY)
            try:
                data = os.pread(reader, result, offset)
            finally:
                os.close(reader)
            self.log.ops.append(Write(node, offset, data))

    def _write(self, name, fd, address, size, *_):
        if ctypes.c_int(fd).value == self._mark:
            self.log.ops.append(Mark(os.pread(self._memory, size, address)))
            return iter(())
        return self._arrived(name, fd, size)

    def _pwrite64(self, name, fd, address, size, offset, *_):
        return self._arrived(name, fd, size, offset)

    def _writev(self, name, fd, *_):
        return self._arrived(name, fd, 0)

    def _pwritev(self, name, fd, vectors, count, offset, *_):
        return self._arrived(name, fd, 0, offset)

    def _pwritev2(self, name, fd, vectors, count, offset, *_):
        return self._arrived(name, fd, 0, None if offset == 2**64 - 1 else offset)

    def _sendfile(self, name, fd, *_):
        return self._arrived(name, fd, 0)

    def _copy_file_range(self, name, source, source_offset, fd, offset, *_):
        told = int.from_bytes(os.pread(self._memory, 8, offset), "little") if offset else None
        return self._arrived(name, fd, 0, told)

    def _ftruncate(self, name, fd, size, *_):
        if (place := self._descriptor(fd)) and (yield Call(name, place[1])) == 0:
            self.log.ops.append(Resize(place[0], size))

    def _truncate(self, name, address, size, *_):
        path = os.path.realpath(self._path(AT_FDCWD, address))
        found = os.stat(path) if os.path.exists(path) else None
        node = found and self._nodes.get((found.st_dev, found.st_ino))
        if node is not None and (yield Call(name, path)) == 0:
            self.log.ops.append(Resize(node, size))

    def _fallocate(self, name, fd, mode, offset, size, *_):
        if place := self._descriptor(fd):
            node, path, found = place
            if mode not in (0, FALLOC_KEEP_SIZE):
                raise NotModelledError(f"fallocate of {path} with mode {mode}")
            grows = mode == 0 and offset + size > found.st_size
            if (yield Call(name, path)) == 0 and grows:
                self.log.ops.append(Resize(node, offset + size))

    # --- durable ---

    def _fsync(self, name, fd, *_):
        if place := self._descriptor(fd):
            result = yield Call(name, place[1])
            if result == 0:
                self.log.ops.append(Sync(place[0]))
            elif result == -errno.EIO and place[0] not in self._folders:
                self.log.ops.append(Failed(place[0]))

    _fdatasync = _fsync

    def _syncfs(self, name, fd, *_):
        if (place := self._descriptor(fd)) and (yield Call(name, place[1])) == 0:
            self.log.ops.append(Sync(None))

    def _sync(self, name, *_):
        yield Call(name, "")
        self.log.ops.append(Sync(None))

    # --- names ---

    def _openat(self, name, at, address, flags, *_):
        if flags & os.O_ACCMODE == os.O_RDONLY and not flags & (os.O_CREAT | os.O_TRUNC):
            return
        place = self._place(at, address)
        if place and os.path.islink(place[2]) and not flags & (os.O_NOFOLLOW | os.O_EXCL):
            place = self._locate(os.path.realpath(place[2]))
        if place is None:
            return
        folder, entry, full = place
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise NotModelledError(f"{full} is opened with O_TMPFILE")
        before = os.stat(full) if os.path.exists(full) else None
        cut = before is not None and flags & os.O_TRUNC and stat.S_ISREG(before.st_mode)
        if before is not None and not cut:
            return
        if (yield Call(name, full)) < 0:
            return
        if before is None:
            self._made(folder, entry, full, b"")
        elif before.st_size:
            self.log.ops.append(Resize(self._nodes[before.st_dev, before.st_ino], 0))

    def _open(self, name, address, flags, *_):
        return self._openat(name, AT_FDCWD, address, flags)

    def _creat(self, name, address, *_):
        return self._openat(name, AT_FDCWD, address, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def _openat2(self, name, at, address, how, *_):
        flags = int.from_bytes(os.pread(self._memory, 8, how), "little")
        return self._openat(name, at, address, flags)

    def _mkdirat(self, name, at, address, *_):
        if (place := self._place(at, address)) and (yield Call(name, place[2])) == 0:
            self._made(*place, {})

    def _mkdir(self, name, address, *_):
        return self._mkdirat(name, AT_FDCWD, address)

    def _symlinkat(self, name, target, at, address, *_):
        if (place := self._place(at, address)) and (yield Call(name, place[2])) == 0:
            self._made(*place, self._text(target))

    def _symlink(self, name, target, address, *_):
        return self._symlinkat(name, target, AT_FDCWD, address)

    def _unlinkat(self, name, at, address, *_):
        if (place := self._place(at, address)) and (yield Call(name, place[2])) == 0:
            self._change((place[0], place[1], None))

    def _unlink(self, name, address, *_):
        return self._unlinkat(name, AT_FDCWD, address)

    _rmdir = _unlink

    def _linkat(self, name, at, address, to, new, flags=0, *_):
        source, place = self._place(at, address), self._place(to, new)
        if source is None and place is None:
            return
        if (yield Call(name, self._text(new))) == 0:
            if source is None or place is None or flags:
                raise NotModelledError(f"linkat with flags {flags}, or across the folder's edge")
            self._change((place[0], place[1], self._folders[source[0]][source[1]]))

    def _link(self, name, address, new, *_):
        return self._linkat(name, AT_FDCWD, address, AT_FDCWD, new)

    def _renameat2(self, name, at, address, to, new, flags=0, *_):
        source, place = self._place(at, address), self._place(to, new)
        if source is None and place is None:
            return
        if (yield Call(name, self._text(new))) == 0:
            if source is None or place is None or flags & RENAME_EXCHANGE:
                raise NotModelledError("a rename that exchanges, or across the folder's edge")
            node = self._folders[source[0]][source[1]]
            if self._folders[place[0]].get(place[1]) != node:  # two names of one file stay
                self._change((source[0], source[1], None), (place[0], place[1], node))

    def _renameat(self, name, at, address, to, new, *_):
        return self._renameat2(name, at, address, to, new)

    def _rename(self, name, address, new, *_):
        return self._renameat2(name, AT_FDCWD, address, AT_FDCWD, new)

    # --- what would go past the log ---

    def _mmap(self, name, address, size, protection, flags, fd, *_):
        place = self._descriptor(fd) if flags & MAP_SHARED else None
        if place and stat.S_ISREG(place[2].st_mode) and self._flags(fd)[1] & os.O_ACCMODE:
            raise NotModelledError(f"{place[1]} is mapped for shared writing")
        yield from ()

    def _splice(self, name, source, source_offset, fd, *_):
        if place := self._descriptor(fd):
            raise NotModelledError(f"splice into {place[1]}")
        yield from ()

    def _io_uring_setup(self, name, *_):
        raise NotModelledError("io_uring: its writes are no system calls")
