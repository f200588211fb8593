"""What a disk holds for certain, and what it may hold: an honest model of fsync.

- `fsync(file)` makes the bytes and the length of a file durable, and not its name.
- `fsync(folder)` makes the names in it durable, and nothing of the files behind them.
- After an `fsync` that failed, no later one of that file promises anything.
- Everything else since then may be there, or in part, or not; every name by itself. A rename is
  one change: both ends or none.
- Bytes outside of a write are safe (SQLite calls that powersafe overwrite).

That is what POSIX says and no more than ext4 keeps. Caches that reorder across a flush are not
modelled, nor is damage to blocks that nobody writes.
"""

from crash.oplog import Failed, Mark, Names, Resize, Sync, Write


def put(data, op):
    """Apply a Write or a Resize to the bytes of a file."""
    if isinstance(op, Resize):
        if op.size < len(data):
            del data[op.size :]
        else:
            data.extend(bytes(op.size - len(data)))
        return
    if op.offset > len(data):
        data.extend(bytes(op.offset - len(data)))
    data[op.offset : op.offset + len(op.data)] = op.data


class File:
    """The bytes that are durable, those that are there while the power is on, and the steps."""

    def __init__(self, content):
        self.durable = bytearray(content)
        self.now = bytearray(content)
        self.pending = []  # what leads from `durable` to `now`
        self.version = 0
        self.failed = False

    def apply(self, op):
        put(self.now, op)
        self.pending.append(op)
        self.version += 1

    def sync(self):
        if self.failed:  # pages that could not be written are clean now, and are not tried again
            return
        for op in self.pending:
            put(self.durable, op)
        self.pending.clear()


class Disk:
    """A folder while a log is applied to it."""

    def __init__(self, start):
        self.files = {}
        self.links = {}
        self._folders = {}  # node -> {name: node}: the durable names
        self.pending = []  # Names, in order
        for node, content in start.items():
            self._make(node, content)

    def _make(self, node, content):
        if isinstance(content, dict):
            self._folders[node] = dict(content)
        elif isinstance(content, str):
            self.links[node] = content
        else:
            self.files[node] = File(content)

    def apply(self, op):
        """Do the next operation of the log."""
        if isinstance(op, Write | Resize):
            self.files[op.node].apply(op)
        elif isinstance(op, Failed):
            self.files[op.node].failed = True
        elif isinstance(op, Names):
            if op.made is not None:
                self._make(op.changes[-1][2], op.made)
            self.pending.append(op)
        elif isinstance(op, Sync):
            if op.node is None:
                for file in self.files.values():
                    file.sync()
                self._sync_names(self.pending)
            elif op.node in self.files:
                self.files[op.node].sync()
            elif op.node in self._folders:
                self._sync_names(
                    [p for p in self.pending if any(c[0] == op.node for c in p.changes)]
                )
        elif not isinstance(op, Mark):
            raise TypeError(op)

    def _sync_names(self, changes):
        """Make these changes durable; an earlier one of the same name is then past."""
        ids = {id(op) for op in changes}
        settled, remaining = set(), []
        for op in reversed(self.pending):
            if id(op) in ids:
                settled |= {change[:2] for change in op.changes}
            elif left := tuple(c for c in op.changes if c[:2] not in settled):
                remaining.append(Names(left))
        for op in changes:
            _rename(self._folders, op)
        self.pending = remaining[::-1]

    def tree(self, kept):
        """Return {path: node} with these of the pending changes of names."""
        folders = self._folders
        if kept:
            folders = {node: dict(names) for node, names in folders.items()}
            for op in kept:
                _rename(folders, op)
        paths = {}
        _walk(folders, 0, "", paths)
        return paths


def _rename(folders, op):
    for folder, name, node in op.changes:
        if node is None:
            folders[folder].pop(name, None)
        else:
            folders[folder][name] = node


def _walk(folders, node, prefix, paths):
    for name, child in folders[node].items():
        paths[prefix + name] = child
        if child in folders:
            _walk(folders, child, f"{prefix}{name}/", paths)
