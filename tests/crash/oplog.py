"""The log of a workload: what it did to one folder, in order.

Files, folders and symbolic links are nodes with a number, as inodes are; the folder itself is
node 0. What a node holds at the start is bytes for a file, {name: node} for a folder and the
target as text for a link.
"""

from dataclasses import dataclass, field

Content = bytes | dict | str


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes arrived in a file, in the page cache at least."""

    node: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    """A file was cut, or extended by zeros."""

    node: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """`fsync` or `fdatasync` of a file or a folder returned 0; None: of everything."""

    node: int | None


@dataclass(frozen=True, slots=True)
class Failed:
    """`fsync` of a file returned EIO. The kernel takes its pages for written from then on."""

    node: int


@dataclass(frozen=True, slots=True)
class Names:
    """Directory entries changed at once: (folder, name, node), node None where one went.

    `made` is what the new node holds, or None where no node is new.
    """

    changes: tuple[tuple[int, str, int | None], ...]
    made: Content | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """The workload said something: that it has acknowledged an event, as a rule."""

    payload: bytes


@dataclass
class Log:
    """What was there at the start, and what was done to it."""

    start: dict[int, Content]
    ops: list = field(default_factory=list)

    def marks(self, prefix):
        """Return what was said within the first `prefix` operations."""
        return [op.payload for op in self.ops[:prefix] if isinstance(op, Mark)]
