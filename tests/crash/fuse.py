"""One file served over /dev/fuse: a disk that remembers every block written and every flush.

The kernel's protocol is spoken directly (linux/fuse.h, version 7.31), for a file system whose root
is that one file. The server is a process of its own: if it ends, whatever waits for the disk gets
an error instead of waiting for ever. It ends with its parent.
"""

import ctypes
import errno
import os
import select
import socket
import stat
import struct
import time

REQUEST = struct.Struct("<IIQQIIII")  # length, what, unique, node, uid, gid, pid, padding
ANSWER = struct.Struct("<IiQ")  # length, -errno, unique
RECORD = struct.Struct("<cQI")  # kind, offset, length: the log's entries, followed by the bytes
GETATTR, SETATTR, OPEN, READ, WRITE, STATFS = 3, 4, 14, 15, 16, 17
RELEASE, FSYNC, FLUSH, INIT, DESTROY, INTERRUPT = 18, 20, 25, 26, 38, 36
SILENT = (2, 36, 42)  # FORGET, INTERRUPT, BATCH_FORGET: no answer is expected
MAX_WRITE = 1 << 17
ROOT = 1

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind, flags=0, options=""):
    """mount(2)."""
    text = [str(t).encode() for t in (source, target, kind)]
    if _libc.mount(*text, ctypes.c_ulong(flags), options.encode()):
        code = ctypes.get_errno()
        raise OSError(code, f"mount {kind} {source} on {target}: {os.strerror(code)}")


def unmount(target, *, patience=5.0):
    """umount(2), again while the kernel is still busy with it."""
    until = time.monotonic() + patience
    while _libc.umount2(str(target).encode(), 0):
        code = ctypes.get_errno()
        if code != errno.EBUSY or time.monotonic() > until:
            _libc.umount2(str(target).encode(), 2)  # MNT_DETACH: nothing stays behind
            raise OSError(code, f"unmount {target}: {os.strerror(code)}")
        time.sleep(0.005)


class RecordingFile:
    """A file of a fixed size at `path`, which must exist and is covered while this is open.

    Parameters
    ----------
    path : where it appears.
    image : what it holds at first.
    log : the path of the log to write, outside of what is recorded.
    """

    def __init__(self, path, image, log):
        self._path = path
        device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={device},rootmode={stat.S_IFREG:o},user_id=0,group_id=0"
        try:
            mount("edge-cl-recorder", path, "fuse", 0, options)
            self._say, other = socket.socketpair()
            self._server = os.fork()
            if self._server == 0:
                self._say.close()
                _serve(device, other, bytearray(image), log)
            other.close()
        finally:
            os.close(device)

    def say(self, payload):
        """Put bytes into the log, between what was written before and what is written after."""
        self._say.sendall(struct.pack("<I", len(payload)) + payload)
        if self._say.recv(1) != b"!":
            raise OSError(errno.EIO, "the recording file's server has ended")

    def close(self):
        try:
            unmount(self._path)
        finally:
            self._say.close()
            os.waitpid(self._server, 0)


def _serve(device, mouth, image, log):
    code = 1
    try:
        with open(log, "wb") as stream:
            _Server(device, image, stream).run(mouth)
        code = 0
    finally:
        os._exit(code)


class _Server:
    def __init__(self, device, image, stream):
        self._device = device
        self._image = image
        self._stream = stream

    def run(self, mouth):
        """Answer until the file is unmounted, or the parent is gone."""
        while True:
            ready, _, _ = select.select([self._device, mouth], [], [])
            if self._device in ready:
                try:
                    self._answer(os.read(self._device, MAX_WRITE + 4096))
                except OSError as error:
                    if error.errno == errno.ENODEV:
                        return
                    if error.errno not in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                        raise
            elif mouth in ready:
                head = mouth.recv(4)
                if not head:
                    return
                payload = mouth.recv(int.from_bytes(head, "little"), socket.MSG_WAITALL)
                self._log(b"m", 0, payload)
                self._stream.flush()
                mouth.sendall(b"!")

    def _log(self, kind, offset=0, data=b""):
        self._stream.write(RECORD.pack(kind, offset, len(data)) + data)

    def _answer(self, request):
        _, what, unique, *_ = REQUEST.unpack_from(request)
        if what in SILENT:
            return
        found = self._do(what, request[REQUEST.size :])
        body, error = (b"", -found) if isinstance(found, int) else (found, 0)
        os.write(self._device, ANSWER.pack(ANSWER.size + len(body), error, unique) + body)

    def _do(self, what, body):
        """Return the answer's bytes, or an errno."""
        if what == WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            data = body[40 : 40 + size]
            self._image[offset : offset + size] = data
            self._log(b"w", offset, data)
            return struct.pack("<II", size, 0)
        if what == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return bytes(self._image[offset : offset + size])
        if what == FSYNC:
            self._log(b"f")
            return b""
        if what in (GETATTR, SETATTR):
            size = len(self._image)
            times = struct.pack("<QQQIII", *[0] * 6)
            rest = struct.pack("<IIIIIII", stat.S_IFREG | 0o600, 1, 0, 0, 0, 4096, 0)
            return struct.pack("<QIIQQQ", 3600, 0, 0, ROOT, size, size // 512) + times + rest
        if what == INIT:
            readahead = struct.unpack_from("<III", body)[2]
            limits = struct.pack("<IIHHIIHHI", readahead, 1 << 5, 16, 12, MAX_WRITE, 1, 32, 0, 0)
            return struct.pack("<II", 7, 31) + limits + bytes(28)
        if what == OPEN:
            return bytes(16)
        if what == STATFS:
            return struct.pack("<QQQQQIIII24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)
        return b"" if what in (RELEASE, FLUSH, DESTROY) else errno.ENOSYS
