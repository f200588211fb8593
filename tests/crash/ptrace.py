"""Stop a process at its system calls: ptrace(2) through ctypes, on x86-64 and aarch64.

Nothing here knows what a call means; `recorder` does.
"""

import ctypes
import os
import platform
import signal
from dataclasses import dataclass

TRACEME, CONT, SETOPTIONS, GETEVENTMSG, SYSCALL = 0, 7, 0x4200, 0x4201, 24
GETREGSET, SETREGSET, NT_PRSTATUS, NT_ARM_SYSTEM_CALL = 0x4204, 0x4205, 1, 0x404
SYSGOOD, TRACEFORK, TRACEVFORK, TRACECLONE, EXITKILL = 1, 2, 4, 8, 1 << 20
EVENT_FORK, EVENT_VFORK = 1, 2
WALL = 0x40000000


class TracingForbiddenError(RuntimeError):
    """This machine does not let a process trace its own child."""


@dataclass(frozen=True)
class Layout:
    """Where the registers of a system call stand among those that the kernel hands out."""

    words: int
    number: int
    result: int
    arguments: tuple[int, ...]


LAYOUTS = {
    "x86_64": Layout(27, 15, 10, (14, 13, 12, 7, 9, 8)),  # orig_rax, rax; rdi rsi rdx r10 r8 r9
    "aarch64": Layout(34, 8, 0, (0, 1, 2, 3, 4, 5)),  # x8, x0; x0-x5
}
# Every call that can change a disk: name, number on x86-64, number on aarch64
_CALLS = [
    *(("write", 1, 64), ("pwrite64", 18, 68), ("writev", 20, 66)),
    *(("pwritev", 296, 70), ("pwritev2", 328, 287), ("sendfile", 40, 71)),
    *(("copy_file_range", 326, 285), ("splice", 275, 76), ("io_uring_setup", 425, 425)),
    *(("open", 2, None), ("creat", 85, None), ("openat", 257, 56)),
    *(("openat2", 437, 437), ("mmap", 9, 222), ("truncate", 76, 45)),
    *(("ftruncate", 77, 46), ("fallocate", 285, 47), ("fsync", 74, 82)),
    *(("fdatasync", 75, 83), ("sync", 162, 81), ("syncfs", 306, 267)),
    *(("rename", 82, None), ("renameat", 264, 38), ("renameat2", 316, 276)),
    *(("link", 86, None), ("linkat", 265, 37), ("symlink", 88, None)),
    *(("symlinkat", 266, 36), ("unlink", 87, None), ("unlinkat", 263, 35)),
    *(("rmdir", 84, None), ("mkdir", 83, None), ("mkdirat", 258, 34)),
]
MACHINE = platform.machine()
_COLUMN = 2 if MACHINE == "aarch64" else 1
NAMES = {call[_COLUMN]: call[0] for call in _CALLS if call[_COLUMN] is not None}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def request(what, thread, address=0, data=0):
    """Call ptrace(2); an error becomes OSError."""
    if _libc.ptrace(what, thread, address, data) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"ptrace request {what:#x}: {os.strerror(code)}")


def let_parent_trace():
    """In the child: ask to be traced, then wait for the parent."""
    request(TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)


def follow(process):
    """In the parent: wait until the child stands, and see its calls and its threads from here."""
    if MACHINE not in LAYOUTS:
        raise TracingForbiddenError(f"no register layout for {MACHINE}")
    _, status = os.waitpid(process, WALL)
    if not os.WIFSTOPPED(status):
        raise TracingForbiddenError(
            "ptrace(PTRACE_TRACEME) is refused here (a container's seccomp?)"
        )
    request(SETOPTIONS, process, 0, SYSGOOD | TRACEFORK | TRACEVFORK | TRACECLONE | EXITKILL)


class Registers:
    """The registers of a thread that stands at a system call."""

    layout = LAYOUTS.get(MACHINE)

    def __init__(self):
        self._words = (ctypes.c_uint64 * self.layout.words)()
        self._size = ctypes.sizeof(self._words)

    def _move(self, what, thread):
        vector = _Vector(ctypes.addressof(self._words), self._size)
        request(what, thread, NT_PRSTATUS, ctypes.addressof(vector))

    def read(self, thread):
        self._move(GETREGSET, thread)
        return self

    @property
    def name(self):
        """The call's name, or None where it cannot change a disk."""
        return NAMES.get(self._words[self.layout.number])

    @property
    def arguments(self):
        return [self._words[i] for i in self.layout.arguments]

    @property
    def result(self):
        return ctypes.c_int64(self._words[self.layout.result]).value

    def skip(self, thread):
        """Let the kernel do nothing for this call."""
        if MACHINE == "aarch64":
            none = ctypes.c_int(-1)
            vector = _Vector(ctypes.addressof(none), ctypes.sizeof(none))
            request(SETREGSET, thread, NT_ARM_SYSTEM_CALL, ctypes.addressof(vector))
        else:
            self._words[self.layout.number] = 2**64 - 1
            self._move(SETREGSET, thread)

    def answer(self, thread, result):
        """Make the call return this."""
        self._words[self.layout.result] = result % 2**64
        self._move(SETREGSET, thread)

    def change_argument(self, thread, i, value):
        self._words[self.layout.arguments[i]] = value
        self._move(SETREGSET, thread)
